"""The queue: a folder of numbered links to the folders of jobs that wait or run.

A job may run when fewer live jobs than there are slots stand before it. A link whose job has no
supervisor any more stands in nobody's way, and whoever comes across it takes it away.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

from jobs.detach.process import Process, members, signal_group, this_boot, wait_until
from jobs.detach.record import STATE_FILE, Record, Refused, load

RUN_VARIABLE = "MACE_WORKBENCH_RUN"
"""In the environment of every process of a run: its folder."""
GONE_S = 5.0
"""How long processes may take to vanish after SIGKILL."""


def _tickets(queue: Path) -> list[int]:
    """The numbers that are given out, in order."""
    try:
        return sorted(int(entry.name) for entry in queue.iterdir() if entry.name.isdigit())
    except FileNotFoundError:
        return []


def take_ticket(queue: Path, folder: Path) -> Path:
    """A link to `folder` with a number above all others, whoever else takes one at the same moment."""
    queue.mkdir(parents=True, exist_ok=True)
    while True:
        number = max(_tickets(queue), default=0) + 1
        ticket = queue / f"{number:08d}"
        try:
            ticket.symlink_to(folder)
        except FileExistsError:
            continue
        if _tickets(queue)[-1] == number:
            return ticket
        # Another went past between the look and the link: this one must not slip in before it.
        ticket.unlink()


def queued(queue: Path) -> Iterator[tuple[Path, Path]]:
    """Every ticket with the folder that it stands for, in order."""
    for number in _tickets(queue):
        ticket = queue / f"{number:08d}"
        with contextlib.suppress(OSError):  # it has just left
            yield ticket, ticket.readlink()


def before(queue: Path, folder: Path, most: int) -> int:
    """How many live jobs of this host stand before the one in `folder`, counted up to `most`."""
    count = 0
    for ticket, other in queued(queue):
        if count >= most or other == folder:
            break
        state = _state(other)
        supervisor = Process(**state["supervisor"]) if state else None
        if supervisor is not None and supervisor.is_elsewhere:
            continue  # of a host that shares the folder, and has slots of its own
        if supervisor is not None and supervisor.is_alive:
            count += 1
            continue
        if state is not None:
            end_orphans(other, state)
        ticket.unlink(missing_ok=True)
    return count


@functools.cache
def places(queue: Path) -> Mapping[Path, int]:
    """How many live jobs stand before each: looked up once a command, however many jobs it asks for."""
    states = {folder: _state(folder) for _, folder in queued(queue)}
    live = [folder for folder, state in states.items() if state and Process(**state["supervisor"]).is_alive]
    return {folder: place for place, folder in enumerate(live)}


def _state(folder: Path) -> Record | None:
    with contextlib.suppress(Refused):
        return load(folder / STATE_FILE)
    return None


def end_orphans(folder: Path, state: Record) -> bool:
    """End what still runs of an attempt whose supervisor is gone; whether there was anything."""
    child = state.get("child")
    if child is None or child["boot"] != this_boot():
        return False
    leader = Process(**child)
    if leader.is_alive or any(_runs_in(pid, folder) for pid in members(leader.pid)):
        signal_group(leader.pid, signal.SIGKILL)
        wait_until(lambda: not members(leader.pid), GONE_S)
        return True
    return False


def _runs_in(pid: int, folder: Path) -> bool:
    """Whether a process belongs to the run in `folder`, by its environment."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"{RUN_VARIABLE}=".encode() + os.fsencode(folder) in environment
