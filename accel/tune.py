"""Tune: the fastest plan inside a user's error budget, for one model, these sizes and this machine.

Every candidate goes through the one protocol of `accel.bench`: the gate with its *own* tolerance, which
says whether it computes what it claims to, then timing. The user's budget is judged afterwards, on the
errors that were measured. So a plan that is outside the budget is still on the time–error front, where
it shows what a wider budget would buy, while a plan that is wrong is nowhere.

A candidate that cannot be built here is reported with its reason. The reference is always a candidate,
and inside every budget by definition.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from types import MappingProxyType

import torch
from ase import Atoms

from accel.bench import LABELLED, Bench, build_all
from accel.errors import PlanError
from accel.measurement import BenchmarkResult, Measurement, Quartiles, Report, Unbuilt, ignore
from accel.memory import Memory, peak_memory
from accel.plan import PLANS, REFERENCE, ErrorBudget, Plan
from accel.prediction import Evaluator
from accel.systems import System

COARSE_FP64 = ErrorBudget(1e-4, 1e-3, 1e-2, 1e-3)
"""For double precision on an eighth of the knots: 2e-4 meV/Å rms on the shipped models."""
COARSE_FP32 = ErrorBudget(0.05, 0.5, 5.0, 0.5)
"""For single precision on half of the knots: 0.1 meV/Å rms on the shipped models."""


@dataclass(frozen=True, slots=True)
class Point:
    """One plan on one system, judged by the budget."""

    measurement: Measurement
    over_budget: str
    """What is over the user's budget, on this system or the labelled structures; empty where nothing is."""
    on_front: bool
    """Whether nothing that is as fast on this system has a smaller force error."""
    fastest: bool
    """Whether it is the fastest inside the budget on this system."""

    @property
    def inside(self) -> bool:
        """Whether it passed its own gate and the user's budget."""
        return not self.measurement.failure and not self.over_budget


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Two plans inside the budget, one faster on smaller systems, the other on larger ones."""

    smaller: str
    """The plan to take below `n_atoms`."""
    larger: str
    n_atoms: float
    """Where they take the same time, interpolated in logarithms between two measured sizes."""

    @property
    def sentence(self) -> str:
        """For people."""
        return f"Below about {self.n_atoms:.0f} atoms {self.smaller} is faster, above it {self.larger}."


@dataclass(frozen=True, slots=True)
class TuneResult:
    """The winner, and everything that it was chosen from."""

    budget: ErrorBudget
    winner: Plan
    """The candidate with the largest geometric mean of speed-ups over the systems."""
    points: tuple[Point, ...]
    """By system, and by plan within one."""
    unbuilt: tuple[Unbuilt, ...]
    break_even: tuple[BreakEven, ...]
    memory: Mapping[str, Memory]
    """On the largest system, by the plan's name; empty where it was not asked for."""
    benchmark: BenchmarkResult

    def tuned_plan(self, tuned_on: Mapping[str, str]) -> Plan:
        """The winner as a plan of its own: the user's budget is its tolerance."""
        name = f"tuned ({self.winner.name})"
        return replace(self.winner, name=name, tolerance=self.budget, tuned_on=tuned_on)


def run_tuning(
    model: torch.nn.Module,
    systems: Sequence[System],
    budget: ErrorBudget,
    labelled: Sequence[Atoms] = (),
    *,
    plans: Sequence[Plan] = (),
    skip: Sequence[str] = (),
    repeats: int = 20,
    seed: int = 0,
    stress: bool = False,
    memory: bool = False,
    device: str = "cpu",
    report: Report = ignore,
) -> TuneResult:
    """Measure the candidates and choose.

    Args:
        model: A mace-torch model in fp64.
        systems: What speed is wanted for.
        budget: How far the answer may be from mace-torch in fp64.
        labelled: What the error is measured on besides.
        plans: The candidates; every plan and its variants where there are none.
        skip: Techniques to leave out, and to list as left out; the reference stays.
        repeats: Timed rounds a system.
        seed: Of the displacements.
        stress: Whether stress is computed and judged.
        memory: Whether the peak memory of each is measured, in a process of its own.
        device: Where to compute.
        report: Called as the benchmark goes on.

    Raises:
        AccelError: A structure cannot be taken, an argument is wrong, or the reference itself failed.
    """
    if not systems:
        raise PlanError("There is nothing to tune for: name at least one system.")
    chosen_from = list(plans) or candidates(torch.get_num_threads())
    if REFERENCE not in chosen_from:
        chosen_from.insert(0, REFERENCE)
    built, unbuilt = _build(model, chosen_from, skip, device, report)
    bench = Bench(built, repeats=repeats, seed=seed, stress=stress, device=device, report=report)
    result = bench.run(systems, labelled)
    points = judge(result, budget)
    largest = max(systems, key=lambda system: system.n_atoms)
    timed = [
        one.measurement.plan for one in points if one.measurement.system is largest and one.measurement.ms
    ]
    return TuneResult(
        budget=budget,
        winner=winner(points),
        points=points,
        unbuilt=unbuilt,
        break_even=break_even(points),
        memory=peak_memory(model, timed, largest.atoms, device=device, report=report) if memory else {},
        benchmark=result,
    )


def candidates(threads: int) -> list[Plan]:
    """Every plan that there is, and the variants of compiled kernels that may pay with so many threads."""
    exact, fast = PLANS["exact"], PLANS["fast"]
    variants = [
        replace(exact, name="exact-coarse", options={"radial_error": 1e-6}, tolerance=COARSE_FP64),
        replace(fast, name="fast-fine", options={"radial_error": 1e-6}),
        replace(fast, name="fast-coarse", options={"radial_error": 1e-3}, tolerance=COARSE_FP32),
    ]
    # Threads wait for each other: on a small system fewer of them may be faster.
    for fewer in sorted({1, threads // 2} - {0, threads}):
        words = f"{fewer}-thread{'s' if fewer > 1 else ''}"
        variants += [
            replace(one, name=f"{one.name}-{words}", options={"threads": fewer}) for one in (exact, fast)
        ]
    return [plan for plan in PLANS.values() if plan.technique != "auto"] + variants


def _build(
    model: torch.nn.Module, plans: Sequence[Plan], skip: Sequence[str], device: str, report: Report
) -> tuple[list[tuple[Plan, Evaluator]], tuple[Unbuilt, ...]]:
    names, techniques = [plan.name for plan in plans], {plan.technique for plan in PLANS.values()}
    for technique in skip:
        if technique not in techniques:
            known = ", ".join(sorted(techniques))
            raise PlanError(f"There is no technique {technique!r} to leave out; there are: {known}.")
    left_out = []
    for plan in plans:
        if plan.technique == "auto":
            raise PlanError(f"The plan {plan.name} is what tuning finds: it cannot be a candidate.")
        if names.count(plan.name) > 1:
            raise PlanError(f"The plan {plan.name} is there {names.count(plan.name)} times: name each once.")
        if plan.technique in skip and plan != REFERENCE:
            left_out.append(Unbuilt(plan, f"the technique {plan.technique} was left out on request."))
    gone = {one.plan.name for one in left_out}
    built, unbuilt = build_all(model, [plan for plan in plans if plan.name not in gone], device, report)
    return built, (*left_out, *unbuilt)


def judge(result: BenchmarkResult, budget: ErrorBudget) -> tuple[Point, ...]:
    """Every measurement beside the budget and the others on the same system."""
    on_labelled = {
        one.plan: budget.exceeded_by(one.error)
        for one in result.errors
        if one.against == "reference" and one.case == LABELLED
    }
    points: list[Point] = []
    for system in dict.fromkeys(one.system.name for one in result.measurements):
        here = [one for one in result.measurements if one.system.name == system]
        over = {one.plan.name: _over(one, budget, on_labelled.get(one.plan.name, "")) for one in here}
        timed = [one for one in here if one.speedup]
        front = {
            one.plan.name
            for one in timed
            if not any(_dominates(other, one) for other in timed if other is not one)
        }
        fastest = max((one for one in timed if not over[one.plan.name]), key=_speedup).plan.name
        points += [
            Point(one, over[one.plan.name], one.plan.name in front, one.plan.name == fastest) for one in here
        ]
    return tuple(points)


def _over(one: Measurement, budget: ErrorBudget, on_labelled: str) -> str:
    if one.plan == REFERENCE:
        return ""
    return (budget.exceeded_by(one.error) if one.error else "") or on_labelled


def _dominates(one: Measurement, other: Measurement) -> bool:
    """Whether `one` is at least as fast and as right as `other`, and better in one of the two."""
    assert one.error is not None
    assert other.error is not None
    mine = (-_speedup(one), one.error.force_rmse_mev_per_a)
    its = (-_speedup(other), other.error.force_rmse_mev_per_a)
    return mine[0] <= its[0] and mine[1] <= its[1] and mine != its


def _speedup(one: Measurement) -> float:
    """Over the reference, pair by pair: what drift of the machine's speed does not touch."""
    assert one.speedup is not None
    return one.speedup.median


def winner(points: Sequence[Point]) -> Plan:
    """The plan inside the budget on every system with the largest geometric mean of speed-ups."""
    by_plan: dict[str, list[Point]] = {}
    for point in points:
        by_plan.setdefault(point.measurement.plan.name, []).append(point)
    inside = [its for its in by_plan.values() if all(point.inside for point in its)]
    best = max(inside, key=lambda its: sum(math.log(_speedup(point.measurement)) for point in its))
    return best[0].measurement.plan


def time_ratio(one: Measurement, other: Measurement) -> Quartiles:
    """The time of `one` over that of `other` on the same system, round by round."""
    return Quartiles.of([mine / its for mine, its in zip(one.times_ms, other.times_ms, strict=True)])


def break_even(points: Sequence[Point]) -> tuple[BreakEven, ...]:
    """Where one plan inside the budget overtakes another.

    Two plans are compared round by round. A size at which the middle half of those ratios straddles 1 is
    a tie and decides nothing.
    """
    by_plan: dict[str, dict[int, Measurement]] = {}
    for point in points:
        if point.inside:
            one = point.measurement
            by_plan.setdefault(one.plan.name, {})[one.system.n_atoms] = one
    found = []
    for (a, of_a), (b, of_b) in combinations(by_plan.items(), 2):
        decided = []
        for n_atoms in sorted(of_a.keys() & of_b.keys()):
            ratio = time_ratio(of_a[n_atoms], of_b[n_atoms])
            if ratio.high < 1 or ratio.low > 1:
                decided.append((math.log(n_atoms), math.log(ratio.median)))
        for (x, y), (x_next, y_next) in pairwise(decided):
            if (y < 0) != (y_next < 0):
                crossing = math.exp(x - y * (x_next - x) / (y_next - y))
                found.append(BreakEven(*((a, b) if y < 0 else (b, a)), crossing))
    return tuple(found)


_UNITS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "force": {"meV/A": 1.0, "meV/Å": 1.0, "eV/A": 1e3, "eV/Å": 1e3},
        "energy": {"meV/atom": 1.0, "eV/atom": 1e3},
        "stress": {"meV/A3": 1.0, "meV/Å³": 1.0, "meV/A^3": 1.0, "eV/A3": 1e3, "eV/Å³": 1e3, "eV/A^3": 1e3},
    }
)


def parse_limit(text: str, quantity: str) -> float:
    """A limit such as `0.1meV/A`, in meV, Å and atoms. The unit has to be there.

    Args:
        text: A number and a unit.
        quantity: `force`, `energy` or `stress`.

    Raises:
        PlanError: It is no positive number with a unit of that quantity.
    """
    units = _UNITS[quantity]
    match = re.fullmatch(r"\s*([0-9.]+(?:[eE][-+]?[0-9]+)?)\s*(\S*)\s*", text)
    unit = match[2] if match else ""
    try:
        value = float(match[1]) * units[unit] if match else math.nan
    except (KeyError, ValueError):
        value = math.nan
    if not 0 < value < math.inf:
        example = next(iter(units))
        raise PlanError(
            f"{text!r} is no limit of {quantity}: write a number over 0 and its unit ({', '.join(units)}), "
            f"such as 0.1{example}."
        )
    return value


def make_budget(force: str, energy: str, *, force_max: str = "", stress: str = "") -> ErrorBudget:
    """The budget that texts with units say.

    The largest force component may be ten times as far as their root mean square, and stress as many
    meV/Å³ as forces are meV/Å, where nothing else is said.

    Raises:
        PlanError: A text cannot be understood.
    """
    force_rmse = parse_limit(force, "force")
    return ErrorBudget(
        energy_mev_per_atom=parse_limit(energy, "energy"),
        force_rmse_mev_per_a=force_rmse,
        force_max_mev_per_a=parse_limit(force_max, "force") if force_max else 10 * force_rmse,
        stress_rmse_mev_per_a3=parse_limit(stress, "stress") if stress else force_rmse,
    )
