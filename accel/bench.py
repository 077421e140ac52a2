"""Bench: how fast several plans compute one model, and how far their answers are from it.

The protocol, which every number of it can be read by:

1. *Gate.* A plan is judged on the labelled structures and on every system that it is to be timed on,
   against mace-torch in fp64 and within its own tolerance. What fails is reported with its error and is
   not timed. The gate goes on through the timing: every timed answer is compared too.
2. *First call* on a system (compilation included) apart from everything else; it is the gate's.
3. *Warm-up*, apart, until the best of three evaluations in a row is less than 5 % faster than the best
   before them, and at most 20 evaluations; who has not settled by then is marked.
4. *Rounds.* Each round moves the atoms anew (a seeded Gaussian of 0.01 Å about the structure), and every
   plan computes those same positions, in an order that rotates from round to round. So drift of the
   machine's speed falls on all alike, and ratios are taken pair by pair within a round.
5. *What is timed* is all that it takes to get from positions to fp64 numbers on the host: neighbour list,
   graph, transfer, energy, forces and where asked for stress. A plan that keeps its neighbour list while
   atoms move less than a skin gains by that here, as it does in MD. What mace-torch's neighbour list and
   graph take of that is measured apart (`accel.systems`).

Everything here is values in, values out; whoever wants to watch passes `report`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from ase import Atoms

from accel.accuracy import ErrorSum, compare
from accel.data import labels
from accel.errors import AccelError, ParityError, PlanError
from accel.measurement import (
    Advanced,
    BenchmarkResult,
    Compared,
    Measurement,
    Noted,
    Report,
    Timed,
    Unbuilt,
    ignore,
)
from accel.plan import REFERENCE, Plan, build_evaluator, resolve_plan
from accel.prediction import Evaluator, Prediction
from accel.systems import System

SHAKE_A = 0.01
"""Standard deviation of the displacements in each round."""
LEAST_WARM_UPS = 4
MOST_WARM_UPS = 20
SETTLED = 0.95
"""Warm when three evaluations in a row bring no time below this part of the best before them."""
LABELLED = "labelled structures"
"""The case under which errors on them are reported."""
GATE_ROUNDS = 2
_COMPILED = ("evaluator", "compile")
"""Techniques whose first call may take long."""
_FIXED_WORK = 40
"""What an evaluation costs whatever the size, in atoms: only for how progress is counted."""


def run_benchmark(
    model: torch.nn.Module,
    plans: Sequence[Plan],
    systems: Sequence[System],
    labelled: Sequence[Atoms] = (),
    *,
    repeats: int = 20,
    seed: int = 0,
    stress: bool = False,
    device: str = "cpu",
    lenient: bool = False,
    report: Report = ignore,
) -> BenchmarkResult:
    """Measure `plans` on `systems`, and their errors there and on the `labelled` structures.

    Args:
        model: A mace-torch model in fp64.
        plans: In the order in which they are reported; the reference is put first where it is missing.
        systems: What is timed.
        labelled: What the error is measured on besides; may be empty.
        repeats: Timed rounds a system.
        seed: Of the displacements.
        stress: Whether stress is computed and judged, where a system is periodic.
        device: Where to compute.
        lenient: Whether a plan that cannot be built is listed with its reason, and the others measured.
        report: Called with every evaluation, comparison and advance as it happens.

    Raises:
        AccelError: A plan cannot be built, a structure cannot be taken, or the reference itself failed.
    """
    plans = [resolve_plan(model, plan, device) for plan in plans]
    if REFERENCE not in plans:
        plans = [REFERENCE, *plans]
    names = [plan.name for plan in plans]
    for name in names:
        if names.count(name) > 1:
            raise PlanError(
                f"The plan {name} is there {names.count(name)} times: give each a name of its own."
            )
    if lenient:
        evaluators, unbuilt = build_all(model, plans, device, report)
    else:
        evaluators, unbuilt = [(plan, build_evaluator(model, plan, device)) for plan in plans], []
    bench = Bench(evaluators, repeats=repeats, seed=seed, stress=stress, device=device, report=report)
    return replace(bench.run(systems, labelled), unbuilt=tuple(unbuilt))


def build_all(
    model: torch.nn.Module, plans: Sequence[Plan], device: str, report: Report
) -> tuple[list[tuple[Plan, Evaluator]], list[Unbuilt]]:
    """What of `plans` can be built here, and why the rest cannot.

    Raises:
        AccelError: The reference cannot be built.
    """
    built: list[tuple[Plan, Evaluator]] = []
    unbuilt = []
    for plan in plans:
        try:
            built.append((plan, build_evaluator(model, plan, device)))
        except AccelError as error:
            if plan == REFERENCE:
                raise
            unbuilt.append(Unbuilt(plan, str(error)))
            report(Noted(f"{plan.name} cannot be built: {error}"))
    return built, unbuilt


@dataclass
class _Lane:
    """One plan on one system, while it is measured."""

    plan: Plan
    evaluator: Evaluator
    failure: str = ""
    errors: ErrorSum = field(default_factory=ErrorSum)
    first_ms: float | None = None
    warm_up_ms: list[float] = field(default_factory=list)
    settled: bool = True
    times_ms: list[float] = field(default_factory=list)
    speedups: list[float] = field(default_factory=list)


class Bench:
    """Carries one benchmark from its gate to its last round."""

    def __init__(
        self,
        evaluators: Sequence[tuple[Plan, Evaluator]],
        *,
        repeats: int,
        seed: int = 0,
        stress: bool = False,
        device: str = "cpu",
        report: Report = ignore,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Take over what to measure; one of the plans has to be the reference.

        Raises:
            PlanError: There is nothing to repeat.
        """
        if repeats < 1:
            raise PlanError(f"A benchmark needs at least one timed round, not {repeats}.")
        self._evaluators = evaluators
        self._reference = next(evaluator for plan, evaluator in evaluators if plan == REFERENCE)
        self._repeats = repeats
        self._shake = np.random.default_rng(seed)
        self._stress = stress
        self._device = torch.device(device)
        self._report = report
        self._clock = clock
        self._done = self._total = 0
        self._called: set[str] = set()
        """Plans that have computed something."""

    def run(self, systems: Sequence[System], labelled: Sequence[Atoms] = ()) -> BenchmarkResult:
        """Everything, in order."""
        rounds = self._repeats + GATE_ROUNDS + LEAST_WARM_UPS
        self._total = sum(_work(atoms) for atoms in labelled)
        self._total += sum(rounds * _work(system.atoms) for system in systems)
        tracks = [(system, [_Lane(*one) for one in self._evaluators]) for system in systems]
        for system, lanes in tracks:
            self._gate(system, lanes)
        errors, failures = self._labelled(labelled)
        if REFERENCE.name in failures:
            raise ParityError(
                f"The reference itself fails {failures[REFERENCE.name]}; nothing can be compared with it: "
                "look for structures with atoms in one place."
            )
        measurements = []
        for system, lanes in tracks:
            for lane in lanes:
                lane.failure = lane.failure or failures.get(lane.plan.name, "")
            self._time(system, lanes)
            measurements += [_measurement(system, lane) for lane in lanes]
        return BenchmarkResult(tuple(measurements), tuple(errors))

    def _gate(self, system: System, lanes: Sequence[_Lane]) -> None:
        """Judge each plan on moved atoms; its first call, which may compile, is timed."""
        for index in range(GATE_ROUNDS):
            atoms = self._moved(system.atoms)
            truth = self._answer(self._reference, atoms)
            for lane in lanes:
                if lane.failure:
                    continue
                if index == 0:
                    may = lane.plan.technique in _COMPILED and lane.plan.name not in self._called
                    long = ": compiles, the first time for minutes" if may else ""
                    self._called.add(lane.plan.name)
                    self._advance(0, f"first call of {lane.plan.name} on {system.name}{long}")
                answer, ms = self._timed(lane, atoms)
                if answer is not None and index == 0:
                    lane.first_ms = ms
                    self._report(Timed(lane.plan.name, system, "first", 0, ms))
                self._judge(lane, answer, truth)
            self._advance(_work(system.atoms), f"gate on {system.name}")

    def _labelled(self, structures: Sequence[Atoms]) -> tuple[list[Compared], dict[str, str]]:
        """Errors against the reference and the labels; why plans failed, by name."""
        against_reference = {plan.name: ErrorSum() for plan, _ in self._evaluators}
        against_labels = {plan.name: ErrorSum() for plan, _ in self._evaluators}
        failures: dict[str, str] = {}
        for atoms in structures:
            truth, label = self._answer(self._reference, atoms), labels(atoms)
            for plan, evaluator in self._evaluators:
                if plan.name in failures:
                    continue
                try:
                    answer = truth if evaluator is self._reference else self._answer(evaluator, atoms)
                    against_reference[plan.name].add(answer, truth)
                    if label is not None:
                        against_labels[plan.name].add(answer, replace(label, stress=None))
                except (ParityError, PlanError) as error:
                    failures[plan.name] = f"on {atoms.symbols}, {_clause(error)}"
            self._advance(_work(atoms), f"errors on {LABELLED}")
        compared = []
        for plan, _ in self._evaluators:
            if plan.name in failures or not structures:
                continue
            stats = against_reference[plan.name].stats
            exceeded = plan.tolerance.exceeded_by(stats)
            compared.append(Compared(plan.name, "reference", LABELLED, stats, exceeded))
            if exceeded:
                failures[plan.name] = f"on {LABELLED}, {exceeded}"
            if against_labels[plan.name].n_structures:
                compared.append(Compared(plan.name, "labels", LABELLED, against_labels[plan.name].stats))
        for one in compared:
            self._report(one)
        return compared, failures

    def _time(self, system: System, lanes: Sequence[_Lane]) -> None:
        """Warm-up and rounds of the plans that have passed."""
        for lane in lanes:
            if not lane.failure:
                self._warm_up(system, lane)
        self._advance(LEAST_WARM_UPS * _work(system.atoms), f"warm-up on {system.name}")
        for index in range(self._repeats):
            self._round(system, [lane for lane in lanes if not lane.failure], index)
            self._advance(_work(system.atoms), f"timing {system.name}")
        for lane in lanes:
            if lane.errors.n_structures:
                stats = lane.errors.stats
                self._report(Compared(lane.plan.name, "reference", system.name, stats, lane.failure))
            if lane.failure:
                self._report(Noted(f"{lane.plan.name} is not timed on {system.name}: {lane.failure}."))

    def _warm_up(self, system: System, lane: _Lane) -> None:
        """Evaluate until it does not get faster any more."""
        times = lane.warm_up_ms
        while not settled(times):
            if len(times) == MOST_WARM_UPS:
                lane.settled = False
                still = f"still got faster after {MOST_WARM_UPS} warm-up evaluations"
                self._report(Noted(f"{lane.plan.name} on {system.name} {still}."))
                return
            answer, ms = self._timed(lane, self._moved(system.atoms))
            if answer is None:
                return
            times.append(ms)
            self._report(Timed(lane.plan.name, system, "warm-up", len(times) - 1, ms))

    def _round(self, system: System, lanes: Sequence[_Lane], index: int) -> None:
        """Every plan on the same positions, in an order that rotates."""
        atoms = self._moved(system.atoms)
        turn = index % len(lanes)
        answers: dict[str, tuple[Prediction | None, float]] = {}
        for lane in (*lanes[turn:], *lanes[:turn]):
            answers[lane.plan.name] = self._timed(lane, atoms)
        truth, reference_ms = answers[REFERENCE.name]
        if truth is None:
            raise ParityError(f"The reference gave no answer on {system.name}, so nothing can be compared.")
        for lane in lanes:
            answer, ms = answers[lane.plan.name]
            self._judge(lane, answer, truth)
            if not lane.failure:
                lane.times_ms.append(ms)
                lane.speedups.append(reference_ms / ms)
                self._report(Timed(lane.plan.name, system, "timed", index, ms))

    def _timed(self, lane: _Lane, atoms: Atoms) -> tuple[Prediction | None, float]:
        """One evaluation and its time in ms; no answer where the plan turned out not to work."""
        # A copy, because a plan that kept something on the atoms would help the ones after it.
        atoms = atoms.copy()
        self._synchronise()
        began = self._clock()
        try:
            answer = self._answer(lane.evaluator, atoms)
        except (ParityError, PlanError) as error:
            lane.failure = _clause(error)
            return None, 0.0
        self._synchronise()
        return answer, (self._clock() - began) * 1e3

    def _answer(self, evaluator: Evaluator, atoms: Atoms) -> Prediction:
        try:
            return evaluator.evaluate(atoms, stress=self._stress)
        except torch.cuda.OutOfMemoryError as error:
            raise PlanError(
                f"{atoms.symbols} does not fit into the memory of {self._device}: take a smaller system, or "
                "a larger GPU."
            ) from error

    def _judge(self, lane: _Lane, answer: Prediction | None, truth: Prediction) -> None:
        """Take the answer's error in, and drop the lane where it is outside the plan's tolerance."""
        if answer is None:
            return
        try:
            lane.errors.add(answer, truth)
            lane.failure = lane.plan.tolerance.exceeded_by(compare(answer, truth))
        except ParityError as error:
            lane.failure = _clause(error)
        if lane.failure and lane.plan == REFERENCE:
            raise ParityError(f"The reference does not agree with itself: {lane.failure}.")

    def _moved(self, atoms: Atoms) -> Atoms:
        moved: Atoms = atoms.copy()
        moved.positions += self._shake.normal(scale=SHAKE_A, size=moved.positions.shape)
        return moved

    def _synchronise(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _advance(self, work: int, stage: str) -> None:
        self._done += work
        self._report(Advanced(self._done, self._total, stage))


def settled(times_ms: Sequence[float]) -> bool:
    """Whether the best of the last three evaluations is less than 5 % faster than the best before them."""
    return len(times_ms) >= LEAST_WARM_UPS and min(times_ms[-3:]) >= SETTLED * min(times_ms[:-3])


def _clause(error: Exception) -> str:
    """An error's sentence, to go on after."""
    return str(error).rstrip(".")


def _work(atoms: Atoms) -> int:
    return len(atoms) + _FIXED_WORK


def _measurement(system: System, lane: _Lane) -> Measurement:
    failed = bool(lane.failure)
    return Measurement(
        plan=lane.plan,
        system=system,
        failure=lane.failure,
        error=lane.errors.stats if lane.errors.n_structures else None,
        first_ms=lane.first_ms,
        warm_up_ms=tuple(lane.warm_up_ms),
        settled=lane.settled,
        times_ms=() if failed else tuple(lane.times_ms),
        speedups=() if failed else tuple(lane.speedups),
    )
