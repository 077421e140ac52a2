"""The measurements of a sweep's members, pooled into one row for each plan, system and point."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from jobs.protocol import Accuracy
from jobs.sweep import Value
from workbench.model.job import Job
from workbench.model.run import Run
from workbench.model.series import Series

_REFERENCE = "reference"


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


@dataclass
class _Group:
    """What falls into one row."""

    medians: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    speed_ups: list[float] = field(default_factory=list)
    accuracies: list[Accuracy] = field(default_factory=list)
    n_atoms: int = 0


def rows_of(timed: Sequence[tuple[Job, Run]], axes: Sequence[str]) -> list[Row]:
    """What these members have timed, members at the same values of the axes together."""
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


def figure_of(run: Run) -> tuple[str, float, float | None] | None:
    """What a member has found in short: the fastest plan on its last system, its ms, its speed-up."""
    if not run.timings:
        return None
    case = list(run.timings)[-1][1]
    medians = {plan: median(series.ys) for (plan, of), series in run.timings.items() if of == case}
    plan = min(medians, key=medians.__getitem__)
    return plan, medians[plan], _ratio(medians.get(_REFERENCE), medians[plan])


def _ratio(reference: float | None, ms: float) -> float | None:
    return reference / ms if reference is not None and ms > 0 else None


def _quantile(values: Sequence[float], share: float) -> float:
    """Of ascending values, between neighbours where it falls between two."""
    place = share * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)
