from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.spec import RunSpec
from workbench import __version__
from workbench.model.job import Job, JobKey, JobSpec, JobState, JobStatus
from workbench.store import Store

_HEAVY = ("torch", "mace", "numpy", "pandas", "asyncssh", "paramiko", "plotext")
_COMMANDS = (
    "demo",
    "submit",
    "jobs",
    "logs",
    "resubmit",
    "requeue",
    "cancel",
    "runs",
    "compare",
    "doctor",
    "init",
)
ROOT = Path(__file__).parents[2]
_LOADED = f"import json, sys; print(json.dumps([name for name in {_HEAVY!r} if name in sys.modules]))"


def program(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program as a user starts it, with nothing but this home folder."""
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "workbench", *arguments]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60)


def loaded(script: str) -> list[str]:
    """What is heavy and in memory after these lines of Python."""
    command = [sys.executable, "-c", f"{script}\n{_LOADED}"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    names: list[str] = json.loads(told.stdout.splitlines()[-1])
    return names


def test_the_version_is_told_without_loading_anything_heavy(tmp_path: Path) -> None:
    told = program(tmp_path, "--version")
    assert (told.returncode, told.stdout) == (0, f"mace-workbench {__version__}\n")
    script = "from workbench.__main__ import main\ntry: main(['--version'])\nexcept SystemExit: pass"
    assert loaded(script) == []


def test_the_screens_and_the_services_load_nothing_heavy() -> None:
    assert loaded("import workbench.app, workbench.services, workbench.headless") == []


def test_help_names_every_command(tmp_path: Path) -> None:
    text = program(tmp_path, "--help").stdout
    for command in [
        "demo",
        "submit",
        "jobs",
        "logs",
        "resubmit",
        "requeue",
        "cancel",
        "hold",
        "release",
        "adopt",
        "runs",
        "compare",
        "doctor",
        "init",
    ]:
        assert f"    {command} " in text
    assert "exit status" in text


@pytest.mark.parametrize("arguments", [["nonsense"], ["logs"], ["submit", "demo", "--time-limit", "0"]])
def test_wrong_usage_is_told_on_standard_error_with_status_2(tmp_path: Path, arguments: list[str]) -> None:
    told = program(tmp_path, *arguments)
    assert told.returncode == 2
    assert told.stdout == ""
    assert "usage: mace-workbench" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["logs", "nothere"], "There is no job 'nothere'; `mace-workbench jobs` lists them."),
        (["runs", ""], "There is no job ''; `mace-workbench jobs` lists them."),
        (["runs", "--profile", "moon"], "There is no profile 'moon'; there are: local."),
        (["runs", "--find", "--profile", "moon"], "There is no profile 'moon'; there are: local."),
        (["jobs", "--profile", "moon"], "There is no profile 'moon'; there are: local."),
        (["submit", "nothing"], "There is no recipe 'nothing'; there are: "),
        (["submit"], "Say what to run: "),
        (["submit", "demo", "--profile", "moon"], "There is no profile 'moon'; there are: local."),
        (["submit", "demo", "--set", "model=3"], "The spec's model should be of type str, not 3."),
    ],
)
def test_what_cannot_be_done_is_one_sentence_with_status_1(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    told = program(tmp_path, *arguments)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith("mace-workbench: ")
    assert sentence in told.stderr
    assert told.stderr.count("\n") == 1


def test_nothing_yet_is_an_empty_list(tmp_path: Path) -> None:
    told = program(tmp_path, "jobs", "--json")
    assert (told.returncode, json.loads(told.stdout)) == (0, [])
    told = program(tmp_path, "runs")
    assert (told.returncode, told.stdout) == (0, "")
    assert "`mace-workbench demo` starts one" in told.stderr


def test_a_profile_of_this_machine_keeps_the_python_that_has_what_runs_need(tmp_path: Path) -> None:
    told = program(tmp_path, "init", "here", "--connection", "local", "--yes", "--json")
    assert told.returncode == 0, told.stderr
    assert Path(json.loads(told.stdout)["values"]["python"]).parent == Path(sys.executable).parent


def test_the_recipes_are_listed(tmp_path: Path) -> None:
    told = program(tmp_path, "submit", "--list", "--json")
    assert told.returncode == 0
    assert json.loads(told.stdout)["demo"]["experiment"] == "benchmark"


def test_a_broken_configuration_is_named_with_its_line(tmp_path: Path) -> None:
    folder = tmp_path / ".config/mace-workbench"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("[profiles.local]\nslot = 3\n")
    told = program(tmp_path, "jobs")
    assert told.returncode == 1
    assert "line 2: slot is not known" in told.stderr


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / ".local").write_text("a file in the way")
    told = program(tmp_path, "jobs")
    assert told.returncode == 1
    assert ".local/state/mace-workbench" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(("arguments", "way_out"), [([], "--help"), (["demo"], "demo --headless")])
def test_the_screens_are_refused_where_there_is_no_terminal(
    tmp_path: Path, arguments: list[str], way_out: str
) -> None:
    told = program(tmp_path, *arguments)
    assert (told.returncode, told.stdout) == (2, "")
    assert f"see `mace-workbench {way_out}`" in told.stderr
    assert list(tmp_path.iterdir()) == []


def test_output_that_nobody_reads_any_more_is_no_error_message(tmp_path: Path) -> None:
    command = f"{sys.executable} -m workbench submit --list --json | head -c 1"
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    told = subprocess.run(
        ["sh", "-c", command], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (told.stdout, told.stderr) == ("{", "")


def test_screens_whose_terminal_is_gone_end_though_nobody_tells_them(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TERM": "xterm-256color"}
    with subprocess.Popen(
        [sys.executable, "-m", "workbench"],
        env=env,
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,  # so that it is not the terminal of its session, which would be told
    ) as screens:
        os.close(theirs)
        seen = b""
        while b"No jobs yet" not in seen:
            seen += os.read(ours, 1 << 16)
        os.close(ours)
        screens.wait(timeout=120)


def test_output_that_finds_no_room_is_one_sentence(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "workbench", "submit", "--list"]
    with Path("/dev/full").open("w") as full:
        told = subprocess.run(
            command, env=env, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    said = "mace-workbench: The output cannot be written: No space left on device.\n"
    assert (told.returncode, told.stderr) == (1, said)


def test_a_log_that_finds_no_room_is_not_complained_about(tmp_path: Path) -> None:
    state = tmp_path / ".local/state/mace-workbench"
    state.mkdir(parents=True)
    (state / "mace-workbench.log").symlink_to("/dev/full")
    (state / "store.sqlite").write_text("no store, which is a warning in the log")
    told = program(tmp_path, "jobs")
    assert (told.returncode, told.stderr) == (0, "No jobs yet: `mace-workbench demo` starts one.\n")


def test_jobs_of_a_host_that_cannot_be_reached_are_listed_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / ".config/mace-workbench"
    folder.mkdir(parents=True)
    port = free_port()
    (tmp_path / "ssh_config").write_text(f"Host moon\n  HostName 127.0.0.1\n  Port {port}\n")
    (folder / "config.toml").write_text(
        f'[profiles.moon]\nconnection = "asyncssh"\nhost = "moon"\nssh_config = "{tmp_path}/ssh_config"\n'
    )
    store = Store(tmp_path / ".local/state/mace-workbench/store.sqlite")
    key, status = JobKey("moon", "1", 1.0), JobStatus(JobState.RUNNING)
    store.save(Job("abc234", "moon", "/runs/abc234", JobSpec(RunSpec(name="far away")), status, 1.0, key))
    store.close()
    told = program(tmp_path, "jobs", "--json")
    assert [job["id"] for job in json.loads(told.stdout)] == ["abc234"]
    assert told.returncode == 0
    assert "cannot be reached" in told.stderr
    assert "what was heard last" in told.stderr


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
