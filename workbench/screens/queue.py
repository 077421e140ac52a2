"""The screen of a cluster's queue: all of the user's jobs in it, also those that were started by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from workbench.commands import QUEUE, bindings
from workbench.messages import ActOnQueued, AskNow, OpenQueued, OpenRun, WatchQueue
from workbench.model.queue import QueueEntry, QueueView
from workbench.plain import plain
from workbench.report import start_expected
from workbench.widgets.line_table import LineTable
from workbench.widgets.poll_status import PollStatus
from workbench.widgets.queue_columns import COLUMNS, matching, ordered, state_text
from workbench.widgets.queue_table import QueueTable

_EMPTY = "No job of yours is in this queue."
_ASKING = "Asking for the queue …"
_NO_MATCH = "No job has all of these words. Press esc to see all jobs again."


class QueueScreen(Screen[None]):
    """The queue of one cluster; filter, order, watch, hold, end, adopt."""

    CSS_PATH = "queue.tcss"
    COMMANDS_HERE = QUEUE
    BINDINGS = bindings(QUEUE)

    def __init__(self, profiles: Sequence[str], view: QueueView, now: float) -> None:
        super().__init__()
        self._profiles = profiles
        self._view, self._now, self._trouble = view, now, ""
        self._runs: Mapping[str, str] = {}
        self._column, self._reverse = 1, False
        self._drawn: tuple[object, ...] = ()
        self._shown: Sequence[QueueEntry] = ()
        self._table = QueueTable(id="queue")
        self._filter = Input(
            id="filter", placeholder="words in id, name, state, partition, folder …", compact=True
        )
        self._detail = Static(id="detail", markup=False)
        self._empty = Static(id="empty", markup=False)
        self._title = Static(id="title", markup=False)
        self._status = PollStatus(id="status")

    def compose(self) -> ComposeResult:
        """Title, table, what is said of the chosen job, filter, how old it all is, keys."""
        yield self._title
        yield self._table
        yield self._empty
        yield self._detail
        yield self._filter
        yield self._status
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Draw what was given before there was anything to draw on."""
        self._filter.display = False
        self._table.focus()
        self._draw()

    @property
    def profile(self) -> str:
        """Whose queue it is."""
        return self._view.profile

    @property
    def chosen(self) -> QueueEntry | None:
        """The job under the cursor."""
        return self._table.row if self._shown else None

    def show(self, view: QueueView, runs: Mapping[str, str], now: float, *, trouble: str = "") -> None:
        """Draw this; `runs` are the names of our own runs by their ids."""
        self._view, self._runs, self._now, self._trouble = view, runs, now, trouble
        if self.is_mounted:
            self._draw()

    # -- commands --------------------------------------------------------------------------------

    def action_open(self) -> None:
        """Watch the chosen job; one of our own is opened as what it is."""
        if entry := self._chosen_or_say():
            if entry.run_id in self._runs:
                self.post_message(OpenRun(entry.run_id))
            else:
                self.post_message(OpenQueued(self.profile, entry.id))

    def action_back(self) -> None:
        """Leave the filter, or else the screen."""
        field = self._filter
        if not field.display:
            self.dismiss()
            return
        field.value = ""
        field.display = False
        self._table.focus()

    def action_adopt(self) -> None:
        """Make it one of our own."""
        self._act("adopt")

    def action_hold(self) -> None:
        """Hold it, or let it go."""
        if entry := self._chosen_or_say():
            self._act("release" if entry.held_by else "hold")

    def action_cancel(self) -> None:
        """End it."""
        self._act("cancel")

    def action_ask(self) -> None:
        """Ask the cluster now."""
        self.post_message(AskNow())

    def action_filter(self) -> None:
        """Ask for the words of the filter."""
        self._filter.display = True
        self._filter.focus()

    def action_profile(self, step: int) -> None:
        """Show the queue of another cluster."""
        if len(self._profiles) < 2:
            self.notify(f"There is no other cluster in the configuration than {self.profile}.", markup=False)
            return
        index = self._profiles.index(self.profile)
        self.post_message(WatchQueue(self._profiles[(index + step) % len(self._profiles)]))

    def action_order(self) -> None:
        """Order by the next column."""
        self._column = (self._column + 1) % len(COLUMNS)
        self._draw()

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._reverse = not self._reverse
        self._draw()

    def action_copy_id(self) -> None:
        """Put the job's number on the clipboard."""
        if entry := self._chosen_or_say():
            self.app.copy_to_clipboard(entry.id)
            self.notify(f"Copied {entry.id}.", markup=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter with every letter."""
        event.stop()
        self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go back to the table; the filter stays."""
        event.stop()
        event.input.display = bool(event.value)
        self._table.focus()

    def on_line_table_chosen(self, message: LineTable.Chosen) -> None:
        """A job was clicked twice."""
        message.stop()
        self.action_open()

    def on_line_table_moved(self) -> None:
        """Say what is known of the job under the cursor."""
        self._draw_detail()

    def _act(self, what: str) -> None:
        if entry := self._chosen_or_say():
            self.post_message(ActOnQueued(what, self.profile, entry.id))

    def _chosen_or_say(self) -> QueueEntry | None:
        if self.chosen is None:
            self.notify("There is no job to do that with.", severity="warning")
        return self.chosen

    # -- drawing ---------------------------------------------------------------------------------

    def _draw(self) -> None:
        column = COLUMNS[self._column]
        wanted = self._filter.value
        asked = (self._view.entries, column, self._reverse, wanted)
        if asked != self._drawn or column.moves:
            self._drawn = asked
            found = matching(self._view.entries, wanted)
            self._shown = ordered(found, column, self._now, reverse=self._reverse)
        self._table.show(self._shown, self._now, (column, self._reverse))
        self._table.display = bool(self._shown)
        self._empty.display = not self._shown
        if not self._shown:
            asking = self._view.pulse.asked_at is None and not self._trouble
            self._empty.update(_NO_MATCH if self._view.entries else _ASKING if asking else _EMPTY)
        self._status.show(self.profile, self._view.pulse, self._now, trouble=self._trouble)
        self._draw_title()
        self._draw_detail()

    def _draw_title(self) -> None:
        entries = self._view.entries
        title = Text(f"queue of {plain(self.profile)}", "bold", no_wrap=True, overflow="ellipsis")
        counts = [f"{len(entries):,} job" + ("" if len(entries) == 1 else "s")]
        if len(self._shown) != len(entries):
            counts.insert(0, f"{len(self._shown)} of")
        foreign = sum(entry.run_id not in self._runs for entry in entries)
        counts += [f"{foreign:,} not of this program"] if foreign else []
        held = sum(bool(entry.held_by) for entry in entries)
        counts += [f"{held:,} held"] if held else []
        self._title.update(title.append("  " + "  ".join(counts), "not bold"))

    def _draw_detail(self) -> None:
        entry = self.chosen
        self._detail.update(entry_text(entry, self._runs, self._now) if entry else "")


def entry_text(entry: QueueEntry, runs: Mapping[str, str], now: float) -> Text:
    """Two lines: what it is and where; why it is in the state that it is in, and when that changes."""
    whose = f"run {entry.run_id}" if entry.run_id in runs else "not started by this program"
    what = f"{entry.id}  {entry.name}  {entry.partition} {entry.qos} {entry.account}  {whose}"
    parts = [state_text(entry), entry.why, start_expected(entry.started_at, now) if entry.waits else ""]
    parts.append(f"on {entry.node}" if entry.node else "")
    parts.append(entry.folder)
    text = Text(plain(what), no_wrap=True, overflow="ellipsis")
    return text.append("\n").append(plain(" · ".join(filter(None, parts))), "dim")
