"""The table of a cluster's queue."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.model.queue import QueueEntry
from workbench.widgets import words
from workbench.widgets.line_table import Cell, LineTable
from workbench.widgets.queue_columns import COLUMNS, QueueColumn, layout


class QueueTable(LineTable[QueueEntry]):
    """The user's jobs in one queue; those of this program say which run they are."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._now = 0.0
        self._order: tuple[QueueColumn, bool] = (COLUMNS[0], False)

    def show(self, entries: Sequence[QueueEntry], now: float, order: tuple[QueueColumn, bool]) -> None:
        """Draw these jobs; `order` says by which column, and whether turned round."""
        self._now, self._order = now, order
        self.show_rows(entries)

    def key_of(self, row: QueueEntry) -> str:
        """Its number, which an array's parts have in common, with its tasks."""
        return row.id

    def header(self, width: int) -> Sequence[Cell]:
        """The titles, the one that orders marked."""
        by, turned = self._order
        return [
            Cell(column.title + (("▴" if turned else "▾") if column is by else ""), room, column.right)
            for column, room in layout(width)
        ]

    def cells(self, row: QueueEntry, width: int) -> Sequence[Cell]:
        """One job."""
        tone = words.state_tone(row.state)
        tones = {"state": tone, "id": "muted", "run": "running", "folder": "muted"}
        return [
            Cell(column.text(row, self._now), room, column.right, tones.get(column.title, ""))
            for column, room in layout(width)
        ]
