"""How the scripts of `host/` are run on a login node, and what an answer is worth that makes no sense."""

from __future__ import annotations

from functools import cache
from importlib import resources as package_files

from workbench.errors import SchedulerError
from workbench.ports import Connection
from workbench.schedulers.slurm.parse import Marks
from workbench.schedulers.slurm.states import refusal


async def ask(
    connection: Connection, script: str, marks: Marks, *arguments: str, stdin: bytes = b""
) -> bytes:
    """Run a script of `host/`; its stdout.

    Raises:
        SchedulerError: It has failed as a whole.
    """
    name = f"mace-workbench-{script}"
    argv = ["sh", "-c", _script(script), name, marks.record, marks.field, *arguments]
    done = await connection.run(argv, stdin=stdin, check=False)
    if done.exit_status != 0:
        said = done.stderr.decode(errors="replace")
        raise SchedulerError(f"{connection.host} could not do `{script}`: {refusal(said)}.")
    return done.stdout


def garbled(host: str, what: str, data: bytes) -> str:
    """A sentence for an answer that cannot be understood."""
    shown = data[:200].decode(errors="replace")
    return f"The answer of {host} to {what} cannot be understood: {shown!r}."


@cache
def _script(name: str) -> str:
    folder = package_files.files(__package__).joinpath("host")
    return "".join(folder.joinpath(f"{part}.sh").read_text(encoding="utf-8") for part in ("common", name))
