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

    def thinned(self, most: int) -> tuple[list[float], list[float]]:
        """At most `most` points that keep the shape: of each stretch its lowest and its highest."""
        n = len(self.ys)
        if n <= most:
            return self.xs.tolist(), self.ys.tolist()
        stretches = max(1, most // 2)
        kept: list[int] = []
        for stretch in range(stretches):
            indices = range(stretch * n // stretches, (stretch + 1) * n // stretches)
            low, high = min(indices, key=self.ys.__getitem__), max(indices, key=self.ys.__getitem__)
            kept += sorted({low, high})
        return [self.xs[i] for i in kept], [self.ys[i] for i in kept]
