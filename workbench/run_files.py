"""What runs leave behind on their hosts: events, log and results, read as far as they have got."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from jobs.protocol import EventDecoder
from workbench.errors import FileFailed, NotAllowed
from workbench.ledger import Ledger
from workbench.model.job import Job
from workbench.model.run import Run
from workbench.ports import Connection, FileChunk
from workbench.store import Store
from workbench.turns import Turns

EVENTS_FILE = "events.jsonl"
LOG_FILE = "stdout.log"
RESULTS_FILE = "results.json"
_PIECE_BYTES = 1 << 17
"""Read and kept at a time."""
_SLICE_BYTES = 1 << 13
"""Folded at a time: under a millisecond. The answer to a key takes many turns of the event loop, and each of
them may have to wait for one slice."""
_FETCH_S = 0.08
"""How long one fetch goes on through a backlog before what it has is drawn."""


@dataclass
class _Followed:
    """A run's events as far as they are read."""

    run: Run = field(default_factory=Run)
    decoder: EventDecoder = field(default_factory=EventDecoder)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    replayed: bool = False
    ended_attempt: int = 0
    """The last attempt whose end was seen in its events."""


class RunFiles:
    """Follows runs by byte offset, and keeps in the store what was read."""

    def __init__(
        self, store: Store, ledger: Ledger, connected: Callable[[Job], Awaitable[Connection]], turns: Turns
    ) -> None:
        """Read over the connections that `connected` gives."""
        self._turns = turns
        self._store = store
        self._ledger = ledger
        self._connected = connected
        self._followed: defaultdict[str, _Followed] = defaultdict(_Followed)

    def run(self, job_id: str) -> Run:
        """What the events of a job have added up to so far."""
        return self._followed[job_id].run

    def ended_anew(self, job_id: str) -> bool:
        """Whether the events tell of an end that was not told before; true once an attempt."""
        followed = self._followed[job_id]
        anew = followed.run.finish is not None and followed.ended_attempt != followed.run.attempt
        followed.ended_attempt = followed.run.attempt if anew else followed.ended_attempt
        return anew

    async def fetch(self, job: Job) -> bool:
        """Take in what is new of a run's events, for a moment; true where anything was."""
        followed = self._followed[job.id]
        deadline = time.monotonic() + _FETCH_S
        async with followed.reading:
            changed = await self._replay(job, followed)
            # One piece at least, or on a busy machine nothing would ever come.
            chunk = await self._next_piece(job, followed.decoder.offset)
            while chunk.data:
                fold = self._fold(followed, chunk.data, chunk.offset)
                if time.monotonic() >= deadline:
                    changed |= await fold
                    break
                # The next piece is on its way meanwhile. Whatever becomes of it, this one is folded whole.
                ahead = self._next_piece(job, chunk.offset + len(chunk.data))
                anew, following = await asyncio.gather(fold, ahead, return_exceptions=True)
                if isinstance(anew, BaseException):
                    raise anew
                changed |= anew
                if isinstance(following, BaseException):
                    raise following
                chunk = following
        return changed

    async def log_chunk(self, job: Job, offset: int = 0, *, tail_bytes: int | None = None) -> FileChunk:
        """The run's standard output and error from `offset` on, or at most its last `tail_bytes`."""
        connection, path = await self._connected(job), f"{job.folder}/{LOG_FILE}"
        try:
            if tail_bytes is not None:
                offset = max(offset, (await connection.read(path, 0, 0)).size - tail_bytes)
            return await connection.read(path, offset)
        except FileFailed:
            return FileChunk(offset, b"", 0)

    async def results(self, job: Job) -> Mapping[str, object]:
        """The results file of a finished run.

        Raises:
            NotAllowed: There is none yet.
        """
        try:
            data = (await (await self._connected(job)).read(f"{job.folder}/{RESULTS_FILE}")).data
        except FileFailed:
            raise NotAllowed(
                f"Job {job.id} has no results ({job.state.lower()}): `mace-workbench logs {job.id}` says why."
            ) from None
        results = json.loads(data)
        if not isinstance(results, dict):
            raise NotAllowed(f"The results of job {job.id} are not what this program writes.")
        return results

    async def _replay(self, job: Job, followed: _Followed) -> bool:
        """Take in what the store has kept of a run, the first time."""
        changed = False
        if not followed.replayed:
            for offset, data in await asyncio.to_thread(self._store.pieces, job.id):
                changed |= await self._fold(followed, data, offset)
            followed.replayed = True
        return changed

    async def _next_piece(self, job: Job, offset: int) -> FileChunk:
        """The next piece of a run's events, kept in the store before it is handed on."""
        try:
            connection = await self._connected(job)
            chunk = await connection.read(f"{job.folder}/{EVENTS_FILE}", offset, _PIECE_BYTES)
        except FileFailed:  # the run has not written yet
            return FileChunk(offset, b"", 0)
        if chunk.data:
            keep = self._store.append
            await asyncio.to_thread(self._ledger.copy, keep, job.id, chunk.offset, chunk.data)
        return chunk

    async def _fold(self, followed: _Followed, data: bytes, offset: int) -> bool:
        """Take in bytes of a run's events, others going first after each slice; true where any was new."""
        changed = False
        for start in range(0, len(data), _SLICE_BYTES):
            events = followed.decoder.feed(data[start : start + _SLICE_BYTES], offset + start)
            changed |= followed.run.apply_all(events)
            await self._turns.give()
        return changed
