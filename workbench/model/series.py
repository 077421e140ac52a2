"""Series: the numbers behind one line of a chart, cheap to append to and cheap to draw."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field


@dataclass(slots=True)
class Series:
    """Pairs of numbers in the order in which they were measured."""

    xs: array[float] = field(default_factory=lambda: array("d"))
    ys: array[float] = field(default_factory=lambda: array("d"))

    def append(self, x: float, y: float) -> None:
        """Add one point."""
        self.xs.append(x)
        self.ys.append(y)

    def __len__(self) -> int:
        return len(self.ys)
