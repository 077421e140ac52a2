"""SweepWatching: folds sweeps into the table of jobs, and puts one of them on the screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from workbench.following import Following
from workbench.model.job import Job
from workbench.model.run import Run
from workbench.model.sweep import Sweep, folded, progress_of
from workbench.ports import Workbench

if TYPE_CHECKING:
    from textual.app import App

    from workbench.screens.sweep import SweepScreen

_GROUP = "open sweep"


class SweepWatching:
    """What the app has to do with sweeps."""

    def __init__(
        self, app: App[None], workbench: Workbench, following: Following, clock: Callable[[], float]
    ) -> None:
        self._app, self._workbench, self._following, self._clock = app, workbench, following, clock
        self._flat: Sequence[Job] = ()
        self._jobs: Sequence[Job] = ()
        self._sweeps: dict[str, Sweep] = {}
        self._progress: dict[str, tuple[Sweep, Run]] = {}
        self._screen: SweepScreen | None = None

    def jobs(self, flat: Sequence[Job]) -> Sequence[Job]:
        """The jobs, each sweep's members as one; the same answer for the same jobs."""
        if flat is not self._flat:
            self._flat, self._jobs = flat, folded(flat, self._sweeps)
            self._sweeps = {job.id: job for job in self._jobs if isinstance(job, Sweep)}
        return self._jobs

    def add_progress(self, runs: dict[str, Run]) -> None:
        """Put how far each sweep is among the runs, by the sweep's id."""
        for sweep in self._sweeps.values():
            known = self._progress.get(sweep.id)
            if known is None or known[0] is not sweep or not sweep.state.is_over:
                self._progress[sweep.id] = (sweep, progress_of(sweep, runs))
            runs[sweep.id] = self._progress[sweep.id][1]

    def follows(self, job_id: str) -> bool:
        """Whether a job is a member of the sweep on the screen, which is followed as a whole."""
        return self._screen is not None and job_id.startswith(f"{self._screen.sweep.id}.")

    def open(self, sweep: Sweep) -> None:
        """Show a sweep, and follow its members."""
        from workbench.screens.sweep import SweepScreen  # late: it brings plotext

        if self._screen is not None and self._screen.is_attached:
            if self._screen.sweep.id == sweep.id:
                self.draw()
                return
            self._screen.dismiss()
        screen = self._screen = SweepScreen(sweep, self._runs(sweep), self._clock())
        self._app.push_screen(screen, lambda _: self._closed(screen))
        self._app.run_worker(self._following.open_sweep(sweep.id), group=_GROUP, exclusive=True)

    def draw(self) -> None:
        """Draw what is known by now, where the screen is in sight."""
        if self._screen is None or not self._screen.is_current:
            return
        sweep = self._workbench.job(self._screen.sweep.id)
        assert isinstance(sweep, Sweep)
        self._screen.show(sweep, self._runs(sweep), self._clock())

    def _runs(self, sweep: Sweep) -> dict[str, Run]:
        return {member.id: self._workbench.run(member.id) for member in sweep.members}

    def _closed(self, screen: SweepScreen) -> None:
        if self._screen is screen:
            self._screen = None
            self._app.workers.cancel_group(self._app, _GROUP)
