"""The screen of jobs: all of them in one table, and what the selected one is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Footer, Input, Static

from jobs.sweep import short
from workbench.commands import JOBS, bindings
from workbench.messages import AskNow, NewRun, OpenRun, ShowQueue
from workbench.model.job import Job, JobState
from workbench.model.pulse import Pulse
from workbench.model.run import Run
from workbench.model.sweep import Sweep
from workbench.plain import plain
from workbench.report import start_expected
from workbench.screens.job_screen import JobScreen
from workbench.widgets import words
from workbench.widgets.job_columns import COLUMNS, matching, ordered, search_text
from workbench.widgets.job_table import JobTable
from workbench.widgets.line_table import LineTable
from workbench.widgets.poll_status import PollStatus

_MOVING = {"elapsed", "progress", "left"}
"""Columns by which the order changes while time goes on."""
_EMPTY = """\
No jobs yet.

Press  n  to choose an experiment and start it: the demo benchmark
takes a minute or two (the first time some more, to compile its
kernels) and needs nothing but this machine.

Press  F  to look for runs that were started from another machine.

Press  ?  for every key."""
_NO_MATCH = "No job has all of these words. Press esc to see all jobs again."


class JobsScreen(JobScreen):
    """All jobs, newest first; filter, order, open, start, end."""

    CSS_PATH = "jobs.tcss"
    COMMANDS_HERE = JOBS
    BINDINGS = bindings(JOBS)

    def __init__(self) -> None:
        super().__init__()
        self._all: Sequence[Job] = ()
        self._shown: Sequence[Job] = ()
        self._texts: dict[str, tuple[Job, str]] = {}
        self._runs: Mapping[str, Run] = {}
        self._now = 0.0
        self._column, self._reverse = 0, False
        self._trouble = ""
        self._heard_at: float | None = None
        self._counted: tuple[Sequence[Job], Sequence[str]] = ((), _counts(()))
        self._table = JobTable(id="jobs")
        self._filter = Input(
            id="filter", placeholder="words in id, name, state, place, model …", compact=True
        )
        self._detail = Static(id="detail", markup=False)
        self._empty = Static(id="empty", markup=False)
        self._title = Static(id="title", markup=False)
        self._polls = PollStatus(id="polls")
        self._polls.display = False
        self.has_queues = False
        """Whether there is a cluster whose queue could be shown."""

    def compose(self) -> ComposeResult:
        """Title, table, what the selected job is about, filter, keys."""
        yield self._title
        yield self._table
        yield self._empty
        yield self._detail
        yield self._filter
        yield self._polls
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Draw what was given before there was anything to draw on."""
        self._filter.display = False
        self._table.focus()
        self._draw()

    @property
    def chosen_job(self) -> Job | None:
        """The job under the cursor."""
        return self._table.row

    def show(
        self,
        jobs: Sequence[Job],
        runs: Mapping[str, Run],
        now: float,
        *,
        heard_at: float | None,
        trouble: str = "",
    ) -> None:
        """Draw these jobs; `heard_at` is when the schedulers last answered, `trouble` why they do not."""
        changed = jobs is not self._all
        self._all, self._runs, self._now = jobs, runs, now
        self._trouble = trouble
        self._heard_at = heard_at
        if self.is_mounted:
            self._draw(changed=changed)

    def show_polls(self, profile: str, pulse: Pulse, now: float) -> None:
        """Say how often a cluster is asked."""
        self._polls.display = True
        self._polls.show(profile, pulse, now)

    def select(self, job_id: str) -> None:
        """Put the cursor on a job."""
        self._table.select(job_id)

    # -- commands --------------------------------------------------------------------------------

    def action_open(self) -> None:
        """Open the selected job's run."""
        if job := self._job_or_say():
            self.post_message(OpenRun(job.id))

    def action_new(self) -> None:
        """Ask what to run."""
        self.post_message(NewRun())

    def action_queue(self) -> None:
        """Show all jobs in a cluster's queue."""
        self.post_message(ShowQueue())

    def action_ask(self) -> None:
        """Ask the schedulers now."""
        self.post_message(AskNow())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer the queue only where there is one."""
        return action != "queue" or self.has_queues

    def action_filter(self) -> None:
        """Ask for the words of the filter."""
        self._filter.display = True
        self._filter.focus()

    def action_order(self) -> None:
        """Order by the next column."""
        self._column = (self._column + 1) % len(COLUMNS)
        self._draw(changed=True)

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._reverse = not self._reverse
        self._draw(changed=True)

    def key_escape(self) -> None:
        """Leave the filter, and show all jobs again."""
        self._filter.value = ""
        self._filter.display = False
        self._table.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter with every letter."""
        event.stop()
        self._draw(changed=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go back to the table; the filter stays."""
        event.stop()
        event.input.display = bool(event.value)
        self._table.focus()

    def on_line_table_chosen(self, message: LineTable.Chosen) -> None:
        """A job was clicked twice."""
        self.post_message(OpenRun(message.key))

    def on_line_table_moved(self) -> None:
        """Say what the job under the cursor is about."""
        self._draw_detail()

    # -- drawing ---------------------------------------------------------------------------------

    def _draw(self, *, changed: bool = True) -> None:
        column = COLUMNS[self._column]
        if changed or column.title in _MOVING:
            self._shown = ordered(self._matching(), self._runs, column, self._now, reverse=self._reverse)
        self._table.show(self._shown, self._runs, self._now, (column, self._reverse))
        self._table.display = bool(self._shown)
        self._empty.display = not self._shown
        if not self._shown:
            self._empty.update(_NO_MATCH if self._all else _EMPTY)
        self._draw_title()
        self._draw_detail()

    def _matching(self) -> Sequence[Job]:
        wanted = self._filter.value
        if not wanted.strip():
            return self._all
        for job in self._all:
            known = self._texts.get(job.id)
            if known is None or known[0] is not job:
                self._texts[job.id] = (job, search_text(job))
        return matching(self._all, wanted, {job_id: text for job_id, (_, text) in self._texts.items()})

    def _draw_title(self) -> None:
        title = Text("mace-workbench", "bold", no_wrap=True, overflow="ellipsis")
        if self._counted[0] is not self._all:
            self._counted = (self._all, _counts(self._all))
        counts = list(self._counted[1])
        if len(self._shown) != len(self._all):
            counts.insert(0, f"{len(self._shown)} of")
        title.append("  " + "  ".join(counts), "not bold")
        if self._heard_at is not None:
            title.append(f"  as of {words.age(self._now - self._heard_at)} ago", "not bold dim")
        if self._trouble:
            title.append(f"  ! {plain(self._trouble)}", "not bold")
        self._title.set_class(bool(self._trouble), "-trouble")
        self._title.update(title)

    def _draw_detail(self) -> None:
        job = self._table.row if self._shown else None
        self._detail.update(_detail(job, self._runs, self._now) if job else "")


def _counts(jobs: Sequence[Job]) -> list[str]:
    """`12 jobs`, `2 running`, `1 waiting`."""
    running = sum(job.state is JobState.RUNNING for job in jobs)
    waiting = sum(not job.state.is_over for job in jobs) - running
    counts = [f"{len(jobs):,} job" + ("" if len(jobs) == 1 else "s")]
    counts += [f"{running:,} running"] if running else []
    return counts + ([f"{waiting:,} waiting"] if waiting else [])


def _detail(job: Job, runs: Mapping[str, Run], now: float) -> Text:
    """Two lines: what it is asked to do and where; why it is in the state that it is in."""
    run = job.spec.run
    asked = f"{run.experiment} of {run.model} on {run.device}"
    plans = getattr(run.parameters, "plans", ())
    asked += f": {', '.join(plans)}" if plans else ""
    if isinstance(job, Sweep):
        asked = f"{len(job.members)} runs over {', '.join(map(short, job.over))}: {asked}"
    known = runs.get(job.id)
    why = (known.failure if known and known.failure else "") or job.status.reason
    why = f"{words.job_state_text(job)}: {why}" if why else ""
    if starts := start_expected(job.status.expected_start_at, now):
        why = f"{why}; {starts}" if why else starts
    if not why and job.resubmitted_from:
        why = f"resubmitted from {job.resubmitted_from}"
    text = Text(plain(asked), no_wrap=True, overflow="ellipsis")
    return text.append("\n").append(plain(why) if why else plain(job.folder), "dim")
