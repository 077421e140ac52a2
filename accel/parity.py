"""The gate that every way of evaluating a model passes before it is timed or trusted.

Energy, forces and stress are compared with mace-torch in fp64; then the answers are compared with
themselves, where physics leaves no choice: turned, mirrored, moved and renumbered atoms, forces
against finite differences of the energy, and forces on a pair of atoms pulled through every knot of
a table and through the cutoff. A technique can be near the reference on a few structures and still
fail these, which is what makes a trajectory drift. Where a plan stays a torch module, the gradient of a force
loss is compared too, by which it would be trained; and where asked for, the drift of the energy in NVE.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from accel.accuracy import ErrorStats, ErrorSum
from accel.drift import DriftVerdict, draw_momenta, judge_drift, nve_drift
from accel.errors import ParityError, StructureError
from accel.force_loss import force_loss_error
from accel.plan import ROUNDING_FP64, ErrorBudget
from accel.reference import ReferenceEvaluator

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from torch import nn

    from accel.prediction import Evaluator, Prediction

_MEV = 1000.0
_DRIFT_TEMPERATURE_K = 150.0
_DRIFT_STEP_FS = 0.5
_GRADIENT_OF_FORCES = 100.0
"""How much more a second derivative may lose than a force: what it multiplies is larger by so much."""
_DIRECTIONS = 3
"""Random directions along which a finite difference is taken, a structure."""


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What the gate found; every figure is the largest over the structures."""

    reference: ErrorStats
    """Against mace-torch in fp64."""
    rotation_mev_per_a: float
    """Forces on turned atoms, turned back; improper rotations (inversion) included."""
    translation_mev_per_a: float
    permutation_mev_per_a: float
    energy_invariance_mev_per_atom: float
    """Energy under all of these."""
    finite_difference_mev_per_a: float
    """Forces against central differences of the energy, beyond what the energy's own noise explains."""
    jump_mev_per_a: float
    """Change of a pair's force across a hair's breadth, beyond that of the reference."""
    force_loss: float | None = None
    """Gradient of a force loss by the weights: distance from the reference's, as a part of its length
    (`accel.force_loss`). None where there are no weights to train."""
    drift: DriftVerdict | None = None
    """Of the energy in NVE, beside the reference's; None where it was not asked for."""


def check_parity(
    evaluator: Evaluator,
    model: nn.Module,
    structures: Sequence[Atoms],
    *,
    budget: ErrorBudget = ROUNDING_FP64,
    knots_a: Iterable[float] = (),
    drift_steps: int = 0,
    seed: int = 0,
) -> ParityReport:
    """Put an evaluator through the gate: `measure_parity`, and an error for what is over the budget.

    Args:
        evaluator: What is to be trusted.
        model: The mace-torch model in fp64 that it stands for.
        structures: What it is tried on; stress is compared where they are periodic in all directions.
        budget: How far it may be from the reference, and from itself under symmetries.
        knots_a: Distances at which it passes from one interval of a table to the next, Å.
        drift_steps: Length of the NVE trajectory; 0 for none.
        seed: Of the random rotations and directions.

    Raises:
        ParityError: Something is over the budget; the message names it.
        StructureError: There is no structure to try it on.
    """
    report = measure_parity(evaluator, model, structures, knots_a=knots_a, drift_steps=drift_steps, seed=seed)
    failed = failures(report, budget)
    if failed:
        raise ParityError(
            f"The answers are not those of mace-torch in fp64: {'; '.join(failed)}. "
            "Use another plan for this model, or allow a larger error."
        )
    return report


def measure_parity(
    evaluator: Evaluator,
    model: nn.Module,
    structures: Sequence[Atoms],
    *,
    knots_a: Iterable[float] = (),
    drift_steps: int = 0,
    device: str = "cpu",
    seed: int = 0,
) -> ParityReport:
    """Every figure of the gate, whatever it is; arguments are those of `check_parity`.

    Raises:
        StructureError: There is no structure to try it on.
    """
    if not structures:
        raise StructureError("Parity needs at least one structure to be tried on.")
    rng = np.random.default_rng(seed)
    truth = ReferenceEvaluator(copy.deepcopy(model), device=device)
    errors, worst = ErrorSum(), _Symmetries()
    differences = 0.0
    for atoms in structures:
        answer = evaluator.evaluate(atoms, stress=True)
        errors.add(answer, truth.evaluate(atoms, stress=True))
        worst = worst.joined(_symmetries(evaluator, atoms, answer, rng))
        differences = _largest(differences, _finite_difference(evaluator, atoms, answer, rng))
    return ParityReport(
        reference=errors.stats,
        rotation_mev_per_a=worst.rotation * _MEV,
        translation_mev_per_a=worst.translation * _MEV,
        permutation_mev_per_a=worst.permutation * _MEV,
        energy_invariance_mev_per_atom=worst.energy * _MEV,
        finite_difference_mev_per_a=differences * _MEV,
        jump_mev_per_a=_jump(evaluator, truth, model, knots_a) * _MEV,
        force_loss=_force_loss(evaluator, truth, structures, seed),
        drift=_drift(evaluator, truth, structures, drift_steps, rng) if drift_steps else None,
    )


def _force_loss(
    evaluator: Evaluator, truth: ReferenceEvaluator, structures: Sequence[Atoms], seed: int
) -> float | None:
    if not isinstance(evaluator, ReferenceEvaluator):
        return None
    together = [atoms for atoms in structures if len(atoms) > 1]
    if not together:  # a lone atom has no force
        return None
    return force_loss_error(evaluator.model, truth.model, together, head=evaluator.head, seed=seed)


def _drift(
    evaluator: Evaluator,
    truth: Evaluator,
    structures: Sequence[Atoms],
    n_steps: int,
    rng: np.random.Generator,
) -> DriftVerdict:
    """Both from the largest structure at rest as a whole, with the same velocities."""
    start = max(structures, key=len).copy()
    draw_momenta(start, _DRIFT_TEMPERATURE_K, rng)
    ours, theirs = (
        nve_drift(way, start, n_steps=n_steps, time_step_fs=_DRIFT_STEP_FS) for way in (evaluator, truth)
    )
    return judge_drift(ours, theirs)


def failures(report: ParityReport, budget: ErrorBudget) -> list[str]:
    """What in a report is over the budget, as text; NaN is over every budget."""
    over = budget.exceeded_by(report.reference)
    found = [over] if over else []
    limit = budget.force_max_mev_per_a
    for words, value, allowed in (
        ("force under rotation or inversion", report.rotation_mev_per_a, limit),
        ("force under translation", report.translation_mev_per_a, limit),
        ("force under permutation", report.permutation_mev_per_a, limit),
        ("energy under symmetries", report.energy_invariance_mev_per_atom, budget.energy_mev_per_atom),
        ("force against finite differences", report.finite_difference_mev_per_a, max(limit, _SLACK_MEV)),
        ("jump of the force along a distance", report.jump_mev_per_a, limit),
    ):
        if not value <= allowed:
            found.append(f"{words} {value:.3g} meV, allowed {allowed:g}")
    # The gradient is proportional to the residuals of forces, which are about 1 eV/Å in the loss.
    trained = _GRADIENT_OF_FORCES * budget.force_rmse_mev_per_a / _MEV
    if report.force_loss is not None and not report.force_loss <= trained:
        found.append(f"gradient of a force loss {report.force_loss:.3g} of its length, allowed {trained:g}")
    if report.drift is not None and not report.drift.no_worse:
        found.append(
            f"drift of the energy beyond the reference's {report.drift.excess_mev_per_atom_per_ps:.3g} "
            f"meV/atom/ps, allowed {report.drift.spread_mev_per_atom_per_ps:.3g}"
        )
    return found


_SLACK_MEV = 1e-3
"""What a central difference of fourth order leaves by itself."""


@dataclass(frozen=True, slots=True)
class _Symmetries:
    """Largest deviations, eV/Å and eV/atom."""

    rotation: float = 0.0
    translation: float = 0.0
    permutation: float = 0.0
    energy: float = 0.0

    def joined(self, other: _Symmetries) -> _Symmetries:
        return _Symmetries(
            _largest(self.rotation, other.rotation),
            _largest(self.translation, other.translation),
            _largest(self.permutation, other.permutation),
            _largest(self.energy, other.energy),
        )


def _largest(*values: float) -> float:
    """The maximum, which a NaN survives."""
    return float(np.max(np.array(values)))


def _symmetries(
    evaluator: Evaluator, atoms: Atoms, answer: Prediction, rng: np.random.Generator
) -> _Symmetries:
    """Evaluate the same atoms turned, mirrored, moved and renumbered."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    found = _Symmetries()
    for matrix in (turn, -turn):
        turned = Atoms(atoms.numbers, atoms.positions @ matrix, cell=atoms.cell.array @ matrix, pbc=atoms.pbc)
        # A direction without periodicity may have lost its place: only what is periodic is turned.
        other = evaluator.evaluate(turned)
        force = np.abs(other.forces @ matrix.T - answer.forces).max()
        found = found.joined(_Symmetries(rotation=float(force), energy=_per_atom(other, answer)))
    moved = atoms.copy()
    moved.positions += rng.uniform(-3.0, 3.0, 3)
    other = evaluator.evaluate(moved)
    found = found.joined(
        _Symmetries(
            translation=float(np.abs(other.forces - answer.forces).max()), energy=_per_atom(other, answer)
        )
    )
    order = rng.permutation(len(atoms))
    other = evaluator.evaluate(atoms[order])
    force = np.abs(other.forces - answer.forces[order]).max()
    return found.joined(replace(found, permutation=float(force), energy=_per_atom(other, answer)))


def _per_atom(other: Prediction, answer: Prediction) -> float:
    return abs(other.energy_ev - answer.energy_ev) / len(answer.forces)


def _finite_difference(
    evaluator: Evaluator, atoms: Atoms, answer: Prediction, rng: np.random.Generator
) -> float:
    """Largest disagreement of forces with the slope of the energy along random directions, eV/Å.

    The step is chosen by the energy's own noise, seen when the atoms are moved as a whole; what that
    noise alone can cause in the difference is taken off.
    """
    energies = [answer.energy_ev]
    for _ in range(3):
        moved = atoms.copy()
        moved.positions += rng.uniform(-1.0, 1.0, 3)
        energies.append(evaluator.evaluate(moved).energy_ev)
    noise = float(np.ptp(energies)) + _resolution(energies)
    step = float(np.clip(noise**0.2 * 0.1, 3e-4, 1e-2))
    worst = 0.0
    for _ in range(_DIRECTIONS):
        direction = rng.normal(size=atoms.positions.shape)
        direction /= np.linalg.norm(direction)
        slope = 0.0
        for weight, place in ((-1 / 12, 2), (2 / 3, 1), (-2 / 3, -1), (1 / 12, -2)):
            moved = atoms.copy()
            moved.positions += place * step * direction
            slope += weight * evaluator.evaluate(moved).energy_ev / step
        miss = abs(slope + float((answer.forces * direction).sum()))
        worst = _largest(worst, miss - 4.0 * noise / step)
    return worst


def _resolution(energies: list[float]) -> float:
    """The least that two energies can differ by, eV: a sum in fp32 comes in steps that can hide its noise."""
    largest = max(abs(energy) for energy in energies)
    if all(float(np.float32(energy)) == energy for energy in energies):
        return float(np.spacing(np.float32(largest)))
    return 1e-15 * largest


def _jump(evaluator: Evaluator, truth: Evaluator, model: Any, knots_a: Iterable[float]) -> float:
    """Largest jump of the force on pairs of atoms across a table's knots and the cutoff, eV/Å.

    All pairs stand in one structure, out of each other's reach, so that this is six evaluations. What
    forces change by when the whole is moved is noise, as of positions in fp32, and is taken off.
    """
    cutoff = float(model.r_max)
    knots = np.array([r for r in knots_a if 0.6 <= r < cutoff])
    places = np.concatenate(
        [knots[:: max(1, len(knots) // _PAIRS)], np.linspace(0.8, cutoff - 0.05, 8), [cutoff]]
    )
    numbers = [int(z) for z in model.atomic_numbers]
    breadth = 1e-7
    jumps: list[NDArray[np.float64]] = []
    sides = [_pairs(places + side, numbers, 3.0 * cutoff) for side in (-breadth, breadth)]
    for way in (evaluator, truth):
        below, above = (way.evaluate(pairs).forces for pairs in sides)
        jumps.append(np.abs(above - below))
    moved = sides[1].copy()
    moved.positions += _ASIDE_A
    noise = float(np.abs(evaluator.evaluate(moved).forces - evaluator.evaluate(sides[1]).forces).max())
    return _largest(0.0, float((jumps[0] - jumps[1]).max()) - 4.0 * noise)


_PAIRS = 24
_ASIDE_A = np.array([0.137, -0.211, 0.173])


def _pairs(distances: NDArray[np.float64], numbers: list[int], spacing: float) -> Atoms:
    """Pairs of atoms at these distances, each far from all others."""
    atoms = Atoms()
    for i, distance in enumerate(distances):
        origin = np.array([spacing * (i % 6), spacing * (i // 6), 0.0])
        first, second = numbers[i % len(numbers)], numbers[(i // 2) % len(numbers)]
        atoms += Atoms([first, second], [origin, origin + np.array([0.0, 0.0, distance])])
    return atoms
