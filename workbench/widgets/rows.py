"""Rows of a chart: a name, a mark on an axis of logarithms, and the number beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.cells import cell_len
from textual_plotext.plot import Plot

from workbench.widgets.axes import log_ticks, tick

AXIS_LINES, FRAME_LINES = 2, 2
_AIR = 2
"""Letters behind the longest text."""


def frame(
    plot: Plot, names: Sequence[str], limits: tuple[float, float], width: int, texts: Sequence[str]
) -> None:
    """Axes for rows of these names from above, with room for the texts to the right of their marks."""
    low, high = limits
    left, right = math.log10(low), math.log10(high)
    canvas = max(10, width - max(map(cell_len, names)) - 2)
    room = max(map(cell_len, texts)) + _AIR
    plot.xlim(left, right + (right - left) * room / max(10, canvas - room))
    plot.ylim(0.5 - len(names), 0.5)
    plot.yticks([-index for index in range(len(names))], list(names))
    ticks = log_ticks(low, high, max(3, canvas // 10))
    plot.xticks([math.log10(value) for value in ticks], [tick(value) for value in ticks])


def left_out(count: int) -> str:
    """What a panel says below rows for which there was no room."""
    return f"{count} more: z, or a taller terminal" if count else ""
