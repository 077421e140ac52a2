from __future__ import annotations

import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.environment import Environment, accel_requirements, create, requirement_of_extra
from workbench.errors import CommandFailed, NotAllowed, WorkbenchError
from workbench.remote.local import LocalConnection


@pytest.fixture
async def connection() -> AsyncIterator[LocalConnection]:
    connection = LocalConnection()
    yield connection
    await connection.close()


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """A package that can be installed without a network and without a builder."""
    folder = tmp_path / "tiny wheel"
    folder.mkdir()
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "ANSWER = 42\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return str(wheel)


def environment(folder: Path, *requirements: str, setup: tuple[str, ...] = ()) -> Environment:
    return Environment(str(folder), sys.executable, requirements, setup)


async def test_an_environment_is_made_and_has_what_was_asked_for(
    tmp_path: Path, connection: LocalConnection, tiny: str
) -> None:
    said: list[str] = []
    made = environment(tmp_path / "an env", tiny, setup=("export PIP_NO_INDEX=1",))
    await create(connection, made, said.append)
    answer = await connection.run([made.python, "-c", "import tiny; print(tiny.ANSWER)"])
    assert answer.stdout == b"42\n"
    assert "Successfully installed tiny-1.0" in said
    assert said[0].startswith("$ ")
    # Cut off and run again, it goes on.
    await create(connection, made, said.append)


async def test_a_requirement_that_cannot_be_had_is_named(tmp_path: Path, connection: LocalConnection) -> None:
    made = environment(tmp_path / "env", "no-such-thing", setup=("export PIP_NO_INDEX=1",))
    with pytest.raises(CommandFailed, match="No matching distribution found for no-such-thing"):
        await create(connection, made, lambda line: None)


async def test_a_folder_that_holds_something_else_is_left_alone(
    tmp_path: Path, connection: LocalConnection
) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(NotAllowed, match="is no environment: name another folder"):
        await create(connection, environment(tmp_path), lambda line: None)
    assert (await connection.run(["ls", str(tmp_path)])).stdout == b"thesis.tex\n"


@pytest.mark.parametrize(
    ("base", "setup"),
    [("/nowhere/python", ()), ("false", ()), (sys.executable, ("false", "true"))],
)
async def test_a_python_that_will_not_do_is_said_before_anything_is_made(
    tmp_path: Path, connection: LocalConnection, base: str, setup: tuple[str, ...]
) -> None:
    made = Environment(str(tmp_path / "env"), base, [], setup)
    with pytest.raises(NotAllowed, match=r"is no Python 3.11 or newer.*--base"):
        await create(connection, made, lambda line: None)
    assert not (tmp_path / "env").exists()


def test_the_commands_can_be_run_by_hand() -> None:
    made = Environment("/w/an env", "python3", ["torch>=2.4"], ["module load a"])
    assert made.script == (
        "module load a\npython3 -m venv '/w/an env'\n"
        "'/w/an env/bin/python' -m pip install --progress-bar=off 'torch>=2.4'"
    )


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("torch>=2.4; extra == 'accel'", "torch>=2.4"),
        ('vesin>=0.3; python_version < "3.14" and extra == "accel"', 'vesin>=0.3; python_version < "3.14"'),
        ("textual>=6.0", None),
        ("ruff; extra == 'dev'", None),
    ],
)
def test_lines_of_the_extra_are_for_pip(line: str, wanted: str | None) -> None:
    assert requirement_of_extra(line) == wanted


@given(st.text())
def test_no_line_of_metadata_is_too_much(line: str) -> None:
    assert requirement_of_extra(line) is None or "extra" in line


def test_the_requirements_are_those_of_the_installed_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "mace_workbench-9.dist-info"
    info.mkdir()
    lines = ["Name: mace-workbench", "Version: 9", "Requires-Dist: torch>=2.4; extra == 'accel'"]
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, "Requires-Dist: textual", ""]))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert accel_requirements() == ["torch>=2.4"]
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mace-workbench\nVersion: 9\n")
    with pytest.raises(WorkbenchError, match="--requirement"):
        accel_requirements()
