"""The table of jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workbench.model.job import Job
from workbench.model.run import Run
from workbench.widgets import words
from workbench.widgets.job_columns import COLUMNS, Column, layout
from workbench.widgets.line_table import Cell, LineTable

_NO_RUN = Run()


class JobTable(LineTable[Job]):
    """The jobs of this program, with what their runs have told."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._runs: Mapping[str, Run] = {}
        self._now = 0.0
        self._order: tuple[Column, bool] = (COLUMNS[0], False)

    def show(
        self, jobs: Sequence[Job], runs: Mapping[str, Run], now: float, order: tuple[Column, bool]
    ) -> None:
        """Draw these jobs, in this order; `order` says by which column, and whether turned round."""
        self._runs, self._now, self._order = runs, now, order
        self.show_rows(jobs)

    def key_of(self, row: Job) -> str:
        """Its id."""
        return row.id

    def header(self, width: int) -> Sequence[Cell]:
        """The titles, the one that orders marked."""
        by, turned = self._order
        return [
            Cell(column.title + (("▴" if turned else "▾") if column is by else ""), room, column.right)
            for column, room in layout(width)
        ]

    def cells(self, row: Job, width: int) -> Sequence[Cell]:
        """One job."""
        run, tone = self._runs.get(row.id, _NO_RUN), words.state_tone(row.state)
        tones = {"state": tone, "progress": tone, "id": "muted", "profile": "muted", "as of": "muted"}
        return [
            Cell(column.text(row, run, self._now), room, column.right, tones.get(column.title, ""))
            for column, room in layout(width)
        ]
