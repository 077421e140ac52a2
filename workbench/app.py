"""The app: puts the screens on, gives them what was heard, and does what they ask for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from textual import events, work
from textual.app import App, SystemCommand
from textual.screen import Screen

from workbench import commands
from workbench.commands import Command
from workbench.doing import Doing
from workbench.errors import WorkbenchError
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
from workbench.model.job import Job
from workbench.model.run import Run
from workbench.model.sweep import Sweep
from workbench.plain import plain
from workbench.ports import Workbench
from workbench.run_watching import RunWatching
from workbench.screens.jobs import JobsScreen
from workbench.screens.sessions_on_screens import SessionsOnScreens
from workbench.sweep_watching import SweepWatching
from workbench.theme import THEME, series_variables
from workbench.troubles import Troubles
from workbench.turns import Turns
from workbench.watching import Watching

if TYPE_CHECKING:
    from jobs.spec import RunSpec
    from jobs.sweep import SweepSpec

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
        turns: Turns | None = None,
        clock: Callable[[], float] = time.time,
        recipes: Callable[[], Mapping[str, RunSpec | SweepSpec]] | None = None,
    ) -> None:
        """Draw `workbench`, beginning with the run of `open_job`; `recipes` are by default those shipped."""
        super().__init__()
        self._workbench = workbench
        self._open_job = open_job
        self._clock = clock
        self._turns = turns or Turns()
        self._jobs: Sequence[Job] = workbench.jobs()
        self._runs: dict[str, Run] = {}
        self._heard_at: float | None = None
        self._troubles = Troubles()
        self._jobs_screen = JobsScreen()
        self._following = Following(
            workbench,
            heard_jobs=self._jobs_heard,
            heard_run=self._run_heard,
            heard_log=lambda job_id, data: self._open_run.show_log(job_id, data),
            trouble=self._trouble_heard,
            is_open=lambda job_id: job_id == self._open_run.job_id or self._sweeps.follows(job_id),
            turns=self._turns,
        )
        self._linking = Linking(self, workbench, self._following, clock, self._say)
        self._open_run = RunWatching(self, workbench, self._following, clock, self._run_closed)
        self._sweeps = SweepWatching(self, workbench, self._following, clock)
        self._watching = Watching(self, workbench, self._following, clock, self._say, self._jobs_heard)
        self._sessions = SessionsOnScreens(self, workbench.desk, clock, self._say)
        self._doing = Doing(
            self,
            workbench,
            self._linking,
            self._say,
            heard=self._jobs_changed,
            show=self._done_with,
            recipes=recipes,
        )
        self.register_theme(THEME)
        self.theme = THEME.name

    async def on_event(self, event: events.Event) -> None:
        """Before anything else is done about a key, have other work step aside."""
        if isinstance(event, events.Key) and not event.is_forwarded:
            self._turns.key_pressed()
        await super().on_event(event)

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
        self.set_interval(_TICK_S, self._tick_in_turn)
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

    # -- what was heard --------------------------------------------------------------------------

    def _jobs_heard(self) -> None:
        self._heard_at = self._clock()
        jobs = self._workbench.jobs()
        if len(jobs) != len(self._jobs) or any(a is not b for a, b in zip(jobs, self._jobs, strict=True)):
            self._jobs = jobs
        self._tick()

    def _jobs_changed(self) -> None:
        self._jobs = self._workbench.jobs()
        self._tick()

    def _run_heard(self, job_id: str) -> None:
        self._runs[job_id] = self._workbench.run(job_id)
        self._open_run.heard(job_id)
        self._sweeps.draw()

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
        else:
            self._open_run.draw()
            self._watching.draw(self._troubles.text)
            self._sweeps.draw()
        self._linking.draw()

    async def _tick_in_turn(self) -> None:
        await self._turns.give()
        self._tick()

    def _draw_jobs(self) -> None:
        jobs = self._sweeps.jobs(self._jobs)
        self._sweeps.add_progress(self._runs)
        self._jobs_screen.show(
            jobs, self._runs, self._clock(), heard_at=self._heard_at, trouble=self._troubles.text
        )
        if asked := self._watching.asked_last():
            self._jobs_screen.show_polls(asked.profile, asked.pulse, self._clock())

    # -- what is asked for -----------------------------------------------------------------------

    def on_open_run(self, message: OpenRun) -> None:
        """Show a run or a sweep, and follow it closely."""
        try:
            job = self._workbench.job(message.job_id)
        except WorkbenchError as error:
            self._say(str(error), failed=True)
            return
        if isinstance(job, Sweep):
            self._open_run.leave()
            self._sweeps.open(job)
        else:
            self._open_run.open(job)

    def _run_closed(self, job_id: str) -> None:
        self._jobs_screen.select(job_id)
        self._tick()

    def _done_with(self, job: Job) -> None:
        """Have the job at hand that something was done with."""
        self._jobs_screen.select(job.id)
        if self._open_run.job_id not in (None, job.id):
            self.post_message(OpenRun(job.id))

    def on_new_run(self, message: NewRun) -> None:
        """Ask what to run."""
        self._doing.new_run(message)

    def on_submit(self, message: Submit) -> None:
        """Start a run."""
        self._doing.submit(message)

    def on_resubmit(self, message: Resubmit) -> None:
        """Start a run again, as is best for it."""
        self._doing.resubmit(message)

    def on_requeue(self, message: Requeue) -> None:
        """Start a job again in its own folder."""
        self._doing.requeue(message)

    def on_hold(self, message: Hold) -> None:
        """Keep a job that waits from starting, or let it go."""
        self._doing.hold(message)

    def on_cancel(self, message: Cancel) -> None:
        """End a job, after a question."""
        self._doing.cancel(message)

    def action_find_runs(self) -> None:
        """Look for runs that this machine does not know."""
        self._doing.find_runs()

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

    def _say(self, sentence: str, *, failed: bool = False) -> None:
        if failed:
            self.notify(plain(sentence), severity="error", markup=False, timeout=8)
        else:
            self.notify(plain(sentence), markup=False, timeout=4)


def _runner(owner: App[None] | Screen[object], action: str) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        await owner.run_action(action)

    return run
