"""Chart: the ground that every chart stands on: plotext within a widget, in the theme's colours."""

from __future__ import annotations

from typing import TypeAlias

from rich.text import Text
from textual_plotext import PlotextPlot
from textual_plotext.plot import Plot

N_COLOURS = 7
Rgb: TypeAlias = tuple[int, int, int]


class Chart(PlotextPlot):
    """Draws itself anew only when it is asked to: whoever gives it data calls `refresh`."""

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

    def draw(self, plot: Plot, width: int, height: int) -> str | None:
        """Fill an empty plot of this size; or a sentence that says why there is nothing to draw."""
        raise NotImplementedError

    def colour(self, index: int) -> Rgb:
        """The colour of a series."""
        return self._rgb(f"chart--series-{index % N_COLOURS}")

    def render(self) -> Text:
        """The chart as text, or the sentence in its place."""
        width, height = self.size
        if width < 12 or height < 4:
            return Text("")
        plot = Plot()
        plot.theme("textual-default")
        plot.plotsize(width, height)
        plot._set_size(width, height)  # `plotsize` alone takes the terminal's size for a limit
        plot.ticks_color(self._rgb("chart--axis"))
        plot.xaxes(True, False)
        plot.yaxes(True, False)
        nothing = self.draw(plot, width, height)
        if nothing is not None:
            return Text(nothing, style="italic")
        return Text.from_ansi(plot.build(), no_wrap=True, end="")

    def _rgb(self, component: str) -> Rgb:
        style = self.get_component_rich_style(component)
        if style.color is None:
            return (128, 128, 128)
        colour = style.color.get_truecolor()
        return (colour.red, colour.green, colour.blue)
