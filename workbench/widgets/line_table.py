"""A table that draws only the lines that are seen, so that ten thousand are as quick as ten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.cache import LRUCache
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from workbench.commands import TABLE, bindings
from workbench.widgets.lines import fitted
from workbench.widgets.seen_lines import SeenLines

T = TypeVar("T")
_HEADER_LINES = 1
_KEPT_STRIPS = 256
"""Lines that are kept as they were drawn: a few screens full."""
TONES = ("running", "done", "waiting", "muted", "failed")


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in one column of one line."""

    text: str
    width: int
    right: bool = False
    tone: str = ""
    """Which of `TONES` it is drawn in; empty for the text's own colour."""


class LineTable(SeenLines, Generic[T], can_focus=True):
    """Rows, one a line, below a header that stays. The cursor stays on its row when the rows change."""

    BINDINGS = bindings(TABLE)
    COMPONENT_CLASSES = {  # noqa: RUF012  # Textual's own declaration
        "line-table--header",
        "line-table--cursor",
        *(f"line-table--{tone}" for tone in TONES),
    }
    DEFAULT_CSS = """
    LineTable {
        background: $background;
        scrollbar-size-horizontal: 0;
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
        overflow-y: auto;
        & > .line-table--header { color: $text-muted; text-style: bold; background: $surface; }
        & > .line-table--cursor { background: $primary 22%; text-style: bold; }
        &:focus > .line-table--cursor { background: $primary 38%; }
        & > .line-table--running { color: $text-primary; }
        & > .line-table--done { color: $text-success; }
        & > .line-table--waiting { color: $text-warning; }
        & > .line-table--muted { color: $text-muted; }
        & > .line-table--failed { color: $text-error; }
    }
    """

    @dataclass
    class Chosen(Message):
        """A row was clicked twice."""

        key: str

    @dataclass
    class Moved(Message):
        """The cursor is on another row."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: Sequence[T] = ()
        self._row_of: dict[str, int] = {}
        self._cursor = 0
        self._strips: LRUCache[tuple[object, ...], Strip] = LRUCache(_KEPT_STRIPS)

    # -- for a table of something ----------------------------------------------------------------

    def key_of(self, row: T) -> str:
        """By what a row is known again when the rows change."""
        raise NotImplementedError

    def header(self, width: int) -> Sequence[Cell]:
        """The titles of the columns that fit into `width`, a blank between each two."""
        raise NotImplementedError

    def cells(self, row: T, width: int) -> Sequence[Cell]:
        """The same columns of one row."""
        raise NotImplementedError

    # -- what is shown ---------------------------------------------------------------------------

    @property
    def row(self) -> T | None:
        """What is under the cursor."""
        return self._rows[self._cursor] if self._cursor < len(self._rows) else None

    def show_rows(self, rows: Sequence[T]) -> None:
        """Draw these rows."""
        before = self.row
        if rows is not self._rows:
            self._rows = rows
            self._row_of = {self.key_of(row): index for index, row in enumerate(rows)}
            index = self._row_of.get(self.key_of(before)) if before is not None else None
            self._cursor = index if index is not None else max(0, min(self._cursor, len(rows) - 1))
            self.virtual_size = Size(self._width, len(rows) + _HEADER_LINES)
            self._keep_in_sight()
        self.draw_changed()
        if self.row is not before:
            self.post_message(self.Moved())

    def select(self, key: str) -> None:
        """Put the cursor on a row, where it is shown."""
        if key in self._row_of:
            self._go_to(self._row_of[key])

    # -- moving ----------------------------------------------------------------------------------

    def action_move(self, rows: int) -> None:
        """Go some rows down, or up."""
        self._go_to(self._cursor + rows)

    def action_page(self, pages: int) -> None:
        """Go some pages down, or up."""
        self._go_to(self._cursor + pages * max(1, self.size.height - _HEADER_LINES - 1))

    def action_edge(self, direction: int) -> None:
        """Go to the first row (-1) or the last (1)."""
        self._go_to(0 if direction < 0 else len(self._rows) - 1)

    def _go_to(self, row: int) -> None:
        row = max(0, min(row, len(self._rows) - 1))
        if row == self._cursor:
            return
        for changed in (self._cursor, row):
            self.refresh_line(changed + _HEADER_LINES)
        self._cursor = row
        self._keep_in_sight()
        self.post_message(self.Moved())

    def _keep_in_sight(self) -> None:
        room = max(1, self.size.height - _HEADER_LINES)
        top = self.scroll_offset.y
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, immediate=True)
        elif self._cursor >= top + room:
            self.scroll_to(y=self._cursor - room + 1, animate=False, immediate=True)

    def on_resize(self) -> None:
        """Fit the lines to the new width."""
        self.virtual_size = Size(self._width, len(self._rows) + _HEADER_LINES)
        self._keep_in_sight()

    def on_click(self, event: events.Click) -> None:
        """One click selects, a second one opens."""
        offset = event.get_content_offset(self)
        if offset is None or offset.y < _HEADER_LINES:
            return
        row = self.scroll_offset.y + offset.y - _HEADER_LINES
        if row >= len(self._rows):
            return
        if row == self._cursor and event.chain > 1:
            self.post_message(self.Chosen(self.key_of(self._rows[row])))
        self._go_to(row)

    # -- drawing ---------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Look the styles up once for all lines."""
        base = self.rich_style
        marked = self.get_component_rich_style("line-table--cursor")
        self._base = base
        self._marked = base + Style(bgcolor=marked.bgcolor, bold=marked.bold)
        self._heading = self.get_component_rich_style("line-table--header")
        self._colours = {
            tone: Style(color=self.get_component_rich_style(f"line-table--{tone}").color) for tone in TONES
        }

    def line(self, y: int) -> Strip:
        """One line of what is seen; the first is the header."""
        width = self._width - 2
        if y < _HEADER_LINES:
            return self._strip(self.header(width), self._heading)
        row = self.scroll_offset.y + y - _HEADER_LINES
        if row >= len(self._rows):
            return Strip.blank(self._width, self._base)
        base = self._marked if row == self._cursor else self._base
        return self._strip(self.cells(self._rows[row], width), base)

    def _strip(self, cells: Sequence[Cell], base: Style) -> Strip:
        styles = [base + self._colours[cell.tone] if cell.tone else base for cell in cells]
        # The same line again is the same strip: what Textual has worked out of it is kept with it.
        known = (self._width, base, *cells, *styles)
        strip = self._strips.get(known)
        if strip is None:
            segments = [Segment(" ", base)]
            for cell, style in zip(cells, styles, strict=True):
                segments += [
                    Segment(fitted(cell.text, cell.width, right=cell.right), style),
                    Segment(" ", base),
                ]
            strip = self._strips[known] = Strip(segments).adjust_cell_length(self._width, base)
        return strip

    @property
    def _width(self) -> int:
        """Without the scroll bar."""
        return self.scrollable_content_region.width
