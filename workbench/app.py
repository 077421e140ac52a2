"""The app: puts the screens on, gives them what was heard, and does what they ask for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from textual import work
from textual.app import App, SystemCommand
from textual.screen import Screen

from jobs.sweep import SweepSpec
from workbench import commands
from workbench.commands import Command
from workbench.errors import ConnectionFailed, LinkLost, WorkbenchError
from workbench.following import Following
from workbench.linking import Linking
from workbench.messages import (
    ActOnQueued,
    ActOnSession,
    AskEstimate,
    AskNow,
    Cancel,
    Hold,
    NewRun,
    OpenQueued,
    OpenRun,
    Requeue,
    Resubmit,
    ShowQueue,
    StartSession,
    Submit,
    WatchQueue,
)
from workbench.model.job import Job, JobSpec, Resources
from workbench.model.run import Run
from workbench.model.sweep import Sweep
from workbench.plain import plain
from workbench.ports import RunView, Workbench
from workbench.screens.jobs import JobsScreen
from workbench.screens.sessions_on_screens import SessionsOnScreens
from workbench.sweep_watching import SweepWatching
from workbench.theme import THEME, series_variables
from workbench.troubles import Troubles
from workbench.watching import Watching

if TYPE_CHECKING:
    from jobs.spec import RunSpec
    from workbench.screens.run import RunScreen

_TICK_S = 1.0


class WorkbenchApp(App[None]):
    """The screens on a workbench. Leaving them touches no run."""

    TITLE = "mace-workbench"
    CSS_PATH = "app.tcss"
    BINDINGS = commands.bindings(commands.APP)
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = ""  # it is one of our own commands

    def __init__(
        self,
        workbench: Workbench,
        open_job: str | None = None,
        *,
        clock: Callable[[], float] = time.time,
        recipes: Callable[[], Mapping[str, RunSpec | SweepSpec]] | None = None,
    ) -> None:
        """Draw `workbench`, beginning with the run of `open_job`; `recipes` are by default those shipped."""
        super().__init__()
        self._workbench = workbench
        self._open_job = open_job
        self._clock = clock
        self._recipes = recipes
        self._jobs: Sequence[Job] = workbench.jobs()
        self._runs: dict[str, Run] = {}
        self._heard_at: float | None = None
        self._troubles = Troubles()
        self._jobs_screen = JobsScreen()
        self._run_screen: RunScreen | None = None
        self._run_id: str | None = None
        self._following = Following(
            workbench,
            heard_jobs=self._jobs_heard,
            heard_run=self._run_heard,
            heard_log=self._log_heard,
            trouble=self._trouble_heard,
            is_open=lambda job_id: job_id == self._run_id or self._sweeps.follows(job_id),
        )
        self._linking = Linking(self, workbench, self._following, clock, self._say)
        self._sweeps = SweepWatching(self, workbench, self._following, clock)
        self._watching = Watching(self, workbench, self._following, clock, self._say, self._jobs_heard)
        self._sessions = SessionsOnScreens(self, workbench.desk, clock, self._say)
        self.register_theme(THEME)
        self.theme = THEME.name

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Colours of our own, for the style sheets."""
        return series_variables(dark=self.current_theme.dark)

    @property
    def has_asked(self) -> bool:
        """Whether the schedulers have answered, or failed to."""
        return self._heard_at is not None or bool(self._troubles.text)

    def on_mount(self) -> None:
        """Draw what is known, then begin to ask."""
        self._draw_jobs()
        self._jobs_screen.has_queues = bool(self._workbench.queues.profiles())
        self.push_screen(self._jobs_screen)
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self._linking.begin()
        self._follow_states()
        self._follow_progress()
        self._follow_sessions()
        self.set_interval(_TICK_S, self._tick)
        if self._open_job is not None:
            self.post_message(OpenRun(self._open_job))

    @work(group="states", exclusive=True)
    async def _follow_states(self) -> None:
        await self._following.states()

    @work(group="progress", exclusive=True)
    async def _follow_progress(self) -> None:
        await self._following.progress()

    @work(group="sessions", exclusive=True)
    async def _follow_sessions(self) -> None:
        await self._sessions.follow()

    @work(group="open run", exclusive=True)
    async def _follow_run(self, job_id: str) -> None:
        await self._following.open_run(job_id)

    @work(group="log", exclusive=True)
    async def _follow_log(self, job_id: str) -> None:
        await self._following.log(job_id)

    # -- what was heard --------------------------------------------------------------------------

    def _jobs_heard(self) -> None:
        self._heard_at = self._clock()
        jobs = self._workbench.jobs()
        if len(jobs) != len(self._jobs) or any(a is not b for a, b in zip(jobs, self._jobs, strict=True)):
            self._jobs = jobs
        self._tick()

    def _run_heard(self, job_id: str) -> None:
        self._runs[job_id] = self._workbench.run(job_id)
        if job_id == self._run_id:
            self._draw_run()
        self._sweeps.draw()

    def _log_heard(self, job_id: str, data: bytes) -> None:
        if self._run_screen is not None and job_id == self._run_id:
            self._run_screen.show_log(data)

    def _trouble_heard(self, asker: str, sentence: str) -> None:
        if not sentence:
            if self._troubles.worked(asker):
                self._tick()
        elif self._troubles.failed(asker, sentence):
            self._say(sentence, failed=True)
            self._tick()

    def _tick(self) -> None:
        """Draw what changes with time alone: what has elapsed, and how old things are."""
        if not self.screen_stack:  # the app is leaving, and something has just been done
            return
        if self.screen is self._jobs_screen:
            self._draw_jobs()
        elif self.screen is self._run_screen:
            self._draw_run()
        else:
            self._watching.draw(self._troubles.text)
            self._sweeps.draw()
        self._linking.draw()

    def _draw_jobs(self) -> None:
        jobs = self._sweeps.jobs(self._jobs)
        self._sweeps.add_progress(self._runs)
        self._jobs_screen.show(
            jobs, self._runs, self._clock(), heard_at=self._heard_at, trouble=self._troubles.text
        )
        if asked := self._watching.asked_last():
            self._jobs_screen.show_polls(asked.profile, asked.pulse, self._clock())

    def _draw_run(self) -> None:
        if self._run_screen is not None and self._run_id is not None:
            self._run_screen.show(self._view(self._run_id), self._clock())

    def _view(self, job_id: str) -> RunView:
        return RunView(self._workbench.job(job_id), self._workbench.run(job_id))

    # -- what is asked for -----------------------------------------------------------------------

    def on_open_run(self, message: OpenRun) -> None:
        """Show a run, and follow it closely."""
        from workbench.screens.run import RunScreen  # late: it brings plotext, and the first frame needs none

        try:
            view = self._view(self._workbench.job(message.job_id).id)
        except WorkbenchError as error:
            self._say(str(error), failed=True)
            return
        if self._run_screen is not None and self._run_screen.is_attached:
            self._run_screen.dismiss()
        if isinstance(view.job, Sweep):
            self._sweeps.open(view.job)
            return
        job_id = self._run_id = view.job.id
        self._run_screen = RunScreen(view, self._clock())
        self.push_screen(self._run_screen, self._run_closed(self._run_screen))
        self._follow_run(job_id)
        self._follow_log(job_id)

    def _run_closed(self, screen: RunScreen) -> Callable[[None], None]:
        def closed(_: None) -> None:
            if self._run_screen is not screen:  # another one has taken its place
                return
            self._jobs_screen.select(self._run_id or "")
            self._run_screen = self._run_id = None
            self.workers.cancel_group(self, "open run")
            self.workers.cancel_group(self, "log")
            self._tick()

        return closed

    def on_new_run(self, message: NewRun) -> None:
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
                self.post_message(answer)

        self.push_screen(screen, answered)

    def on_submit(self, message: Submit) -> None:
        """Start a run."""
        spec, before = message.spec, message.resubmitted_from
        place = self._workbench.job(before).profile if before else message.profile
        if before:
            doing = self._workbench.resubmit(before, spec=spec)
        else:
            asked = SweepSpec(spec.run, message.over) if message.over else spec.run
            doing = self._workbench.submit(asked, spec.resources, profile=place)
        self._do(doing, "Started {}.", None if message.over else self._submit_later(spec, place, before))

    def _submit_later(
        self, spec: JobSpec, profile: str | None, before: str | None = None
    ) -> Callable[[], Job]:
        """What submits a run when its host can be reached again."""
        place = profile or self._workbench.profiles()[0]
        return lambda: self._workbench.outbox.submit(spec, place, resubmitted_from=before)

    @work(group="doing")
    async def on_resubmit(self, message: Resubmit) -> None:
        """Start a run again; what it had too little of, with more of it, if the person agrees."""
        job = self._workbench.job(message.job_id)
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

            self.push_screen(AgainScreen(job, again), answered)
        else:
            self._start_again(job, None, in_place=again.in_place)

    def _start_again(self, job: Job, resources: Resources | None, *, in_place: bool) -> None:
        if in_place:
            self.post_message(Requeue(job.id, resources))
            return
        spec = replace(job.spec, resources=resources) if resources else None
        later = self._submit_later(spec or job.spec, job.profile, job.id)
        self._do(self._workbench.resubmit(job.id, spec=spec), f"Resubmitted {job.id} as {{}}.", later)

    def on_requeue(self, message: Requeue) -> None:
        """Start a job again in its own folder."""
        doing = self._workbench.requeue(message.job_id, resources=message.resources)
        self._do(doing, "Requeued {}: it goes on in its own folder.")

    def on_hold(self, message: Hold) -> None:
        """Keep a job that waits from starting, or let it go."""
        if self._workbench.job(message.job_id).status.held_by:
            self._do(self._workbench.release(message.job_id), "{} may start again.")
        else:
            self._do(self._workbench.hold(message.job_id), "{} is held: h lets it go again.")

    def on_cancel(self, message: Cancel) -> None:
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
        self.push_screen(ConfirmScreen(question, "end it"), answered)

    def action_links(self) -> None:
        """Show the connections."""
        self._linking.open()

    def action_reconnect(self) -> None:
        """Try the connections that are down."""
        self._linking.reconnect()

    def on_show_queue(self, _: ShowQueue) -> None:
        """Show all jobs in a cluster's queue."""
        self._watching.open()

    def on_watch_queue(self, message: WatchQueue) -> None:
        """Show another cluster's."""
        self._watching.watch(message.profile)

    def on_ask_now(self, _: AskNow) -> None:
        """Ask the schedulers out of their turn."""
        self._watching.ask()

    def on_open_queued(self, message: OpenQueued) -> None:
        """Show a job that this program has not started."""
        self._watching.show_queued(message)

    def on_ask_estimate(self, message: AskEstimate) -> None:
        """Ask when a run would start."""
        self._watching.estimate(message)

    def on_act_on_queued(self, message: ActOnQueued) -> None:
        """Have something done to it."""
        self._watching.act(message)

    def on_app_blur(self) -> None:
        """Nobody looks: the clusters are asked more rarely."""
        self._workbench.queues.attend(False)

    def on_app_focus(self) -> None:
        """Somebody looks again."""
        self._workbench.queues.attend(True)

    def action_sessions(self) -> None:
        """Show shells and notebooks."""
        self._sessions.open()

    def on_start_session(self, message: StartSession) -> None:
        """Start a shell or a notebook."""
        self._do_with_sessions(self._sessions.start(message))

    def on_act_on_session(self, message: ActOnSession) -> None:
        """Have something done with one."""
        self._do_with_sessions(self._sessions.act(message))

    @work(group="doing")
    async def _do_with_sessions(self, doing: Awaitable[None]) -> None:
        await doing

    def action_help(self) -> None:
        """Show every key of this screen."""
        from workbench.screens.help import HelpScreen

        here: Sequence[Command] = getattr(self.screen, "COMMANDS_HERE", ())
        sections = [("this screen", here), ("everywhere", commands.APP)]
        if self.screen is self._jobs_screen:
            sections.insert(1, ("in the table", commands.TABLE))
        self.push_screen(HelpScreen(sections))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the palette offers: the commands of this screen, and the theme."""
        for command in (*getattr(screen, "COMMANDS_HERE", ()), *commands.APP):
            if command.action != "command_palette":
                owner = screen if command not in commands.APP else self
                yield SystemCommand(
                    f"{command.label}  ({command.key_text})", command.tip, _runner(owner, command.action)
                )
        yield SystemCommand("theme", "Choose other colours", self.action_change_theme)

    @work(group="doing")
    async def _do(self, doing: Awaitable[Job], said: str, later: Callable[[], Job] | None = None) -> None:
        """Wait for something asked of the workbench, and say how it went; `later` does it when it can be."""
        try:
            job = await doing
        except WorkbenchError as error:
            self._failed(error, later)
            return
        finally:
            self._jobs = self._workbench.jobs()
            self._tick()
        self._say(said.format(job.id))
        self._jobs_screen.select(job.id)
        if self._run_id is not None and job.id != self._run_id:
            self.post_message(OpenRun(job.id))

    def _failed(self, error: WorkbenchError, later: Callable[[], Job] | None) -> None:
        """Say it; or offer to wait, where the host could not be reached and so nothing has happened yet."""
        if later is not None and isinstance(error, ConnectionFailed) and not isinstance(error, LinkLost):
            self._linking.offer_later(error, later, self._jobs_heard)
        else:
            self._say(str(error), failed=True)

    def _say(self, sentence: str, *, failed: bool = False) -> None:
        if failed:
            self.notify(plain(sentence), severity="error", markup=False, timeout=8)
        else:
            self.notify(plain(sentence), markup=False, timeout=4)


def _runner(owner: App[None] | Screen[object], action: str) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        await owner.run_action(action)

    return run
