"""Following: keeps what the screens draw up to date, each part at its own pace.

Each loop asks, says what it heard, and waits; none of them ends before it is cancelled. An error is
said and tried again, less often the longer it lasts: what is on the screen stays, with its age.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from workbench.errors import WorkbenchError
from workbench.model.job import JobState
from workbench.model.queue import QueuedJob
from workbench.ports import Workbench
from workbench.turns import Turns

_ACTIVE_S = 1.0
_IDLE_S = 5.0
_LONGEST_S = 30.0
_OPEN_S = 0.1
_OPEN_QUIET_S = 0.25
_TOLD_S = 0.2
"""News of a run are drawn so often at the most: more than that nobody sees, and keys would wait for it."""
_OPEN_GROWTH = 1.25
_ENDED_S = 1.0
LOG_TAIL_BYTES = 1 << 16
_SILENT = frozenset({JobState.WAITS_FOR_LINK, JobState.SUBMITTING, JobState.PENDING})
"""In these a job has not begun to write events."""


class _Bell:
    """Ends the pauses of all who wait."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake those who wait now."""
        self._rung.set()
        self._rung = asyncio.Event()

    async def pause(self, seconds: float) -> bool:
        """Until it is rung, or for so long; true where it was rung."""
        try:
            async with asyncio.timeout(seconds):
                return await self._rung.wait()
        except TimeoutError:
            return False


@dataclass(frozen=True)
class Following:
    """The loops, and whom they tell."""

    workbench: Workbench
    heard_jobs: Callable[[], None]
    """The schedulers have answered."""
    heard_run: Callable[[str], None]
    """There is news of a run."""
    heard_log: Callable[[str, bytes], None]
    trouble: Callable[[str, str], None]
    """Something cannot be asked at the moment: who asks, and what is wrong; that is empty as soon as it
    works."""
    is_open: Callable[[str], bool]
    """Whether a run is on the screen, and so followed by `open_run` already."""
    turns: Turns = field(default_factory=Turns)
    _bell: _Bell = field(default_factory=_Bell)
    _up: set[str] = field(default_factory=set)

    def links_changed(self) -> None:
        """Ask everything anew at once where a host can be reached again."""
        up = {status.profile for status in self.workbench.links() if status.link.state.is_up}
        if up - self._up:
            self._bell.ring()
        self._up.clear()
        self._up.update(up)

    async def states(self) -> None:
        """Ask for the states of jobs: each second while any is active, more rarely when not."""

        async def ask() -> float:
            await self.workbench.refresh()
            self.heard_jobs()
            active = any(not job.state.is_over for job in self.workbench.jobs())
            return _ACTIVE_S if active else _IDLE_S

        await self._go_on("states", ask)

    async def progress(self) -> None:
        """Take in the events of every active run once a second, and of a run that has ended once more."""
        last_look: set[str] = set()

        async def ask() -> float:
            nonlocal last_look
            active = {
                job.id for job in self.workbench.jobs() if not job.state.is_over and job.state not in _SILENT
            }
            failures = []
            for job_id in active | last_look:
                try:
                    if not self.is_open(job_id) and await self.workbench.fetch(job_id):
                        self.heard_run(job_id)
                except WorkbenchError as error:  # runs at other places go on
                    failures.append(error)
            if failures:
                raise failures[0]
            last_look = active
            return _ACTIVE_S

        await self._go_on("progress", ask)

    async def open_run(self, job_id: str) -> None:
        """Take in the events of the run on the screen ten times a second, and less often while none come.

        A host's file system is asked each time: so rarely that nobody minds, so often that what is
        measured is seen within half a second.
        """
        clock = asyncio.get_running_loop().time
        pause, told_at, news = _OPEN_S, -_TOLD_S, False

        async def ask() -> float:
            nonlocal pause, told_at, news
            heard = await self.workbench.fetch(job_id)
            await self.turns.give()
            news |= heard
            if news and clock() - told_at >= _TOLD_S:
                self.heard_run(job_id)
                told_at, news = clock(), False
            over = self.workbench.job(job_id).state.is_over
            most = _ENDED_S if over else _OPEN_QUIET_S
            pause = _OPEN_S if heard or news else min(_OPEN_GROWTH * pause, most)
            return pause

        await self._go_on("run", ask)

    async def open_sweep(self, sweep_id: str) -> None:
        """Take in the events of all members of the sweep on the screen once a second."""

        async def ask() -> float:
            heard = await self.workbench.fetch(sweep_id)
            self.heard_run(sweep_id)
            over = self.workbench.job(sweep_id).state.is_over
            return _IDLE_S if over and not heard else _ACTIVE_S

        await self._go_on("sweep", ask)

    async def log(self, job_id: str) -> None:
        """Read the end of the log of the run on the screen once a second."""

        async def ask() -> float:
            if self.workbench.job(job_id).state is JobState.WAITS_FOR_LINK:
                return _ACTIVE_S
            self.heard_log(job_id, await self.workbench.log(job_id, tail_bytes=LOG_TAIL_BYTES))
            return _IDLE_S if self.workbench.job(job_id).state.is_over else _ACTIVE_S

        await self._go_on("log", ask)

    async def queued(
        self,
        profile: str,
        native_id: str,
        heard_job: Callable[[QueuedJob], None],
        heard_log: Callable[[bytes], None],
    ) -> None:
        """Ask once what is known of a job in a queue, and read the end of its output once a second."""
        queues = self.workbench.queues
        job: QueuedJob | None = None

        async def ask() -> float:
            nonlocal job
            if job is None:
                job = await queues.details(profile, native_id)
                heard_job(job)
            if job.log_path:
                heard_log(await queues.log(profile, job, tail_bytes=LOG_TAIL_BYTES))
            return _ACTIVE_S

        await self._go_on("queued", ask)

    async def _go_on(self, asker: str, ask: Callable[[], Awaitable[float]]) -> None:
        """Ask again and again, each time after as long as the last answer said."""
        try:
            await self._for_ever(asker, ask)
        finally:
            self.trouble(asker, "")  # it is not asked any more

    async def _for_ever(self, asker: str, ask: Callable[[], Awaitable[float]]) -> None:
        clock = asyncio.get_running_loop().time
        failed = 0
        while True:
            began = clock()
            try:
                await self.turns.give()
                pause = await ask()
                failed = 0
                self.trouble(asker, "")
            except WorkbenchError as error:
                self.trouble(asker, str(error))
                failed += 1
                pause = min(_LONGEST_S, 2.0**failed)
            # At least as long a rest as the work took, so that keys come in between.
            spent = clock() - began
            if await self._bell.pause(max(pause - spent, min(spent, pause))):
                failed = 0
