"""The screen of a sweep: its members, and what they have measured folded into one chart and one table."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.widgets import Footer

from jobs.protocol import Json, Result
from jobs.sweep import short
from workbench.commands import SWEEP, bindings
from workbench.messages import Cancel, OpenRun, Resubmit
from workbench.model.job import Job
from workbench.model.run import Run
from workbench.model.sweep import Sweep, progress_of
from workbench.model.sweep_result import Folded, fold
from workbench.screens.job_screen import JobScreen
from workbench.widgets.panel_tabs import PanelTabs
from workbench.widgets.results import ResultsPanel
from workbench.widgets.run_header import Notice, RunHeader
from workbench.widgets.sweep_chart import SweepPanel
from workbench.widgets.sweep_members import SweepMembers

PANELS = ("members", "chart", "results")
_WIDE = 120
_REST = 10.0
"""The next fold waits this many times as long as the last one took: most of the time is left to keys."""


class SweepScreen(JobScreen):
    """One sweep. Wide terminals show all panels, narrow ones a panel at a time."""

    CSS_PATH = "sweep.tcss"
    COMMANDS_HERE = SWEEP
    BINDINGS = bindings(SWEEP)
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (_WIDE, "-wide")]  # noqa: RUF012  # Textual's own declaration

    def __init__(self, sweep: Sweep, runs: Mapping[str, Run], now: float) -> None:
        super().__init__()
        self.sweep, self._runs, self._now = sweep, runs, now
        self._ready = False
        self._told = -1
        """How much the members had told when they were last folded."""
        self._fold_at = 0.0
        self._header, self._notice = RunHeader(), Notice()
        self._tabs = PanelTabs(PANELS)
        self._members = SweepMembers()
        self._chart = SweepPanel(id="chart", classes="panel")
        self._results = ResultsPanel(id="results", classes="panel")

    def compose(self) -> ComposeResult:
        """Header above, panels in the middle."""
        # At once, so that the first frame does not flash in the other layout.
        self.add_class("-wide" if self.app.size.width >= _WIDE else "-narrow")
        yield self._header
        yield self._notice
        yield self._tabs
        with Container(id="panels"):
            with Vertical(id="left"), Vertical(id="members", classes="panel") as box:
                box.border_title = Text("members")
                yield self._members
            with Vertical(id="right"):
                yield self._chart
                yield self._results
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Draw what was given at the start."""
        self._ready = True
        self._show_panel("members")
        self.show(self.sweep, self._runs, self._now)

    def on_resize(self) -> None:
        """Fit the bar of the progress, which has no width before the first layout."""
        self.call_after_refresh(lambda: self.show(self.sweep, self._runs, self._now))

    @property
    def chosen_job(self) -> Job | None:
        """The member under the cursor."""
        return self._members.row

    @property
    def is_settled(self) -> bool:
        """Whether chart and table show all that the members have told."""
        return self._told == self._n_events

    @property
    def _n_events(self) -> int:
        return sum(run.n_events for run in self._runs.values())

    def show(self, sweep: Sweep, runs: Mapping[str, Run], now: float) -> None:
        """Draw the sweep, with its members' runs by job, at a time."""
        self.sweep, self._runs, self._now = sweep, runs, now
        if not self._ready:
            return
        self._header.show(sweep, progress_of(sweep, runs), now)
        self._notice.show(sweep, Run())
        self._members.show(sweep, runs, now)
        began = time.monotonic()
        if not self.is_settled and began >= self._fold_at:
            self._told = self._n_events
            self._draw_folded(fold(sweep, runs))
            self._fold_at = time.monotonic() + _REST * (time.monotonic() - began)

    def _draw_folded(self, folded: Folded) -> None:
        self._chart.show(folded)
        summary: dict[str, Json] = {
            "columns": list(folded.columns),
            "rows": [list(row) for row in folded.cells],
            "measured_on": dict(folded.measured_on),
        }
        result = Result("", summary) if folded.cells else None
        self._results.show(self.sweep, Run(result=result))
        over = ", ".join(map(short, self.sweep.over))
        self._results.border_title = Text(f"results over {over}: {folded.about}")

    # -- commands --------------------------------------------------------------------------------

    def action_back(self) -> None:
        """Back to the jobs."""
        self.dismiss()

    def action_open(self) -> None:
        """Show the run of the member under the cursor."""
        if job := self._job_or_say():
            self.post_message(OpenRun(job.id))

    def action_resubmit_failed(self) -> None:
        """Start the members again that failed."""
        self.post_message(Resubmit(self.sweep.id))

    def action_cancel_all(self) -> None:
        """End every member."""
        self.post_message(Cancel(self.sweep.id))

    def action_zoom(self) -> None:
        """One panel, or all of them; a narrow terminal never has room for more than one."""
        self.toggle_class("-zoomed")

    def action_panel(self, panel: str) -> None:
        """Show one panel."""
        self._show_panel(panel)

    def action_next_panel(self, step: int) -> None:
        """Show the next panel."""
        index = next(i for i, name in enumerate(PANELS) if self.query_one(f"#{name}").has_class("-current"))
        self._show_panel(PANELS[(index + step) % len(PANELS)])

    def on_panel_tabs_chosen(self, message: PanelTabs.Chosen) -> None:
        """A panel's name was clicked."""
        self._show_panel(message.panel)

    def on_line_table_chosen(self, message: SweepMembers.Chosen) -> None:
        """A member was clicked twice."""
        self.post_message(OpenRun(message.key))

    def _show_panel(self, chosen: str) -> None:
        for name in PANELS:
            self.query_one(f"#{name}").set_class(name == chosen, "-current")
        for side in ("left", "right"):
            column = self.query_one(f"#{side}")
            column.set_class(bool(column.query(f"#{chosen}")), "-current")
        self._tabs.show(chosen)
        if chosen == "results":
            self._results.query_one("DataTable").focus()
        else:
            self._members.focus()
