"""Doing: what a person asks for jobs of ours, asked of the workbench, with how it went said on the screen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from jobs.sweep import SweepSpec
from workbench.errors import ConnectionFailed, LinkLost, WorkbenchError
from workbench.linking import Linking
from workbench.messages import Cancel, Hold, NewRun, Requeue, Resubmit, Submit
from workbench.model.job import Job, JobSpec, Resources
from workbench.plain import plain
from workbench.ports import Workbench
from workbench.report import found_text

if TYPE_CHECKING:
    from textual.app import App

    from jobs.spec import RunSpec

_GROUP = "doing"


class Doing:
    """Starts runs, starts them again, holds and ends them, for the app."""

    def __init__(
        self,
        app: App[None],
        workbench: Workbench,
        linking: Linking,
        say: Callable[..., None],
        *,
        heard: Callable[[], None],
        show: Callable[[Job], None],
        recipes: Callable[[], Mapping[str, RunSpec | SweepSpec]] | None,
    ) -> None:
        """`heard` is told whenever jobs may have changed, `show` of the job that something was done with."""
        self._app, self._workbench, self._linking, self._say = app, workbench, linking, say
        self._heard, self._show, self._recipes = heard, show, recipes

    def new_run(self, message: NewRun) -> None:
        """Ask what to run."""
        from workbench.recipes import recipes
        from workbench.screens.submit import SubmitScreen

        queues = self._workbench.queues
        screen = SubmitScreen(
            (self._recipes or recipes)(),
            self._workbench.profiles(),
            start_from=message.spec,
            over=message.over,
            resubmitted_from=message.resubmitted_from,
            choices={name: queues.choices(name) for name in queues.profiles()},
        )

        def answered(answer: Submit | None) -> None:
            if answer is not None:
                self._app.post_message(answer)

        self._app.push_screen(screen, answered)

    def submit(self, message: Submit) -> None:
        """Start a run."""
        spec, before = message.spec, message.resubmitted_from
        place = self._workbench.job(before).profile if before else message.profile
        if before:
            doing = self._workbench.resubmit(before, spec=spec)
        else:
            asked = SweepSpec(spec.run, message.over) if message.over else spec.run
            doing = self._workbench.submit(asked, spec.resources, profile=place)
        self._do(doing, "Started {}.", None if message.over else self._submit_later(spec, place, before))

    def resubmit(self, message: Resubmit) -> None:
        """Start a run again; what it had too little of, with more of it, if the person agrees."""
        self._app.run_worker(self._resubmit(self._workbench.job(message.job_id)), group=_GROUP)

    def requeue(self, message: Requeue) -> None:
        """Start a job again in its own folder."""
        doing = self._workbench.requeue(message.job_id, resources=message.resources)
        self._do(doing, "Requeued {}: it goes on in its own folder.")

    def hold(self, message: Hold) -> None:
        """Keep a job that waits from starting, or let it go."""
        if self._workbench.job(message.job_id).status.held_by:
            self._do(self._workbench.release(message.job_id), "{} may start again.")
        else:
            self._do(self._workbench.hold(message.job_id), "{} is held: h lets it go again.")

    def cancel(self, message: Cancel) -> None:
        """End a job, if the person says so again."""
        from workbench.screens.confirm import ConfirmScreen

        job = self._workbench.job(message.job_id)
        if job.state.is_over:
            self._say(f"Job {job.id} is over already ({job.state.lower()}).", failed=True)
            return

        def answered(yes: bool | None) -> None:
            if yes:
                later = partial(self._workbench.outbox.cancel, job)
                self._do(self._workbench.cancel(job.id), "Asked {} to end.", later)

        question = f"End {job.id}, {plain(job.spec.name)}?\nWhat it has measured so far is kept."
        self._app.push_screen(ConfirmScreen(question, "end it"), answered)

    def find_runs(self) -> None:
        """Look for runs that this machine does not know, wherever it is linked to, and at the usual place."""
        self._app.run_worker(self._find_runs(), group="finding", exclusive=True)

    # -- inside ----------------------------------------------------------------------------------

    def _submit_later(
        self, spec: JobSpec, profile: str | None, before: str | None = None
    ) -> Callable[[], Job]:
        """What submits a run when its host can be reached again."""
        place = profile or self._workbench.profiles()[0]
        return lambda: self._workbench.outbox.submit(spec, place, resubmitted_from=before)

    async def _resubmit(self, job: Job) -> None:
        try:
            again = await self._workbench.again(job.id)
        except WorkbenchError as error:
            self._failed(error, self._submit_later(job.spec, job.profile, job.id))
            return
        if again.why:
            from workbench.screens.again import AgainScreen

            def answered(resources: Resources | None) -> None:
                if resources is not None:
                    self._start_again(job, resources, in_place=again.in_place)

            self._app.push_screen(AgainScreen(job, again), answered)
        else:
            self._start_again(job, None, in_place=again.in_place)

    def _start_again(self, job: Job, resources: Resources | None, *, in_place: bool) -> None:
        if in_place:
            self._app.post_message(Requeue(job.id, resources))
            return
        spec = replace(job.spec, resources=resources) if resources else None
        later = self._submit_later(spec or job.spec, job.profile, job.id)
        self._do(self._workbench.resubmit(job.id, spec=spec), f"Resubmitted {job.id} as {{}}.", later)

    async def _find_runs(self) -> None:
        profiles = self._workbench.profiles()
        unused = {status.profile for status in self._workbench.links() if not status.in_use}
        found: list[Job] = []
        for profile in (name for name in profiles if name not in unused or name == profiles[0]):
            try:
                found += await self._workbench.rediscover(profile)
            except WorkbenchError as error:
                self._say(str(error), failed=True)
        self._heard()
        self._say(found_text(found))

    def _do(self, doing: Awaitable[Job], said: str, later: Callable[[], Job] | None = None) -> None:
        self._app.run_worker(self._done(doing, said, later), group=_GROUP)

    async def _done(self, doing: Awaitable[Job], said: str, later: Callable[[], Job] | None) -> None:
        """Wait for something asked of the workbench, and say how it went; `later` does it when it can be."""
        try:
            job = await doing
        except WorkbenchError as error:
            self._failed(error, later)
            return
        finally:
            self._heard()
        self._say(said.format(job.id))
        self._show(job)

    def _failed(self, error: WorkbenchError, later: Callable[[], Job] | None) -> None:
        """Say it; or offer to wait, where the host could not be reached and so nothing has happened yet."""
        if later is not None and isinstance(error, ConnectionFailed) and not isinstance(error, LinkLost):
            self._linking.offer_later(error, later, self._heard)
        else:
            self._say(str(error), failed=True)
