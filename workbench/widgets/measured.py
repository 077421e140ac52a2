"""Measured values as a chart and a legend need them, kept up to date at a cost that does not grow."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from statistics import median

from workbench.model.series import Series

MOST_STRETCHES = 256
"""Of one line: about the dots that a wide terminal has across."""


@dataclass(slots=True)
class _Stretch:
    """Neighbouring points, by what is drawn of them."""

    x_low: float
    low: float
    x_high: float
    high: float
    total: float
    count: int

    def join(self, other: _Stretch) -> None:
        if other.low < self.low:
            self.x_low, self.low = other.x_low, other.low
        if other.high > self.high:
            self.x_high, self.high = other.x_high, other.high
        self.total += other.total
        self.count += other.count


@dataclass(slots=True)
class Measured:
    """What has been seen of one series: its outline, and its values in order of size.

    A series only grows, so each look at it costs what is new, not what there is: drawing a run of a
    million evaluations is as quick as one of a thousand.
    """

    series: Series
    stretches: list[_Stretch] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    """In ascending order."""
    _span: int = 1
    """Points a stretch."""

    def catch_up(self) -> bool:
        """Take in what the series has gained; true where that was anything."""
        seen, n = len(self.values), len(self.series)
        if seen == n:
            return False
        xs, ys = self.series.xs[seen:], self.series.ys[seen:]
        for x, y in zip(xs, ys, strict=True):
            point = _Stretch(x, y, x, y, y, 1)
            if self.stretches and self.stretches[-1].count < self._span:
                self.stretches[-1].join(point)
            else:
                self.stretches.append(point)
                if len(self.stretches) > MOST_STRETCHES:
                    self._halve()
        self.values.extend(ys)
        self.values.sort()  # a sorted list with a tail: the sort finds both, and merges them
        return True

    def quantile(self, q: float) -> float:
        """The value below which a part `q` of all lies, between neighbours in proportion."""
        position = q * (len(self.values) - 1)
        below = int(position)
        above = min(below + 1, len(self.values) - 1)
        return self.values[below] + (position - below) * (self.values[above] - self.values[below])

    def line(self, most: int = MOST_STRETCHES, *, smooth: bool = False) -> tuple[list[float], list[float]]:
        """The points to draw: of at most `most` stretches the lowest and the highest each.

        Where it is to be smooth, a running median of the stretches' means.
        """
        stretches = _joined(self.stretches, most)
        if smooth:
            xs = [(stretch.x_low + stretch.x_high) / 2 for stretch in stretches]
            return xs, _running_median([stretch.total / stretch.count for stretch in stretches])
        xs, ys = [], []
        for stretch in stretches:
            points = [(stretch.x_low, stretch.low), (stretch.x_high, stretch.high)]
            for x, y in sorted(points) if stretch.count > 1 else points[:1]:
                xs.append(x)
                ys.append(y)
        return xs, ys

    def _halve(self) -> None:
        """Join the stretches two by two."""
        for left, right in zip(self.stretches[::2], self.stretches[1::2], strict=False):
            left.join(right)
        del self.stretches[1::2]
        self._span *= 2


def _joined(stretches: list[_Stretch], most: int) -> list[_Stretch]:
    """Neighbours joined until there are at most `most`."""
    step = -(-len(stretches) // max(1, most))
    if step <= 1:
        return stretches
    joined = []
    for start in range(0, len(stretches), step):
        whole = replace(stretches[start])
        for other in stretches[start + 1 : start + step]:
            whole.join(other)
        joined.append(whole)
    return joined


def _running_median(ys: list[float]) -> list[float]:
    """Each value's median with its neighbours; unlike a mean it does not follow a single slow call."""
    reach = max(1, len(ys) // 16)
    return [median(ys[max(0, i - reach) : i + reach + 1]) for i in range(len(ys))]
