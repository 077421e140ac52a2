"""Bench: how fast several plans compute one model, and how far their answers are from it.

The protocol, which every number of it can be read by:

1. *Gate.* A plan is judged on the labelled structures and on every system that it is to be timed on,
   against mace-torch in fp64 and within its own tolerance. What fails is reported with its error and is
   not timed. The gate goes on through the timing: every timed answer is compared too.
2. *First call* on a system (compilation included) apart from everything else.
3. *Warm-up*, apart, until the best of three evaluations in a row is less than 5 % faster than the best
   before them, and at most 20 evaluations; who has not settled by then is marked.
4. *Rounds.* Each round moves the atoms anew (a seeded Gaussian of 0.01 Å about the structure), and every
   plan computes those same positions, in an order that rotates from round to round. So drift of the
   machine's speed falls on all alike, and ratios are taken pair by pair within a round.
5. *What is timed* is all that it takes to get from positions to fp64 numbers on the host: neighbour list,
   graph, transfer, energy, forces and where asked for stress. What mace-torch's neighbour list and graph
   take of that is measured apart (`System.graph_ms`).

Everything here is values in, values out; whoever wants to watch passes `report`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from ase import Atoms

from accel.accuracy import ErrorSum, compare
from accel.data import labels, sized_system
from accel.errors import ParityError, PlanError
from accel.measurement import (
    Advanced,
    BenchmarkResult,
    Compared,
    Measurement,
    Noted,
    Report,
    System,
    Timed,
    ignore,
)
from accel.plan import REFERENCE, Plan, build_evaluator
from accel.prediction import Evaluator, Prediction
from accel.reference import to_graph

SHAKE_A = 0.01
"""Standard deviation of the displacements in each round."""
LEAST_WARM_UPS = 4
MOST_WARM_UPS = 20
SETTLED = 0.95
"""Warm when three evaluations in a row bring no time below this part of the best before them."""
LABELLED = "labelled structures"
"""The case under which errors on them are reported."""
_GATE_ROUNDS = 2
_GRAPH_REPEATS = 5
_FIXED_WORK = 40
"""What an evaluation costs whatever the size, in atoms: only for how progress is counted."""


def make_systems(model: torch.nn.Module, base: Sequence[Atoms], sizes: Sequence[int]) -> list[System]:
    """Systems of about these sizes made from `base`; its first structure as it is where there are none.

    Raises:
        StructureError: The model cannot take them.
    """
    candidates = [sized_system(base, size) for size in sizes] or [base[0]]
    by_size = {len(atoms): atoms for atoms in candidates}
    systems = []
    for n_atoms, atoms in sorted(by_size.items()):
        times = []
        for _ in range(_GRAPH_REPEATS):
            began = time.perf_counter()
            graph = to_graph(atoms, model)
            times.append((time.perf_counter() - began) * 1e3)
        n_edges = int(graph["edge_index"].shape[1])
        systems.append(System(f"{n_atoms} atoms", atoms, n_edges, statistics.median(times)))
    return systems


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
        report: Called with every evaluation, comparison and advance as it happens.

    Raises:
        AccelError: A plan cannot be built, a structure cannot be taken, or the reference itself failed.
    """
    if REFERENCE not in plans:
        plans = [REFERENCE, *plans]
    names = [plan.name for plan in plans]
    for name in names:
        if names.count(name) > 1:
            raise PlanError(
                f"The plan {name} is there {names.count(name)} times: give each a name of its own."
            )
    evaluators = [(plan, build_evaluator(model, plan, device)) for plan in plans]
    bench = Bench(evaluators, repeats=repeats, seed=seed, stress=stress, device=device, report=report)
    return bench.run(systems, labelled)


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
        self._failures: dict[str, str] = {}
        self._repeats = repeats
        self._shake = np.random.default_rng(seed)
        self._stress = stress
        self._device = torch.device(device)
        self._report = report
        self._clock = clock
        self._done = self._total = 0

    def run(self, systems: Sequence[System], labelled: Sequence[Atoms] = ()) -> BenchmarkResult:
        """Everything, in order."""
        rounds = self._repeats + _GATE_ROUNDS + LEAST_WARM_UPS
        self._total = sum(_work(atoms) for atoms in labelled)
        self._total += sum(rounds * _work(system.atoms) for system in systems)
        errors = self._labelled(labelled) if labelled else []
        measurements = [one for system in systems for one in self._system(system)]
        return BenchmarkResult(tuple(measurements), tuple(errors))

    # -- on the labelled structures --------------------------------------------------------------

    def _labelled(self, structures: Sequence[Atoms]) -> list[Compared]:
        """Errors against the reference and the labels; who fails here is not timed."""
        against_reference = {plan.name: ErrorSum() for plan, _ in self._evaluators}
        against_labels = {plan.name: ErrorSum() for plan, _ in self._evaluators}
        n_labels = 0
        for atoms in structures:
            truth, label = self._reference.evaluate(atoms, stress=self._stress), labels(atoms)
            n_labels += label is not None
            for plan, evaluator in self._evaluators:
                if plan.name in self._failures:
                    continue
                try:
                    answer = (
                        truth
                        if evaluator is self._reference
                        else evaluator.evaluate(atoms, stress=self._stress)
                    )
                    against_reference[plan.name].add(answer, truth)
                    if label is not None:
                        against_labels[plan.name].add(answer, replace(label, stress=None))
                except (ParityError, PlanError) as error:
                    self._failures[plan.name] = f"On {atoms.symbols}: {error}"
            self._advance(_work(atoms), f"errors on {LABELLED}")
        compared = []
        for plan, _ in self._evaluators:
            if plan.name in self._failures:
                continue
            stats = against_reference[plan.name].stats
            self._failures[plan.name] = exceeded = plan.tolerance.exceeded_by(stats)
            compared.append(Compared(plan.name, "reference", LABELLED, stats, exceeded))
            if n_labels:
                compared.append(Compared(plan.name, "labels", LABELLED, against_labels[plan.name].stats))
        for one in compared:
            self._report(one)
        return compared

    # -- on one system ---------------------------------------------------------------------------

    def _system(self, system: System) -> list[Measurement]:
        """Every plan on one system: gate, first call, warm-up, rounds."""
        lanes = [
            _Lane(plan, evaluator, self._failures.get(plan.name, "")) for plan, evaluator in self._evaluators
        ]
        work = _work(system.atoms)
        for index in range(_GATE_ROUNDS):
            self._gate(system, lanes, first=index == 0)
            self._advance(work, f"gate on {system.name}")
        for lane in lanes:
            if not lane.failure:
                self._warm_up(system, lane)
        self._advance(LEAST_WARM_UPS * work, f"warm-up on {system.name}")
        for index in range(self._repeats):
            self._round(system, [lane for lane in lanes if not lane.failure], index)
            self._advance(work, f"timing {system.name}")
        for lane in lanes:
            if lane.errors.n_structures:
                stats = lane.errors.stats
                self._report(Compared(lane.plan.name, "reference", system.name, stats, lane.failure))
            if lane.failure:
                self._report(Noted(f"{lane.plan.name} is not timed on {system.name}: {lane.failure}."))
        return [_measurement(system, lane) for lane in lanes]

    def _gate(self, system: System, lanes: Sequence[_Lane], *, first: bool) -> None:
        """Judge each plan on moved atoms; `first` is the first call, which is timed."""
        atoms = self._moved(system.atoms)
        truth = self._reference.evaluate(atoms, stress=self._stress)
        for lane in lanes:
            if lane.failure:
                continue
            answer, ms = self._timed(lane, atoms)
            if first:
                lane.first_ms = ms
                self._report(Timed(lane.plan.name, system, "first", 0, ms))
            self._judge(lane, answer, truth)

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
            answer = lane.evaluator.evaluate(atoms, stress=self._stress)
        except (ParityError, PlanError) as error:
            lane.failure = str(error)
            return None, 0.0
        self._synchronise()
        return answer, (self._clock() - began) * 1e3

    def _judge(self, lane: _Lane, answer: Prediction | None, truth: Prediction) -> None:
        """Take the answer's error in, and drop the lane where it is outside the plan's tolerance."""
        if answer is None:
            return
        try:
            error = compare(answer, truth)
            lane.errors.add(answer, truth)
        except ParityError as error_:
            lane.failure = str(error_)
            return
        lane.failure = lane.plan.tolerance.exceeded_by(error)

    # -- inside ----------------------------------------------------------------------------------

    def _moved(self, atoms: Atoms) -> Atoms:
        moved = atoms.copy()
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
