"""What the members of a sweep have measured, folded into one table over what the sweep goes over.

Members that differ in their seed alone repeat one measurement: their evaluations are pooled, and how far
their medians lie apart is told. A speed-up is taken within each member, where both plans were interleaved
on one machine, before members are folded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeAlias

from jobs.protocol import Accuracy, Json
from jobs.sweep import Value, short, shown
from workbench.model.job import Job
from workbench.model.run import Run
from workbench.model.series import Series
from workbench.model.sweep import Sweep

Runs: TypeAlias = Mapping[str, Run]
_REPEATS = ("seed",)
"""Axes along which a measurement is repeated, not changed."""
_SIZES = "parameters.sizes"
_REFERENCE = "reference"
_VARIES = ("date", "load_average", "pid")
"""Differs between any two runs, and explains nothing by itself."""
_MOST_NAMED = 4


@dataclass(frozen=True, slots=True)
class Row:
    """One plan on one system at one point of the sweep."""

    point: Mapping[str, Value]
    """The values of the axes, but for those that repeat."""
    plan: str
    case: str
    n_atoms: int
    median_ms: float
    low_ms: float
    """The lower quartile of all evaluations."""
    high_ms: float
    n_evaluations: int
    n_members: int
    spread: float | None
    """How far the members' medians lie apart, over their median; None for one member."""
    speed_up: float | None
    """Over the reference: the median of the members' own."""
    force_rmse_mev_per_a: float | None
    """To the reference: the worst of the members."""
    passed: bool
    """False where a member's error was outside the plan's tolerance."""


@dataclass(frozen=True, slots=True)
class Line:
    """One plan along the axis, for a chart: ascending, a point each."""

    name: str
    xs: Sequence[float]
    medians: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]


@dataclass(frozen=True, slots=True)
class Folded:
    """A sweep's results as far as they are there."""

    axes: Sequence[str]
    """Keys of what the rows differ in."""
    pooled: Sequence[str]
    """Keys of the axes along which members were pooled."""
    rows: Sequence[Row]
    columns: Sequence[str]
    cells: Sequence[Sequence[Json]]
    """The same as a table; or the members' own tables one below the other, where nothing was timed."""
    measured_on: Mapping[str, Json]
    """What the members were measured on; where they differ, what each of the few was."""
    n_measured: int
    """Members that have something in the table."""
    n_members: int

    @property
    def axis(self) -> str | None:
        """The key of the axis that a chart goes along: the first with several numbers."""
        for key in self.axes:
            values = {row.point[key] for row in self.rows}
            if len(values) > 1 and all(_is_number(value) for value in values):
                return key
        return None

    @property
    def lines(self) -> Sequence[Line]:
        """What a chart along `axis` shows; nothing where there is none."""
        axis = self.axis
        if axis is None:
            return []
        return _lines(self.rows, axis)

    @property
    def about(self) -> str:
        """What the table is made of: `5 of 6 members, evaluations pooled over seed`."""
        text = f"{self.n_measured} of {self.n_members} members"
        if self.rows and self.pooled:
            text += f", evaluations pooled over {', '.join(map(short, self.pooled))}"
        return text


@dataclass
class _Group:
    """What falls into one row."""

    medians: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    speed_ups: list[float] = field(default_factory=list)
    accuracies: list[Accuracy] = field(default_factory=list)
    n_atoms: int = 0


def fold(sweep: Sweep, runs: Runs) -> Folded:
    """The results of a sweep, as far as its members' events tell them."""
    keys = list(sweep.over)
    told = [(member, runs[member.id]) for member in sweep.members if member.id in runs]
    timed = [(member, run) for member, run in told if run.timings]
    if timed:
        axes = [key for key in keys if key not in _REPEATS]
        rows = _rows(timed, axes)
        columns, cells = _table(rows, axes)
        measured = timed
    else:
        axes, rows = keys, []
        measured = [(member, run) for member, run in told if run.result is not None]
        columns, cells = _tables(measured, axes)
    return Folded(
        axes=axes,
        pooled=[key for key in keys if key not in axes],
        rows=rows,
        columns=columns,
        cells=cells,
        measured_on=_common(run for _, run in measured),
        n_measured=len(measured),
        n_members=len(sweep.members),
    )


def figure_of(run: Run) -> tuple[str, float, float | None] | None:
    """What a member has found in short: the fastest plan on its last system, its ms, its speed-up."""
    if not run.timings:
        return None
    case = list(run.timings)[-1][1]
    medians = {plan: median(series.ys) for (plan, of), series in run.timings.items() if of == case}
    plan = min(medians, key=medians.__getitem__)
    return plan, medians[plan], _ratio(medians.get(_REFERENCE), medians[plan])


def _rows(timed: Sequence[tuple[Job, Run]], axes: Sequence[str]) -> list[Row]:
    groups: defaultdict[tuple[tuple[Value, ...], str, str], _Group] = defaultdict(_Group)
    for member, run in timed:
        at = member.part.at if member.part else {}
        point = tuple(at.get(key) for key in axes)
        medians = {name: median(series.ys) for name, series in run.timings.items()}
        for (plan, case), series in run.timings.items():
            _add(groups[point, plan, case], run, plan, case, series, medians)
    return [
        _row(dict(zip(axes, point, strict=True)), plan, case, group)
        for (point, plan, case), group in groups.items()
    ]


def _add(
    group: _Group, run: Run, plan: str, case: str, series: Series, medians: Mapping[tuple[str, str], float]
) -> None:
    group.values += series.ys
    group.medians.append(medians[plan, case])
    group.n_atoms = run.sizes[case].n_atoms
    ratio = _ratio(medians.get((_REFERENCE, case)), medians[plan, case])
    if ratio is not None:
        group.speed_ups.append(ratio)
    group.accuracies += [
        accuracy
        for (of_plan, _, against), accuracy in run.accuracies.items()
        if of_plan == plan and against == _REFERENCE
    ]


def _row(point: Mapping[str, Value], plan: str, case: str, group: _Group) -> Row:
    values = sorted(group.values)
    middle = median(group.medians)
    errors = [
        accuracy.force_rmse_mev_per_a
        for accuracy in group.accuracies
        if accuracy.force_rmse_mev_per_a is not None
    ]
    several = len(group.medians) > 1 and middle > 0
    return Row(
        point=point,
        plan=plan,
        case=case,
        n_atoms=group.n_atoms,
        median_ms=median(values),
        low_ms=_quantile(values, 0.25),
        high_ms=_quantile(values, 0.75),
        n_evaluations=len(values),
        n_members=len(group.medians),
        spread=(max(group.medians) - min(group.medians)) / middle if several else None,
        speed_up=median(group.speed_ups) if group.speed_ups else None,
        force_rmse_mev_per_a=max(errors, default=None),
        passed=all(accuracy.passed for accuracy in group.accuracies),
    )


def _table(rows: Sequence[Row], axes: Sequence[str]) -> tuple[list[str], list[list[Json]]]:
    columns: list[tuple[str, Callable[[Row], Json]]] = [
        *((short(key), _cell_of(key)) for key in axes),
        ("plan", lambda row: row.plan),
        ("system", lambda row: row.case),
        ("median ms", lambda row: row.median_ms),
        ("speed-up", lambda row: row.speed_up),
        ("meV/Å", lambda row: row.force_rmse_mev_per_a),
        ("q1", lambda row: row.low_ms),
        ("q3", lambda row: row.high_ms),
        ("n", lambda row: row.n_evaluations),
        ("spread %", lambda row: None if row.spread is None else 100 * row.spread),
        ("error", lambda row: "within tolerance" if row.passed else "too large"),
    ]
    # What is the same for all, or said already, is left out.
    said = {
        "system": all(row.case == f"{row.point.get(_SIZES)} atoms" for row in rows),
        "spread %": all(row.spread is None for row in rows),
        "error": all(row.passed for row in rows),
    }
    columns = [column for column in columns if not said.get(column[0])]
    return [name for name, _ in columns], [[cell(row) for _, cell in columns] for row in rows]


def _cell_of(key: str) -> Callable[[Row], Json]:
    def cell(row: Row) -> Json:
        value = row.point[key]
        return shown(value) if isinstance(value, tuple) else value

    return cell


def _tables(measured: Sequence[tuple[Job, Run]], axes: Sequence[str]) -> tuple[list[str], list[list[Json]]]:
    """The members' own tables one below the other; each row begins with the member's values."""
    columns: list[str] = []
    found: list[tuple[list[Json], dict[str, Json]]] = []
    for member, run in measured:
        summary = run.result.summary if run.result else {}
        names, rows = summary.get("columns"), summary.get("rows")
        if not isinstance(names, list) or not isinstance(rows, list):
            names, rows = list(summary), [list(summary.values())]
        columns += [str(name) for name in names if str(name) not in columns]
        at = member.part.at if member.part else {}
        begin: list[Json] = [shown(at[key]) if isinstance(at[key], tuple) else at[key] for key in axes]
        found += [
            (begin, dict(zip(map(str, names), row, strict=False))) for row in rows if isinstance(row, list)
        ]
    header = [*map(short, axes), *columns]
    return header, [[*begin, *(row.get(name) for name in columns)] for begin, row in found]


def _lines(rows: Sequence[Row], axis: str) -> list[Line]:
    """A line for each plan, and for each system and each point of the other axes where there are several."""
    several_cases = any(
        len({row.case for row in rows if row.point == at and row.plan == plan}) > 1
        for at, plan in [(row.point, row.plan) for row in rows]
    )
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


def _common(runs: Iterable[Run]) -> dict[str, Json]:
    """What the runs were measured on; of what is not the same for all, every value."""
    values: defaultdict[str, list[Json]] = defaultdict(list)
    for run in runs:
        told = run.result.summary.get("measured_on") if run.result else None
        for key, value in (told if isinstance(told, Mapping) else run.provenance).items():
            if key not in _VARIES and value not in values[key]:
                values[key].append(value)
    return {key: several[0] if len(several) == 1 else _several(several) for key, several in values.items()}


def _several(values: Sequence[Json]) -> str:
    named = [str(value) for value in values[:_MOST_NAMED] if not isinstance(value, Mapping)]
    if len(named) < len(values):
        named.append(f"{len(values) - len(named)} more")
    return ", ".join(named)


def _ratio(reference: float | None, ms: float) -> float | None:
    return reference / ms if reference is not None and ms > 0 else None


def _quantile(values: Sequence[float], share: float) -> float:
    """Of ascending values, between neighbours where it falls between two."""
    place = share * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
