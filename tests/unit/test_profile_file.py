from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import ConfigError
from workbench.profile_file import Value, read_config, section_of, with_profile, write_config

FILE = """\
# my places
default = "far"   # the usual one

[profiles.near] # here
slots = 2

# the cluster
[profiles.far]
host = "csd3"  # as in ssh
setup = [
    "module load a # b", # why
    "[profiles.near]",
]
# how long
time_limit_minutes = 720 # SL3

[profiles.far.env]
A = "1"
"""
KEYS = st.sampled_from(["host", "account", "setup", "time_limit_minutes", "gpus", "python"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES: st.SearchStrategy[Value] = st.none() | st.integers(0, 9999) | TEXTS | st.lists(TEXTS, max_size=3)


def test_comments_order_and_all_else_survive_a_changed_key() -> None:
    changed = with_profile(FILE, "far", {"time_limit_minutes": 60, "host": "csd3", "account": "A"})
    assert changed == FILE.replace("720 # SL3", '60 # SL3\naccount = "A"')


def test_a_key_is_taken_out_with_all_of_its_lines() -> None:
    changed = with_profile(FILE, "far", {"setup": None})
    assert changed == FILE[: FILE.index("setup")] + FILE[FILE.index("# how long") :]


def test_a_new_section_goes_to_the_end() -> None:
    assert with_profile(FILE, "new", {"gpus": 1}) == FILE + "\n[profiles.new]\ngpus = 1\n"
    assert with_profile("", "new", {"setup": ["a", "b"]}) == (
        '[profiles.new]\nsetup = [\n    "a",\n    "b",\n]\n'
    )


def test_the_lines_of_a_section_are_shown_alone() -> None:
    assert section_of(FILE, "near") == "[profiles.near] # here\nslots = 2\n\n# the cluster\n"
    assert section_of(FILE, "nobody") == ""


@given(st.sampled_from(["near", "far", "new"]), st.dictionaries(KEYS, VALUES), st.booleans())
def test_whatever_is_written_is_read_again_beside_what_was_there(
    name: str, changes: dict[str, Value], windows: bool
) -> None:
    text = FILE.replace("\n", "\r\n") if windows else FILE
    before = tomllib.loads(text)
    changed = with_profile(text, name, changes)
    section = {**before["profiles"].get(name, {}), **changes}
    before["profiles"][name] = {key: value for key, value in section.items() if value is not None}
    assert tomllib.loads(changed) == before
    assert with_profile(changed, name, changes) == changed
    assert all(comment in changed for comment in ("# my places", "# the usual one", "# here", "# how long"))


@pytest.mark.parametrize(
    "text", ['profiles.far = {host = "a"}', "[profiles]\nfar.host = 'a'", "[[profiles]]\na = 1"]
)
def test_a_file_of_another_form_is_refused_and_not_damaged(text: str) -> None:
    with pytest.raises(ConfigError, match="change it by hand"):
        with_profile(text, "far", {"host": "b"})


@pytest.mark.parametrize("name", ["", "a b", "a.b", 'a"', "ä", "a]\nb"])
def test_a_name_that_would_break_the_file_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name"):
        with_profile("", name, {})


def test_a_file_is_put_in_place_whole_and_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    real, link = tmp_path / "dotfiles.toml", tmp_path / "config.toml"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    write_config(link, "new", "old")
    assert link.is_symlink()
    assert (real.read_text(), real.stat().st_mode & 0o777) == ("new", 0o600)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml", "dotfiles.toml"]


def test_a_file_that_was_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("theirs")
    with pytest.raises(ConfigError, match="changed meanwhile"):
        write_config(path, "new", "old")
    assert read_config(path) == "theirs"


def test_a_write_that_fails_leaves_the_old_file_and_its_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    path = tmp_path / "config.toml"
    path.write_text("old")
    monkeypatch.setattr(Path, "replace", no_room)
    with pytest.raises(ConfigError, match=r"cannot be written: No space left"):
        write_config(path, "new", "old")
    assert path.read_text() == (tmp_path / "config.toml.bak").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
