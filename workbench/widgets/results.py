"""The table of results that a finished run hands over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import DataTable, Static

from jobs.protocol import Json
from workbench.model.job import Job
from workbench.model.run import Run
from workbench.plain import plain
from workbench.provenance import facts_of
from workbench.report import cells_of
from workbench.widgets.axes import number

_OTHERWISE = ("model", "date", "load_average")
"""What a table says in another way, or of another moment, than its run."""
_TO_COME = "The table comes when the run has finished."
_ENDED_WITHOUT = "This run ended without a table of results."


class ResultsPanel(Vertical):
    """Rows and columns as the run's summary gives them, with what they were measured on below."""

    DEFAULT_CSS = """
    ResultsPanel {
        & > DataTable {
            height: 1fr;
            & > .datatable--fixed { background: $surface; color: $text; }
            & > .datatable--fixed-cursor, &:focus > .datatable--fixed-cursor {
                background: $primary-muted;
                color: $text;
            }
        }
        & > Static { height: auto; max-height: 4; padding: 0 1; color: $text-muted; }
    }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._shown: tuple[Mapping[str, Json] | None, bool] = (None, False)
        self._table: DataTable[Text] = DataTable(cursor_type="row", fixed_columns=1)
        self._below = Static(_TO_COME, markup=False)

    def compose(self) -> ComposeResult:
        """Table above, provenance below."""
        yield self._table
        yield self._below

    def on_mount(self) -> None:
        """Give the panel its name."""
        self.border_title = Text("results")
        self._table.display = False

    def show(self, job: Job, run: Run) -> None:
        """Draw the summary where there is a new one."""
        summary = run.result.summary if run.result else None
        over = job.state.is_over
        if (summary, over) == self._shown:
            return
        self._shown = (summary, over)
        chosen = self._table.cursor_row
        self._table.clear(columns=True)
        self._table.display = summary is not None
        self.set_class(summary is not None, "-filled")
        if summary is None:
            self._below.update(_ENDED_WITHOUT if over else _TO_COME)
            self._below.display = True
            return
        header, rows = cells_of(summary)
        for index, name in enumerate(header):
            self._table.add_column(_cell(name, text=_is_text(rows, index)))
        for row in rows:
            self._table.add_row(*(_cell(cell, text=_is_text(rows, i)) for i, cell in enumerate(row)))
        self._table.move_cursor(row=min(chosen, len(rows) - 1))
        measured_on = _measured_on(summary, run)
        self._below.update(measured_on)
        self._below.display = bool(measured_on)


def _measured_on(summary: Mapping[str, Json], run: Run) -> str:
    """What the table was measured on; nothing where the run has said so, for that stands below all panels."""
    told = summary.get("measured_on")
    if isinstance(told, Mapping):
        if run.start and all(run.provenance.get(key) == told[key] for key in told if key not in _OTHERWISE):
            return ""
        told = facts_of(told)
    return f"Measured on: {plain(told)}" if told else ""


def _is_text(rows: Sequence[Sequence[Json]], column: int) -> bool:
    """Whether a column holds words, which begin at the left, and not numbers, which end at the right."""
    return any(isinstance(row[column], str) for row in rows)


def _cell(cell: Json, *, text: bool) -> Text:
    return Text(cell_text(cell), justify="left" if text else "right")


def cell_text(cell: Json) -> str:
    """A cell as it is read: three digits of a measured number."""
    if isinstance(cell, float):
        return number(cell)
    return plain(cell)
