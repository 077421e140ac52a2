"""RunWatching: puts one run on the screen, and has it followed closely while it is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from workbench.following import Following
from workbench.model.job import Job
from workbench.ports import RunView, Workbench

if TYPE_CHECKING:
    from textual.app import App

    from workbench.screens.run import RunScreen

_RUN = "open run"
_LOG = "log"


class RunWatching:
    """The screen of a run, for the app."""

    def __init__(
        self,
        app: App[None],
        workbench: Workbench,
        following: Following,
        clock: Callable[[], float],
        closed: Callable[[str], None],
    ) -> None:
        """`closed` is told of a run that is not on the screen any more."""
        self._app, self._workbench, self._following = app, workbench, following
        self._clock, self._tell_closed = clock, closed
        self._screen: RunScreen | None = None
        self.job_id: str | None = None
        """The run that is on a screen."""

    def open(self, job: Job) -> None:
        """Show a run in place of another one, and follow it."""
        from workbench.screens.run import RunScreen  # late: it brings plotext, and the first frame needs none

        self.leave()
        self.job_id = job.id
        screen = self._screen = RunScreen(self._view(job.id), self._clock())
        self._app.push_screen(screen, lambda _: self._closed(screen))
        self._app.run_worker(self._following.open_run(job.id), group=_RUN, exclusive=True)
        self._app.run_worker(self._following.log(job.id), group=_LOG, exclusive=True)

    def leave(self) -> None:
        """Take it off the screen, where it is there."""
        if self._screen is not None and self._screen.is_attached:
            self._screen.dismiss()

    def heard(self, job_id: str) -> None:
        """Draw the news of a run, also beneath a question."""
        if self._screen is not None and job_id == self.job_id:
            self._screen.show(self._view(job_id), self._clock())

    def draw(self) -> None:
        """Draw what changes with time alone, where the screen is on top."""
        if self.job_id is not None and self._app.screen is self._screen:
            self.heard(self.job_id)

    def show_log(self, job_id: str, data: bytes) -> None:
        """Draw the end of a run's output."""
        if self._screen is not None and job_id == self.job_id:
            self._screen.show_log(data)

    def _view(self, job_id: str) -> RunView:
        return RunView(self._workbench.job(job_id), self._workbench.run(job_id))

    def _closed(self, screen: RunScreen) -> None:
        if self._screen is not screen or self.job_id is None:  # another one has taken its place
            return
        job_id, self._screen, self.job_id = self.job_id, None, None
        for group in (_RUN, _LOG):
            self._app.workers.cancel_group(self._app, group)
        self._tell_closed(job_id)
