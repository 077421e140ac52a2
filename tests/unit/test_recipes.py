from __future__ import annotations

from pathlib import Path

import pytest

from jobs.spec import RunSpec
from workbench.errors import SpecRefused
from workbench.recipes import find_spec, recipes


def test_the_demonstration_is_a_recipe() -> None:
    assert find_spec("demo") == recipes()["demo"]


def test_changes_are_made_to_a_recipe() -> None:
    spec = find_spec("demo", ["threads=2", "parameters.sizes=[8]", "name=my run"])
    assert (spec.threads, spec.name) == (2, "my run")
    assert find_spec("demo").threads == 1


def test_a_spec_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(RunSpec(name="mine").to_json())
    assert find_spec(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("nothing", [], "no recipe 'nothing'; there are: .*demo"),
        ("missing.json", [], "missing.json cannot be read"),
        ("demo", ["threads"], "'threads' is no change"),
        ("demo", ["thread=2"], "no key thread"),
        ("demo", ["a.b=2"], "no part 'a'"),
        ("demo", ["threads=two"], "threads should be of type int"),
    ],
)
def test_what_cannot_be_understood_is_named(name: str, changes: list[str], message: str) -> None:
    with pytest.raises(SpecRefused, match=message):
        find_spec(name, changes)
