"""The screen of one job in a queue that this program has not started: what is said of it, its output."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

from workbench.commands import QUEUED_JOB, bindings
from workbench.messages import ActOnQueued, AskNow
from workbench.model.pulse import Pulse
from workbench.model.queue import QueuedJob, QueueEntry
from workbench.plain import plain
from workbench.report import clock_time, duration, start_expected
from workbench.widgets.log_tail import LogTail
from workbench.widgets.poll_status import PollStatus
from workbench.widgets.queue_columns import state_text

_WIDE = 120
_FIRST = {
    key: place
    for place, key in enumerate(
        ("JobName", "WorkDir", "Command", "StdOut", "StdErr", "TimeLimit", "SubmitTime", "Dependency", "TRES")
    )
}
"""What one wants to know before the rest."""


class QueuedScreen(Screen[None]):
    """One job; its facts beside its output, or above where there is no room beside."""

    CSS_PATH = "queued.tcss"
    COMMANDS_HERE = QUEUED_JOB
    BINDINGS = bindings(QUEUED_JOB)
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (_WIDE, "-wide")]  # noqa: RUF012  # Textual's own declaration

    def __init__(self, profile: str, entry: QueueEntry, pulse: Pulse, now: float) -> None:
        super().__init__()
        self.profile = profile
        self._entry, self._pulse, self._now, self._trouble = entry, pulse, now, ""
        self._header, self._said = Static(id="header", markup=False), Static("Asking …", markup=False)
        self._log, self._status = LogTail(id="log"), PollStatus(id="status")

    def compose(self) -> ComposeResult:
        """State above, facts and output in the middle, how old it is below."""
        yield self._header
        with Container(id="panels"):
            with VerticalScroll(id="facts"):
                yield self._said
            yield self._log
        yield self._status
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Begin with what the queue has said."""
        self.query_one("#facts").border_title = "what Slurm says"
        self._log.focus()
        self._draw()

    @property
    def entry(self) -> QueueEntry:
        """The job as the queue has it."""
        return self._entry

    def show(self, entry: QueueEntry, pulse: Pulse, now: float, *, trouble: str = "") -> None:
        """Draw what the queue says now."""
        self._entry, self._pulse, self._now, self._trouble = entry, pulse, now, trouble
        self._draw()

    def show_job(self, job: QueuedJob) -> None:
        """Draw what Slurm says of the job itself."""
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True, style="dim")
        table.add_column(overflow="fold")
        for key, value in sorted(job.facts, key=lambda fact: _FIRST.get(fact[0], len(_FIRST))):
            table.add_row(Text(plain(key)), Text(plain(_said(key, value, self._now))))
        self._said.update(table)
        self._log.border_subtitle = Text(plain(job.log_path or "it writes no output"))

    def show_log(self, data: bytes) -> None:
        """Draw the end of its output."""
        self._log.show(data)

    # -- commands --------------------------------------------------------------------------------

    def action_back(self) -> None:
        """Back to the queue."""
        self.dismiss()

    def action_follow(self) -> None:
        """Keep to the end of the output, or stop."""
        self._log.toggle_following()

    def action_adopt(self) -> None:
        """Make it one of our own."""
        self._act("adopt")

    def action_hold(self) -> None:
        """Hold it, or let it go."""
        self._act("release" if self._entry.held_by else "hold")

    def action_cancel(self) -> None:
        """End it."""
        self._act("cancel")

    def action_ask(self) -> None:
        """Ask the cluster now."""
        self.post_message(AskNow())

    def action_copy_id(self) -> None:
        """Put the job's number on the clipboard."""
        self.app.copy_to_clipboard(self._entry.id)
        self.notify(f"Copied {self._entry.id}.", markup=False)

    def _act(self, what: str) -> None:
        self.post_message(ActOnQueued(what, self.profile, self._entry.id))

    # -- drawing ---------------------------------------------------------------------------------

    def _draw(self) -> None:
        entry, now = self._entry, self._now
        times = [f"ran {duration(entry.elapsed_s(now))}"] if entry.elapsed_s(now) is not None else []
        times += [f"{duration(entry.left_s(now))} left"] if entry.left_s(now) is not None else []
        times += [start_expected(entry.started_at, now)] if entry.waits else []
        facts = [f"{entry.partition} {entry.qos}", entry.node, *times]
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{state_text(entry)}  ").append(plain(entry.name), "bold")
        text.append(f"  {plain(entry.id)}  {plain('  '.join(filter(None, facts)))}", "dim")
        text.append("\n").append(plain(entry.why or entry.folder))
        self._header.update(text)
        self._status.show(self.profile, self._pulse, now, trouble=self._trouble)


def _said(key: str, value: str, now: float) -> str:
    """Moments, which the scheduler was asked to give in seconds, as a clock shows them."""
    if key.endswith(("Time", "SchedEval")) and value.isascii() and value.isdecimal() and len(value) == 10:
        return clock_time(float(value), now)
    return value
