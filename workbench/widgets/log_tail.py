"""The end of what a run prints, as plain text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.segment import Segment
from rich.text import Text
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from workbench.widgets.lines import log_lines


class LogTail(ScrollView, can_focus=True):
    """Lines that are drawn as they are seen; keeps to the end while it follows."""

    DEFAULT_CSS = """
    LogTail { background: $background; scrollbar-size-horizontal: 1; padding: 0 0 0 1; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.following = True
        self._lines: Sequence[str] = ("Nothing printed yet.",)
        self._data = b""

    def on_mount(self) -> None:
        """Give the panel its name."""
        self._entitle()

    def show(self, data: bytes) -> None:
        """Draw the log's end; `data` may begin in the middle of a line."""
        if data == self._data:
            return
        self._data = data
        self._lines = log_lines(data) or ("Nothing printed yet.",)
        self.virtual_size = Size(max(map(cell_len, self._lines)), len(self._lines))
        self._keep_to_the_end()
        self.refresh()

    def on_resize(self) -> None:
        """Stay at the end when the room changes."""
        self._keep_to_the_end()

    def watch_show_vertical_scrollbar(self, is_shown: bool) -> None:
        """Have a scroll bar that has just come say where the panel is; Textual tells only those there are."""
        if is_shown:
            self.vertical_scrollbar.position = self.scroll_y

    def toggle_following(self) -> bool:
        """Keep to the end, or stop doing so; which it is now."""
        self.following = not self.following
        self._keep_to_the_end()
        self._entitle()
        return self.following

    def render_line(self, y: int) -> Strip:
        """One line of what is seen."""
        x, top = self.scroll_offset
        style, width = self.rich_style, self.size.width
        if top + y >= len(self._lines):
            return Strip.blank(width, style)
        return Strip([Segment(self._lines[top + y], style)]).crop_extend(x, x + width, style)

    def _keep_to_the_end(self) -> None:
        if self.following:  # forced: lines that have just outgrown the panel have no scroll bar yet
            self.scroll_end(animate=False, immediate=True, force=True, x_axis=False)

    def _entitle(self) -> None:
        self.border_title = Text("log · following" if self.following else "log · not following: f follows")
