"""Watching: puts the queues of the clusters on the screen, and does what is asked for there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from workbench.errors import WorkbenchError
from workbench.following import Following
from workbench.messages import ActOnQueued, AskEstimate, Cancel, OpenQueued, OpenRun
from workbench.model.job import JobState
from workbench.model.queue import QueueEntry, QueueView
from workbench.model.sweep import folded
from workbench.plain import plain
from workbench.ports import Workbench
from workbench.report import estimate_text

if TYPE_CHECKING:
    from textual.app import App

    from workbench.screens.queue import QueueScreen
    from workbench.screens.queued import QueuedScreen
    from workbench.screens.submit import SubmitScreen

Say = Callable[..., None]
_LOG = "queued log"


class Watching:
    """The two screens of queues, for the app."""

    def __init__(
        self,
        app: App[None],
        workbench: Workbench,
        following: Following,
        clock: Callable[[], float],
        say: Say,
        refreshed: Callable[[], None],
    ) -> None:
        self._app, self._workbench, self._following = app, workbench, following
        self._clock, self._say, self._refreshed = clock, say, refreshed
        self._queue: QueueScreen | None = None
        self._queued: QueuedScreen | None = None
        self._told: tuple[JobState, str] | None = None
        """State and node of the job on the screen when its details were asked for."""

    def open(self) -> None:
        """Show the queue of the first cluster that there is."""
        from workbench.screens.queue import QueueScreen

        profiles = self._workbench.queues.profiles()
        self._workbench.queues.watch(profiles[0])
        self._queue = QueueScreen(profiles, self._workbench.queues.view(profiles[0]), self._clock())
        self._app.push_screen(self._queue, self._closed)
        self.ask()

    def watch(self, profile: str) -> None:
        """Show the queue of another cluster."""
        self._workbench.queues.watch(profile)
        self.draw(profile=profile)
        self.ask()

    def ask(self) -> None:
        """Ask the schedulers now."""
        self._workbench.queues.stir()
        self._app.run_worker(self._ask(), group="ask now", exclusive=True)

    def draw(self, trouble: str = "", *, profile: str | None = None) -> None:
        """Draw what was heard last, on whichever of the screens is there."""
        if self._queue is None:
            return
        now = self._clock()
        view = self._workbench.queues.view(profile or self._queue.profile)
        if self._app.screen is self._queue:
            self._queue.show(view, self._names(), now, trouble=trouble)
        elif self._queued is not None and self._app.screen is self._queued:
            entry = self._entry(view.profile, self._queued.entry.id) or self._queued.entry
            self._queued.show(entry, view.pulse, now, trouble=trouble)
            if (entry.state, entry.node) != self._told:
                self._follow(self._queued)

    def asked_last(self) -> QueueView | None:
        """The queue that was heard of last; none before the first."""
        views = map(self._workbench.queues.view, self._workbench.queues.profiles())
        heard = [view for view in views if view.pulse.asked_at is not None]
        return max(heard, key=lambda view: view.pulse.asked_at or 0.0, default=None)

    def show_queued(self, message: OpenQueued) -> None:
        """Show one job, and follow its output."""
        from workbench.screens.queued import QueuedScreen

        view = self._workbench.queues.view(message.profile)
        entry = self._entry(message.profile, message.native_id)
        if entry is None:
            self._say(f"Job {message.native_id} is not in the queue any more.", failed=True)
            return
        self._queued = QueuedScreen(message.profile, entry, view.pulse, self._clock())
        self._app.push_screen(self._queued, self._queued_closed)
        self._follow(self._queued)

    def act(self, message: ActOnQueued) -> None:
        """Do something to a job: what ends it, after a question."""
        queues, profile, native_id = self._workbench.queues, message.profile, message.native_id
        entry = self._entry(profile, native_id)
        if message.what == "cancel" and entry is not None:
            if entry.run_id in self._names():
                self._app.post_message(Cancel(entry.run_id))
            else:
                self._confirm(profile, entry)
        elif message.what == "adopt":
            self._app.run_worker(self._adopt(profile, native_id), group="doing")
        elif message.what == "hold":
            self._do(queues.hold(profile, native_id), f"Job {native_id} is held: h lets it go again.")
        elif message.what == "release":
            self._do(queues.release(profile, native_id), f"Job {native_id} may start again.")

    def estimate(self, message: AskEstimate) -> None:
        """Ask when a run would start; the screen that asks sees to it that it asks once at a time."""
        from workbench.screens.submit import SubmitScreen

        if isinstance(screen := self._app.screen, SubmitScreen):
            self._app.run_worker(self._estimated(screen, message), group="estimate")

    # -- inside ----------------------------------------------------------------------------------

    def _names(self) -> dict[str, str]:
        """Of all jobs of this program, sweeps and their members among them, by id."""
        jobs = self._workbench.jobs()
        return {job.id: job.spec.name for job in (*jobs, *folded(jobs))}

    def _entry(self, profile: str, native_id: str) -> QueueEntry | None:
        entries = self._workbench.queues.view(profile).entries
        return next((entry for entry in entries if entry.id == native_id), None)

    def _confirm(self, profile: str, entry: QueueEntry) -> None:
        from workbench.screens.confirm import ConfirmScreen

        def answered(yes: bool | None) -> None:
            if yes:
                doing = self._workbench.queues.cancel(profile, entry.id)
                self._do(doing, f"Asked job {entry.id} to end.")

        question = (
            f"End {plain(entry.id)}, {plain(entry.name)}?\n"
            "It was not started by this program, and cannot be started again from here."
        )
        self._app.push_screen(ConfirmScreen(question, "end it"), answered)

    def _do(self, doing: Awaitable[None], said: str) -> None:
        self._app.run_worker(self._done(doing, said), group="doing")

    async def _done(self, doing: Awaitable[None], said: str) -> None:
        try:
            await doing
            self._say(said)
            await self._workbench.refresh()
        except WorkbenchError as error:
            self._say(str(error), failed=True)
        self._refreshed()

    async def _adopt(self, profile: str, native_id: str) -> None:
        try:
            job = await self._workbench.queues.adopt(profile, native_id)
        except WorkbenchError as error:
            self._say(str(error), failed=True)
            return
        self._say(f"Job {native_id} is the run {job.id} from now on.")
        if self._queued is not None and self._queued.is_current:
            self._queued.dismiss()
        self._refreshed()
        self._app.post_message(OpenRun(job.id))

    async def _estimated(self, screen: SubmitScreen, message: AskEstimate) -> None:
        try:
            found = await self._workbench.queues.estimate(message.spec, message.profile)
            screen.show_estimate(message, estimate_text(found, self._clock()))
        except WorkbenchError as error:
            screen.show_estimate(message, str(error), failed=True)

    async def _ask(self) -> None:
        try:
            await self._workbench.refresh()
        except WorkbenchError as error:
            self._say(str(error), failed=True)
        self._refreshed()

    def _follow(self, screen: QueuedScreen) -> None:
        self._told = (screen.entry.state, screen.entry.node)
        doing = self._following.queued(screen.profile, screen.entry.id, screen.show_job, screen.show_log)
        self._app.run_worker(doing, group=_LOG, exclusive=True)

    def _queued_closed(self, _: None) -> None:
        self._queued = None
        self._app.workers.cancel_group(self._app, _LOG)
        self.draw()

    def _closed(self, _: None) -> None:
        self._queue = None
        self._workbench.queues.watch(None)
