"""The names of a screen's panels in one line, where there is room for one panel at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text
from textual import events
from textual.message import Message
from textual.widget import Widget


class PanelTabs(Widget):
    """`1 timing  2 error  …` with the current one marked."""

    COMPONENT_CLASSES = {"panel-tabs--current"}  # noqa: RUF012  # Textual's own declaration
    DEFAULT_CSS = """
    PanelTabs {
        height: 1;
        padding: 0 1;
        color: $text-muted;
        & > .panel-tabs--current { color: $text; background: $primary 40%; text-style: bold; }
    }
    """

    @dataclass
    class Chosen(Message):
        """A panel's name was clicked."""

        panel: str

    def __init__(self, panels: Sequence[str]) -> None:
        super().__init__()
        self._panels = panels
        self._current = panels[0]

    def show(self, current: str) -> None:
        """Mark another panel."""
        self._current = current
        self.refresh()

    def render(self) -> Text:
        """The names."""
        marked = self.get_component_rich_style("panel-tabs--current")
        text = Text(no_wrap=True)
        for index, panel in enumerate(self._panels):
            text.append(self._label(index), marked if panel == self._current else "").append(" ")
        return text

    def on_click(self, event: events.Click) -> None:
        """Choose the name that was clicked."""
        offset = event.get_content_offset(self)
        start = 0
        for index, panel in enumerate(self._panels):
            end = start + len(self._label(index))
            if offset is not None and start <= offset.x < end:
                self.post_message(self.Chosen(panel))
            start = end + 1

    def _label(self, index: int) -> str:
        return f" {index + 1} {self._panels[index]} "
