"""The table of jobs: draws only the lines that are seen, so that ten thousand are as quick as ten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from workbench.commands import TABLE, bindings
from workbench.model.job import Job
from workbench.model.run import Run
from workbench.widgets import words
from workbench.widgets.job_columns import COLUMNS, Column, layout
from workbench.widgets.lines import fitted
from workbench.widgets.seen_lines import SeenLines

_NO_RUN = Run()
_HEADER_LINES = 1


class JobTable(SeenLines, can_focus=True):
    """Jobs, one a line, below a header that stays. The cursor stays on its job when the jobs change."""

    BINDINGS = bindings(TABLE)
    COMPONENT_CLASSES = {  # noqa: RUF012  # Textual's own declaration
        "job-table--header",
        "job-table--cursor",
        *(f"job-table--{tone}" for tone in ("running", "done", "waiting", "muted", "failed")),
    }
    DEFAULT_CSS = """
    JobTable {
        background: $background;
        scrollbar-size-horizontal: 0;
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
        overflow-y: auto;
        & > .job-table--header { color: $text-muted; text-style: bold; background: $surface; }
        & > .job-table--cursor { background: $primary 22%; text-style: bold; }
        &:focus > .job-table--cursor { background: $primary 38%; }
        & > .job-table--running { color: $text-primary; }
        & > .job-table--done { color: $text-success; }
        & > .job-table--waiting { color: $text-warning; }
        & > .job-table--muted { color: $text-muted; }
        & > .job-table--failed { color: $text-error; }
    }
    """

    @dataclass
    class Chosen(Message):
        """A job was chosen with Enter or a click."""

        job_id: str

    @dataclass
    class Moved(Message):
        """The cursor is on another job."""

        job: Job | None

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._jobs: Sequence[Job] = ()
        self._row_of: dict[str, int] = {}
        self._runs: Mapping[str, Run] = {}
        self._now = 0.0
        self._order: tuple[Column, bool] = (COLUMNS[0], False)
        self._cursor = 0

    @property
    def job(self) -> Job | None:
        """The job under the cursor."""
        return self._jobs[self._cursor] if self._cursor < len(self._jobs) else None

    def show(
        self, jobs: Sequence[Job], runs: Mapping[str, Run], now: float, order: tuple[Column, bool]
    ) -> None:
        """Draw these jobs, in this order; `order` says by which column, and whether turned round."""
        before = self.job
        if jobs is not self._jobs:
            self._jobs = jobs
            self._row_of = {job.id: row for row, job in enumerate(jobs)}
            row = self._row_of.get(before.id) if before else None
            self._cursor = row if row is not None else max(0, min(self._cursor, len(jobs) - 1))
            self.virtual_size = Size(self._width, len(jobs) + _HEADER_LINES)
            self._keep_in_sight()
        self._runs, self._now, self._order = runs, now, order
        self.draw_changed()
        if self.job is not before:
            self.post_message(self.Moved(self.job))

    def select(self, job_id: str) -> None:
        """Put the cursor on a job, where it is shown."""
        if job_id in self._row_of:
            self._go_to(self._row_of[job_id])

    # -- moving ----------------------------------------------------------------------------------

    def action_move(self, rows: int) -> None:
        """Go some rows down, or up."""
        self._go_to(self._cursor + rows)

    def action_page(self, pages: int) -> None:
        """Go some pages down, or up."""
        self._go_to(self._cursor + pages * max(1, self.size.height - _HEADER_LINES - 1))

    def action_edge(self, direction: int) -> None:
        """Go to the first job (-1) or the last (1)."""
        self._go_to(0 if direction < 0 else len(self._jobs) - 1)

    def _go_to(self, row: int) -> None:
        row = max(0, min(row, len(self._jobs) - 1))
        if row == self._cursor:
            return
        for changed in (self._cursor, row):
            self.refresh_line(changed + _HEADER_LINES)
        self._cursor = row
        self._keep_in_sight()
        self.post_message(self.Moved(self.job))

    def _keep_in_sight(self) -> None:
        room = max(1, self.size.height - _HEADER_LINES)
        top = self.scroll_offset.y
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, immediate=True)
        elif self._cursor >= top + room:
            self.scroll_to(y=self._cursor - room + 1, animate=False, immediate=True)

    def on_resize(self) -> None:
        """Fit the lines to the new width."""
        self.virtual_size = Size(self._width, len(self._jobs) + _HEADER_LINES)
        self._keep_in_sight()

    def on_click(self, event: events.Click) -> None:
        """One click selects, a second one opens."""
        offset = event.get_content_offset(self)
        if offset is None or offset.y < _HEADER_LINES:
            return
        row = self.scroll_offset.y + offset.y - _HEADER_LINES
        if row >= len(self._jobs):
            return
        if row == self._cursor and event.chain > 1:
            self.post_message(self.Chosen(self._jobs[row].id))
        self._go_to(row)

    # -- drawing ---------------------------------------------------------------------------------

    def line(self, y: int) -> Strip:
        """One line of what is seen; the first is the header."""
        columns = layout(self._width - 2)
        if y < _HEADER_LINES:
            return self._header(columns)
        row = self.scroll_offset.y + y - _HEADER_LINES
        if row >= len(self._jobs):
            return Strip.blank(self._width, self.rich_style)
        return self._row(row, columns)

    def _header(self, columns: Sequence[tuple[Column, int]]) -> Strip:
        style = self.get_component_rich_style("job-table--header")
        by, turned = self._order
        cells = []
        for column, width in columns:
            title = column.title + (("▴" if turned else "▾") if column is by else "")
            cells.append(fitted(title, width, right=column.right))
        return self._strip([Segment(" " + " ".join(cells), style)], style)

    def _row(self, row: int, columns: Sequence[tuple[Column, int]]) -> Strip:
        job = self._jobs[row]
        run = self._runs.get(job.id, _NO_RUN)
        base = self.rich_style
        if row == self._cursor:
            marked = self.get_component_rich_style("job-table--cursor")
            base += Style(bgcolor=marked.bgcolor, bold=marked.bold)
        tone, quiet = self._colour(words.state_tone(job.state)), self._colour("muted")
        segments = [Segment(" ", base)]
        for column, width in columns:
            text = fitted(column.text(job, run, self._now), width, right=column.right)
            coloured = column.title in ("state", "progress")
            plain_style = quiet if column.title in ("id", "profile", "as of") else Style()
            segments += [Segment(text, base + (tone if coloured else plain_style)), Segment(" ", base)]
        return self._strip(segments, base)

    def _colour(self, tone: str) -> Style:
        return Style(color=self.get_component_rich_style(f"job-table--{tone}").color)

    def _strip(self, segments: list[Segment], style: Style) -> Strip:
        return Strip(segments).adjust_cell_length(self._width, style)

    @property
    def _width(self) -> int:
        """Without the scroll bar."""
        return self.scrollable_content_region.width
