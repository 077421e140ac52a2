from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from workbench.config import load_config, parse_config
from workbench.errors import ConfigError, NotFound
from workbench.model.profile import ClusterProfile


def home(path: Path) -> dict[str, str]:
    return {"HOME": str(path)}


def test_without_a_file_there_is_this_machine(tmp_path: Path) -> None:
    config = load_config(home(tmp_path))
    assert list(config.profiles) == ["local"]
    assert config.profile().connection == "local"
    assert config.state_folder == tmp_path / ".local/state/mace-workbench"
    assert config.data_folder == tmp_path / ".local/share/mace-workbench"


def test_xdg_folders_are_used_and_relative_ones_ignored(tmp_path: Path) -> None:
    env = {**home(tmp_path), "XDG_STATE_HOME": "/elsewhere", "XDG_DATA_HOME": "relative"}
    config = load_config(env)
    assert config.state_folder == Path("/elsewhere/mace-workbench")
    assert config.data_folder == tmp_path / ".local/share/mace-workbench"


def test_a_profile_is_read_from_the_file(tmp_path: Path) -> None:
    folder = tmp_path / ".config/mace-workbench"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(
        'default = "big box"\n[profiles."big box"]\npython = "/opt/python"\nslots = 2\n'
        '[profiles."big box".env]\nCUDA_VISIBLE_DEVICES = "0"\n'
    )
    config = load_config(home(tmp_path))
    profile = config.profile()
    assert (profile.name, profile.python, profile.slots) == ("big box", "/opt/python", 2)
    assert profile.env == {"CUDA_VISIBLE_DEVICES": "0"}
    with pytest.raises(NotFound, match="'nowhere'; there are: local, big box"):
        config.profile("nowhere")


def test_the_example_of_a_cluster_is_a_profile() -> None:
    example = Path(__file__).parents[2] / "workbench/examples/csd3.toml"
    profiles, default = parse_config(example.read_text(), "csd3.toml")
    assert default == "csd3-gpu"
    assert list(profiles) == ["local", "csd3-gpu", "csd3-cpu", "csd3-intr"]
    profile = profiles["csd3-gpu"]
    assert (profile.connection, profile.scheduler, profile.partition) == ("asyncssh", "slurm", "ampere")
    assert (profile.gpus, profiles["csd3-intr"].qos) == (1, "INTR")


def test_every_key_of_a_profile_is_in_the_manual() -> None:
    manual = (Path(__file__).parents[2] / "docs/cluster-profiles.md").read_text()
    for item in fields(ClusterProfile):
        assert item.name == "name" or f"`{item.name}`" in manual


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "line 1: x is not known"),
        ("\n\n[profiles.local]\npyton = ''", "line 4: pyton is not known"),
        ("[profiles.a]\nslots = 1\n[profiles.local]\nslots = 'two'", "line 4: slots should be of type int"),
        ("[profiles.local]\nslots = true", "line 2: slots should be of type int"),
        ("[profiles.local]\nslots = 0", "line 2: slots should be at least 1"),
        ("[profiles.local]\nscheduler = 'pbs'", "line 2: scheduler should be one of process, slurm"),
        ("[profiles.a]\nconnection = 'asyncssh'", "line 2: connection needs a `host`"),
        ("[profiles.a]\nhost = 'x'", 'line 2: host is not for `connection = "local"`'),
        (
            "[profiles.a]\nconnection = 'telnet'",
            "line 2: connection should be one of local, asyncssh, openssh",
        ),
        ("[profiles.a]\nconnection='openssh'\nhost = '-oProxyCommand=x'", "line 3: host should be one word"),
        ("[profiles.a]\nscheduler = 'slurm'\naccount = 'a b'", "line 3: account should be one word"),
        ("[profiles.a]\nscheduler = 'slurm'\nqos = ''", "line 3: qos should be one word"),
        ("[profiles.a]\nscheduler = 'slurm'\ngpus = -1", "line 3: gpus should be at least 0"),
        ("[profiles.a]\nscheduler = 'slurm'\nslots = 2", 'line 3: slots is only for `scheduler = "process"`'),
        ("[profiles.a]\naccount = 'x'", 'line 2: account is only for `scheduler = "slurm"`'),
        ("[profiles.a]\nscheduler = 'slurm'\nsetup = 'x'", "line 3: setup should be of type list"),
        ("[profiles.a]\nscheduler = 'slurm'\nsetup = [1]", "line 3: setup should hold texts"),
        ("[profiles.a]\nenv = {'A B' = 'x'}", "line 2: env should hold names of variables"),
        ("[profiles.local.env]\nA = 1", "env of profile local should hold texts"),
        ("profiles = 3", "line 1: profiles should hold sections"),
        ("[profiles]\nlocal = 3", "profiles should hold sections"),
        ("default = 'x'", "line 1: default names no profile"),
        ("a = ", "is not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^file.toml.*{message}"):
        parse_config(text, "file.toml")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    folder = tmp_path / ".config/mace-workbench"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"config\.toml cannot be read"):
        load_config(home(tmp_path))
