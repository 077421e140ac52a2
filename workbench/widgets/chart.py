"""Chart: the ground that every chart stands on: plotext within a widget, in the theme's colours."""

from __future__ import annotations

import asyncio
import time
from typing import TypeAlias

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import work
from textual.strip import Strip
from textual_plotext import PlotextPlot
from textual_plotext.plot import Plot

from workbench.ports.painting import PAINT

N_COLOURS = 7
_REST = 5.0
"""The next picture waits this many times as long as the last one took: most of the time is left to keys."""
_MOST_REST_S = 0.2
"""But no longer, so that a point is seen soon also where a busy machine draws slowly."""
Rgb: TypeAlias = tuple[int, int, int]


def build(plot: Plot, style: Style) -> list[Strip]:
    """The slow part of a picture; touches nothing but the plot."""
    console = Console()
    lines = Text.from_ansi(plot.build(), style=style).split("\n")
    return [Strip(line.render(console)) for line in lines]


class Chart(PlotextPlot):
    """A picture that is built beside the event loop, so that no key waits for plotext.

    Whoever gives it data calls `redraw`. While a picture is being built the last one stays; what is
    asked for in the meantime is built once, afterwards.
    """

    COMPONENT_CLASSES = {  # noqa: RUF012  # Textual's own declaration
        "chart--axis",
        *(f"chart--series-{index}" for index in range(N_COLOURS)),
    }
    DEFAULT_CSS = "\n".join(
        [
            "Chart { & > .chart--axis { color: $text-muted; } }",
            *(
                f"Chart {{ & > .chart--series-{index} {{ color: $series-{index}; }} }}"
                for index in range(N_COLOURS)
            ),
        ]
    )

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: list[Strip] = []
        self._wanted = self._building = False

    def draw(self, plot: Plot, width: int, height: int) -> str | None:
        """Fill an empty plot of this size; or a sentence that says why there is nothing to draw."""
        raise NotImplementedError

    @property
    def is_settled(self) -> bool:
        """Whether the picture shows all that was given."""
        return not (self._wanted or self._building)

    def colour(self, index: int) -> Rgb:
        """The colour of a series."""
        return self._rgb(f"chart--series-{index % N_COLOURS}")

    def redraw(self) -> None:
        """Have the picture built again."""
        self._wanted = True
        if not self._building and self.is_mounted:
            self._building = True
            self._build()

    def on_mount(self) -> None:
        """Begin, and begin again in other colours."""
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self.redraw())

    def on_resize(self) -> None:
        """Draw for the new size."""
        self.redraw()

    def render_line(self, y: int) -> Strip:
        """One line of the newest picture."""
        style, width = self.rich_style, self.size.width
        if y >= len(self._lines):
            return Strip.blank(width, style)
        return self._lines[y].adjust_cell_length(width, style)

    @work(group="chart")
    async def _build(self) -> None:
        try:
            while self._wanted:
                self._wanted, rest_s = False, 0.0
                width, height = self.size
                if width < 12 or height < 4:
                    continue
                plot, style = self._empty(width, height), self.rich_style
                nothing = self.draw(plot, width, height)
                if nothing is not None:
                    self._lines = [Strip([Segment("  " + nothing, style)])]
                else:
                    began = time.monotonic()
                    self._lines = await asyncio.to_thread(PAINT.get(build), plot, style)
                    rest_s = min(_MOST_REST_S, _REST * (time.monotonic() - began))
                self.refresh()
                await asyncio.sleep(rest_s)
        finally:
            self._building = False

    def _empty(self, width: int, height: int) -> Plot:
        plot = Plot()
        plot.theme("textual-default")
        plot.plotsize(width, height)
        plot._set_size(width, height)  # `plotsize` alone takes the terminal's size for a limit
        plot.ticks_color(self._rgb("chart--axis"))
        plot.xaxes(True, False)
        plot.yaxes(True, False)
        return plot

    def _rgb(self, component: str) -> Rgb:
        style = self.get_component_rich_style(component)
        if style.color is None:
            return (128, 128, 128)
        colour = style.color.get_truecolor()
        return (colour.red, colour.green, colour.blue)
