"""The chart of a sweep: the median time of each plan along what the sweep goes over, with its quartiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Static
from textual_plotext.plot import Plot

from jobs.sweep import short as key_name
from workbench.model.series import placed
from workbench.model.sweep_picture import Line, Mark
from workbench.model.sweep_result import Folded
from workbench.plain import plain
from workbench.widgets.axes import linear_ticks, log_ticks, number, tick
from workbench.widgets.chart import N_COLOURS, Chart
from workbench.widgets.lines import short
from workbench.widgets.rows import AXIS_LINES, frame, left_out
from workbench.widgets.timing import LETTERS

_LOG_FROM = 6.0
"""Where the largest value is this many times the smallest, an axis is logarithmic."""
_MOST_NAMED = 6
_AIR = 1.15
_LEAST_MS = 1e-6


class SweepChart(Chart):
    """Lines of medians; the bar through each point reaches from quartile to quartile."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: Sequence[Line] = ()
        self.marks: Sequence[Mark] = ()

    def draw(self, plot: Plot, width: int, height: int) -> str | None:
        """Lines along an axis, or a row for each name."""
        if self.lines:
            self._draw_lines(plot, width, height)
        elif self.marks:
            self._draw_marks(plot, width, height)
        else:
            return "No member has timed anything yet."
        return None

    def _draw_marks(self, plot: Plot, width: int, height: int) -> None:
        """From quartile to quartile, the number beside it; the fastest where not all have room."""
        rows = self.marks[-max(1, height - AXIS_LINES) :]
        self._say(left_out(len(self.marks) - len(rows)))
        limits = _limits([value for mark in rows for value in (mark.low_ms, mark.high_ms)])
        names, texts = [], []
        for index, mark in enumerate(rows):
            colour = self.colour(index % N_COLOURS)
            low, middle, high = (_log(value) for value in (mark.low_ms, mark.median_ms, mark.high_ms))
            names.append(short(plain(mark.name), width // 2))
            texts.append(_said(mark))
            plot.plot([low, high], [-index, -index], marker="━", color=colour)
            plot.text(texts[-1], middle, -index, alignment="left", color=colour)
        frame(plot, names, limits, width, texts)

    def _say(self, text: str) -> None:
        """Below the panel that it stands in."""
        if isinstance(self.parent, Widget):
            self.parent.border_subtitle = text

    def _draw_lines(self, plot: Plot, width: int, height: int) -> None:
        """Each line in its colour, with its letter at its points."""
        self._say("")
        all_x = [x for line in self.lines for x in line.xs]
        all_y = [y for line in self.lines for y in (*line.lows, *line.medians, *line.highs)]
        x_of, log_x = _scale(all_x)
        y_of, log_y = _scale(all_y)
        for index, line in enumerate(self.lines):
            colour = self.colour(index % N_COLOURS)
            xs, ys = [x_of(x) for x in line.xs], [y_of(y) for y in line.medians]
            plot.plot(xs, ys, marker="braille", color=colour)
            for x, y, low, high in zip(xs, ys, line.lows, line.highs, strict=True):
                plot.plot([x, x], [y_of(low), y_of(high)], marker="│", color=colour)
                plot.text(letter(index), x, y, color=colour, alignment="center")
        low_x, high_x = x_of(min(all_x)), x_of(max(all_x))
        air = 0.06 * (high_x - low_x) or 0.5
        plot.xlim(low_x - air, high_x + air)
        bottom, top = y_of(min(all_y)), y_of(max(all_y))
        air = 0.06 * (top - bottom) or 0.1
        plot.ylim(bottom - air, top + air)
        marks = (log_ticks if log_y else linear_ticks)(min(all_y), max(all_y), max(3, height // 2))
        plot.yticks([y_of(value) for value in marks], [tick(value) for value in marks])
        # The axis has marks where there are measurements, as far as there is room.
        values = sorted(set(all_x))
        values = values[:: math.ceil(len(values) / max(2, width // 10))]
        plot.xticks([x_of(value) for value in values], [tick(value) for value in values])
        self.set_class(log_x, "-log-x")


class SweepPanel(Vertical):
    """The chart with the names of its lines."""

    DEFAULT_CSS = """
    SweepPanel {
        & > SweepChart { height: 1fr; }
        & > Static { height: auto; max-height: 7; padding: 0 1; }
    }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._chart, self._legend = SweepChart(), Static(markup=False)

    def compose(self) -> ComposeResult:
        """Chart above, names below."""
        yield self._chart
        yield self._legend

    def show(self, folded: Folded) -> None:
        """Draw what the members have measured."""
        axis, lines, marks = folded.axis, folded.lines, folded.marks
        over = f" over {plain(key_name(axis))}" if axis else ""
        self.border_title = Text(f"median ms{over}, quartiles as bars")
        if (lines, marks) != (self._chart.lines, self._chart.marks) or not (lines or marks):
            self._chart.lines, self._chart.marks = lines, marks
            self._chart.redraw()
            self._legend.update(self._names(lines))

    def _names(self, lines: Sequence[Line]) -> Text:
        """Letter, name, and what the line says at its last point."""
        text = Text(no_wrap=True, overflow="ellipsis")
        for index, line in enumerate(lines[:_MOST_NAMED]):
            r, g, b = self._chart.colour(index % N_COLOURS)
            text.append(f"{letter(index)} ", f"bold rgb({r},{g},{b})")
            text.append(f"{plain(line.name)}  {number(line.medians[-1])} ms at {tick(line.xs[-1])}\n")
        if len(lines) > _MOST_NAMED:
            text.append(f"and {len(lines) - _MOST_NAMED} more lines", "dim")
        text.rstrip()
        return text


def letter(index: int) -> str:
    """What stands for a line."""
    return LETTERS[index % len(LETTERS)]


def _said(mark: Mark) -> str:
    ratio = "" if mark.speed_up is None else f"  {number(mark.speed_up)}×"
    return f"● {number(mark.median_ms)} ms{ratio}"


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Around the values, with some air: an axis needs an extent."""
    return 10 ** _log(min(values)) / _AIR, 10 ** _log(max(values)) * _AIR


def _log(value: float) -> float:
    """Where a time stands on an axis of logarithms, whatever was told."""
    return math.log10(max(_LEAST_MS, placed(value)))


def _scale(values: Sequence[float]) -> tuple[Callable[[float], float], bool]:
    """How a value is placed on its axis, and whether by its logarithm."""
    if min(values) > 0 and max(values) > _LOG_FROM * min(values):
        return math.log10, True
    return float, False
