"""What the chart of a sweep shows: lines along an axis of numbers, or a mark for each name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from jobs.sweep import shown
from workbench.model.sweep_rows import Row

_PLANS = "parameters.plans"


@dataclass(frozen=True, slots=True)
class Line:
    """One plan along the axis, for a chart: ascending, a point each."""

    name: str
    xs: Sequence[float]
    medians: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]


@dataclass(frozen=True, slots=True)
class Mark:
    """One plan at one point, for a chart of names."""

    name: str
    median_ms: float
    low_ms: float
    high_ms: float
    speed_up: float | None


def axis_of(rows: Sequence[Row], axes: Sequence[str]) -> str | None:
    """The first of the axes along which the rows have several values, all of them numbers."""
    for key in axes:
        values = {row.point[key] for row in rows}
        if len(values) > 1 and all(_is_number(value) for value in values):
            return key
    return None


def lines_of(rows: Sequence[Row], axis: str) -> list[Line]:
    """A line for each plan, and for each system and point of the other axes where there are several."""
    several_cases = _has_several_cases(rows)
    together: defaultdict[str, list[tuple[float, Row]]] = defaultdict(list)
    for row in rows:
        x = row.point[axis]
        others = [shown(value) for key, value in row.point.items() if key != axis]
        name = " ".join([row.plan, *others, *([row.case] if several_cases else [])])
        if isinstance(x, int | float):
            together[name].append((float(x), row))
    lines = []
    for name, points in together.items():
        points.sort(key=lambda point: point[0])
        of = [row for _, row in points]
        lines.append(
            Line(
                name,
                [x for x, _ in points],
                [row.median_ms for row in of],
                [row.low_ms for row in of],
                [row.high_ms for row in of],
            )
        )
    return lines


def marks_of(rows: Sequence[Row]) -> list[Mark]:
    """The slowest first; a plan that several members timed at otherwise the same point is one mark."""
    several_cases = _has_several_cases(rows)
    keys = rows[0].point if rows else ()
    differing = [key for key in keys if key != _PLANS and len({row.point[key] for row in rows}) > 1]
    together: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        others = [shown(row.point[key]) for key in differing]
        together[" ".join([row.plan, *others, *([row.case] if several_cases else [])])].append(row)
    marks = [
        Mark(
            name,
            median(row.median_ms for row in of),
            min(row.low_ms for row in of),
            max(row.high_ms for row in of),
            median(speed_ups) if (speed_ups := [row.speed_up for row in of if row.speed_up]) else None,
        )
        for name, of in together.items()
    ]
    return sorted(marks, key=lambda mark: -mark.median_ms)


def _has_several_cases(rows: Sequence[Row]) -> bool:
    cases: defaultdict[tuple[object, ...], set[str]] = defaultdict(set)
    for row in rows:
        cases[(row.plan, *row.point.values())].add(row.case)
    return any(len(of) > 1 for of in cases.values())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
