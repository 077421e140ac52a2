"""SlurmDesk: what a user may do with any job of theirs in the queue, whoever has submitted it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from operator import is_

from workbench.errors import NotAllowed, NotFound, SchedulerError
from workbench.model.queue import QueuedJob, QueueEntry
from workbench.ports import Connection
from workbench.schedulers.slurm.asking import ask, garbled
from workbench.schedulers.slurm.parse import Marks, parse_records
from workbench.schedulers.slurm.show import parse_job
from workbench.schedulers.slurm.states import refusal

_NUMBER = re.compile(r"\d+(\+\d+)?(_(\d+|\[[\d,:-]+\]))?", re.ASCII)


class SlurmDesk:
    """Implements `ports.Desk`. Jobs are named as Slurm's commands take them: `12`, `12_3`, `12_[0-9]`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.entries: Sequence[QueueEntry] = ()
        """All jobs of the user's at the last poll, by our clock."""
        self._heard: tuple[Sequence[QueueEntry], float] = ((), 0.0)

    def hear(self, queue: Sequence[QueueEntry], offset: float) -> bool:
        """Know what a poll has found; true where a job is new, gone, or in another state."""
        queue_before, offset_before = self._heard
        self._heard = queue, offset
        # What has not changed is the same object from poll to poll.
        if offset == offset_before and len(queue) == len(queue_before) and all(map(is_, queue, queue_before)):
            return False
        before = {(entry.id, entry.state, entry.reason) for entry in self.entries}
        self.entries = [_shifted(entry, offset) for entry in queue] if offset else queue
        return before != {(entry.id, entry.state, entry.reason) for entry in self.entries}

    async def details(self, native_id: str) -> QueuedJob:
        """Everything that Slurm says of a job.

        Raises:
            SchedulerError: Slurm does not know it, any more or at all.
        """
        # Slurm shows a task, or all of an array, but not a part of one.
        return parse_job(
            native_id, await self._ask("show", "shown", "scontrol show job", native_id.partition("_[")[0])
        )

    async def cancel(self, native_id: str, prefix: str = "") -> None:
        """Ask a job to end; one that has ended already is left as it is.

        Args:
            native_id: The job.
            prefix: Of its comment: a job with this number that is another one of ours is left alone.
        """
        with suppress(NotAllowed):
            await self._ask("cancel", "cancelled", "scancel", native_id, prefix)

    async def hold(self, native_id: str, prefix: str = "") -> None:
        """Keep a job that waits from starting.

        Raises:
            SchedulerError: It has started, or is gone.
        """
        await self._ask("hold", "held", "scontrol hold", native_id, prefix, "hold")

    async def release(self, native_id: str, prefix: str = "") -> None:
        """Let a job go that is held.

        Raises:
            SchedulerError: An administrator holds it, or it is gone.
        """
        await self._ask("hold", "released", "scontrol release", native_id, prefix, "release")

    async def _ask(self, script: str, done: str, command: str, native_id: str, *arguments: str) -> str:
        """Have one thing done to a job, which is `done` then, by a command; what Slurm says of it."""
        if not _NUMBER.fullmatch(native_id):
            # Slurm's commands would take an option for one, and act on every job where there is none.
            raise NotFound(f"{native_id!r} is no job's number: it should be as squeue writes it, 12 or 12_3.")
        marks = Marks.new()
        data = await ask(self._connection, script, marks, native_id, *arguments)
        for kind, rest in parse_records(data, marks):
            if kind == "done":
                return "".join(rest)
            if kind == "gone":
                raise NotAllowed(f"The job that had the number {native_id} is not there any more.")
            if kind == "failed":
                said = refusal(" ".join(rest))
                raise SchedulerError(
                    f"Job {native_id} could not be {done} on {self._connection.host} "
                    f"(`{command} {native_id}`): {said}."
                )
        raise SchedulerError(garbled(self._connection.host, f"`{script}`", data))


def _shifted(entry: QueueEntry, offset: float) -> QueueEntry:
    def ours(at: float | None) -> float | None:
        return None if at is None else at + offset

    return replace(
        entry,
        submitted_at=ours(entry.submitted_at),
        started_at=ours(entry.started_at),
        ended_at=ours(entry.ended_at),
    )
