"""Series: the numbers behind one line of a chart, cheap to append to and cheap to draw."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field

_MOST = 1e30
"""What is larger is no measurement; cut to this, sums and ratios stay numbers that a chart can place."""


def placed(value: float) -> float:
    """The number as a chart can place it."""
    return value if -_MOST < value < _MOST else math.copysign(_MOST, value)


@dataclass(slots=True)
class Series:
    """Pairs of numbers in the order in which they were measured."""

    xs: array[float] = field(default_factory=lambda: array("d"))
    ys: array[float] = field(default_factory=lambda: array("d"))

    def append(self, x: float, y: float) -> None:
        """Add one point."""
        self.xs.append(placed(x))
        self.ys.append(placed(y))

    def __len__(self) -> int:
        return len(self.ys)
