"""The screen of a run: its times and errors as they come, its log, its results, and what they stand for."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.widgets import Footer

from workbench.commands import RUN, bindings
from workbench.model.job import Job
from workbench.model.run import Run
from workbench.ports import RunView
from workbench.screens.job_screen import JobScreen
from workbench.widgets.accuracy import ErrorPanel
from workbench.widgets.log_tail import LogTail
from workbench.widgets.panel_tabs import PanelTabs
from workbench.widgets.provenance import ProvenanceLine
from workbench.widgets.results import ResultsPanel
from workbench.widgets.run_header import Notice, ResourceLine, RunHeader
from workbench.widgets.timing import TimingPanel
from workbench.widgets.words import state_tone

PANELS = ("timing", "error", "results", "log")
_WIDE = 120


class RunScreen(JobScreen):
    """One run. Wide terminals show all panels, narrow ones a panel at a time."""

    CSS_PATH = "run.tcss"
    COMMANDS_HERE = RUN
    BINDINGS = bindings(RUN)
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (_WIDE, "-wide")]  # noqa: RUF012  # Textual's own declaration

    def __init__(self, view: RunView, now: float) -> None:
        super().__init__()
        self._view, self._now = view, now
        self._ready = False
        self._header, self._notice = RunHeader(), Notice()
        self._tabs = PanelTabs(PANELS)
        self._timing = TimingPanel(id="timing", classes="panel -current")
        self._error = ErrorPanel(id="error", classes="panel")
        self._results = ResultsPanel(id="results", classes="panel")
        self._log = LogTail(id="log", classes="panel")
        self._resources, self._provenance = ResourceLine(), ProvenanceLine()

    def compose(self) -> ComposeResult:
        """Header above, panels in the middle, what the numbers were measured on below."""
        # At once, so that the first frame does not flash in the other layout.
        self.add_class("-wide" if self.app.size.width >= _WIDE else "-narrow")
        yield self._header
        yield self._notice
        yield self._tabs
        with Container(id="panels"):
            with Vertical(id="left"):
                yield self._timing
                yield self._error
            with Vertical(id="right"):
                yield self._results
                yield self._log
        yield self._resources
        yield self._provenance
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Draw what was given at the start."""
        self._ready = True
        failed = state_tone(self._view.job.state) == "failed"
        self._show_panel("log" if failed and not self._view.run.timings else "timing")
        self.show(self._view, self._now)

    @property
    def chosen_job(self) -> Job | None:
        """The job of this run."""
        return self._view.job

    @property
    def run_shown(self) -> Run:
        """The run as it was drawn last."""
        return self._view.run

    def show(self, view: RunView, now: float) -> None:
        """Draw what is new of the run."""
        self._view, self._now = view, now
        if not self._ready:  # there is nothing to draw on before it is mounted
            return
        job, run = view.job, view.run
        self._header.show(job, run, now)
        self._notice.show(job, run)
        self._timing.show(run)
        self._error.show(run)
        self._results.show(job, run)
        self.set_class(run.result is not None, "-finished")  # from then on the table needs its room
        self._resources.show(run)
        self._provenance.show(job, run, self._timing.case)

    def show_log(self, data: bytes) -> None:
        """Draw the end of the log."""
        self._log.show(data)

    # -- commands --------------------------------------------------------------------------------

    def action_back(self) -> None:
        """Back to the jobs."""
        self.dismiss()

    def action_case(self, step: int) -> None:
        """Draw another system."""
        self._timing.choose_case(step)
        self._provenance.show(self._view.job, self._view.run, self._timing.case)

    def action_log_scale(self) -> None:
        """Linear or logarithmic."""
        self._timing.toggle_log_scale()

    def action_smooth(self) -> None:
        """Measurements or their running median."""
        self._timing.toggle_smooth()

    def action_follow(self) -> None:
        """Keep to the end of the log, or stop."""
        self._log.toggle_following()

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

    def _show_panel(self, chosen: str) -> None:
        for name in PANELS:
            panel = self.query_one(f"#{name}")
            panel.set_class(name == chosen, "-current")
        for side in ("left", "right"):
            column = self.query_one(f"#{side}")
            column.set_class(bool(column.query(f"#{chosen}")), "-current")
        self._tabs.show(chosen)
        if chosen == "log":
            self._log.focus()
        elif chosen == "results":
            self._results.query_one("DataTable").focus()
        else:
            self.set_focus(None)
