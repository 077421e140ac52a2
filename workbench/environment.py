"""The Python environment of runs on a host: made there when the user asks for it.

What goes into it are the requirements of the `accel` extra, as the metadata of this installed program has
them. The steps are plain commands, which can be shown instead of run.
"""

from __future__ import annotations

import importlib.metadata
import re
import shlex
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from workbench.errors import CommandFailed, NotAllowed, WorkbenchError
from workbench.plain import plain
from workbench.ports import Connection

_DISTRIBUTION = "mace-workbench"
_EXTRA = "accel"
_OF_EXTRA = re.compile(rf"""(?:\s+and\s+)?\bextra\s*==\s*["']{_EXTRA}["']""")
_OLDEST = (3, 11)
_ASK_VERSION = f"import sys; sys.exit(sys.version_info < {_OLDEST})"
_STEP = 'eval "$1"; shift; exec "$@" 2>&1'
"""The profile's setup, and then a command with all that it says on one stream."""


@dataclass(frozen=True, slots=True)
class Environment:
    """One that is to be made."""

    folder: str
    """Absolute."""
    base: str
    """The Python that it is made with."""
    requirements: Sequence[str]
    setup: Sequence[str] = ()

    @property
    def python(self) -> str:
        """Its own Python, for the profile."""
        return f"{self.folder}/bin/python"

    @property
    def commands(self) -> Sequence[Sequence[str]]:
        """What makes it; they may be run again where they were cut off."""
        return [
            [self.base, "-m", "venv", self.folder],
            [self.python, "-m", "pip", "install", "--progress-bar=off", *self.requirements],
        ]

    @property
    def script(self) -> str:
        """The same for a person, to run by hand."""
        return "\n".join([*self.setup, *map(shlex.join, self.commands)])


def accel_requirements() -> Sequence[str]:
    """What the `accel` extra of this program needs.

    Raises:
        WorkbenchError: The program was not installed, so that nothing says it.
    """
    try:
        lines = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        lines = []
    wanted = list(filter(None, map(requirement_of_extra, lines)))
    if not wanted:
        raise WorkbenchError(
            f"{_DISTRIBUTION} is not installed here, so that its requirements are not known: install it with "
            "pip, or name them with --requirement."
        )
    return wanted


def requirement_of_extra(line: str) -> str | None:
    """A line of the metadata as pip takes it; none where it is not of the extra."""
    requirement, _, marker = line.partition(";")
    if not _OF_EXTRA.search(marker):
        return None
    rest = _OF_EXTRA.sub("", marker).strip()
    return f"{requirement.strip()}; {rest}" if rest else requirement.strip()


async def create(connection: Connection, environment: Environment, hear: Callable[[str], None]) -> None:
    """Make the environment, handing on a line at a time of what the commands say.

    Raises:
        NotAllowed: The folder holds something else, or the Python is too old.
        CommandFailed: A step has failed; the last thing that it said is in it.
    """
    folder = environment.folder
    look = '[ ! -e "$1" ] || [ -e "$1/pyvenv.cfg" ] || [ -z "$(ls -A -- "$1")" ]'
    if (await connection.run(["sh", "-c", look, "sh", folder], check=False)).exit_status:
        raise NotAllowed(
            f"{folder} on {connection.host} is there and is no environment: name another folder."
        )
    asked = _after_setup(environment, [environment.base, "-c", _ASK_VERSION])
    version = await connection.run(asked, check=False)
    if version.exit_status:
        said = plain((version.stdout + version.stderr).decode(errors="replace").strip().rpartition("\n")[2])
        raise NotAllowed(
            f"{environment.base} on {connection.host} is no Python {'.'.join(map(str, _OLDEST))} or newer"
            f"{f' ({said})' if said else ''}: name one with --base, or load one in the profile's `setup`."
        )
    for command in environment.commands:
        hear(f"$ {shlex.join(command)}")
        await _run(connection, environment, command, hear)


def _after_setup(environment: Environment, command: Sequence[str]) -> list[str]:
    setup = "".join(f"{line}\n[ $? -eq 0 ] || exit\n" for line in environment.setup)
    return ["bash", "-c", _STEP, "mace-workbench-environment", setup, *command]


async def _run(
    connection: Connection, environment: Environment, command: Sequence[str], hear: Callable[[str], None]
) -> None:
    last, rest = "", b""
    async with connection.stream(_after_setup(environment, command)) as process:
        await process.write_eof()
        async with aclosing(process.stdout()) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    last = plain(line.decode(errors="replace").rstrip("\r"))
                    hear(last)
        done = await process.wait()
    if rest:
        last = plain(rest.decode(errors="replace"))
        hear(last)
    if done.exit_status:
        said = done.stderr.decode(errors="replace").strip() or last
        raise CommandFailed(connection.host, tuple(command), done.exit_status, plain(said))
