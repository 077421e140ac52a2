"""Rows of a chart: a name, a mark on an axis of logarithms, and the number beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from textual_plotext.plot import Plot

from workbench.widgets.axes import log_ticks, tick

NAME_WIDTH = 20
AXIS_LINES, FRAME_LINES = 2, 2


def frame(
    plot: Plot, names: Sequence[str], limits: tuple[float, float], width: int, *, room: int, name_width: int
) -> None:
    """Axes for rows of these names from above; `room` letters stay free to the right of the last mark."""
    low, high = limits
    left, right = math.log10(low), math.log10(high)
    canvas = max(10, width - name_width - 2)
    plot.xlim(left, right + (right - left) * room / max(10, canvas - room))
    plot.ylim(0.5 - len(names), 0.5)
    plot.yticks([-index for index in range(len(names))], list(names))
    ticks = log_ticks(low, high, max(3, canvas // 10))
    plot.xticks([math.log10(value) for value in ticks], [tick(value) for value in ticks])


def left_out(count: int) -> str:
    """What a panel says below rows for which there was no room."""
    return f"{count} more: z, or a taller terminal" if count else ""
