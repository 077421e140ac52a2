"""Where the marks on an axis stand and how their numbers are written."""

from __future__ import annotations

import math
from collections.abc import Sequence

_MOST_POWERS = 6


def number(value: float) -> str:
    """Three significant digits, without an exponent where that is as short."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "-"
    exponent = math.floor(math.log10(abs(value)))
    if not -4 <= exponent < 6:
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.{max(0, 2 - exponent)}f}"


def tick(value: float) -> str:
    """A round number, as short as it goes."""
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.6g}"


def linear_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers in steps of 1, 2 or 5, at most `most` of them, between `low` and `high`."""
    if not high > low or most < 2:
        return [low]
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1) if low - step / 1e6 <= index * step] or [low]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers for an axis of logarithms: powers of ten, with 2 and 5 between where there is room."""
    for factors in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        ticks = _powers(low, high, factors)
        if len(ticks) <= most:
            return ticks if len(ticks) > 1 else linear_ticks(low, high, most)
    powers = _powers(low, high, (1.0,))
    return powers[:: math.ceil(len(powers) / max(2, min(most, _MOST_POWERS)))]


def _powers(low: float, high: float, factors: Sequence[float]) -> list[float]:
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
    return [value for value in ticks if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def spread_out(rows: Sequence[float], most: int) -> list[int]:
    """Whole rows near the wanted ones, from 0 to `most`, no two the same while there is room."""
    order = sorted(range(len(rows)), key=rows.__getitem__)
    placed = [0] * len(rows)
    lowest = 0
    for index in order:
        placed[index] = lowest = max(lowest, min(most, round(rows[index])))
        lowest += 1
    highest = most
    for index in reversed(order):
        placed[index] = highest = max(0, min(highest, placed[index]))
        highest -= 1
    return placed
