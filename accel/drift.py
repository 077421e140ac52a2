"""Drift of the total energy in NVE dynamics: what errors that do not cancel add up to.

Forces that are the exact derivative of one energy keep it, but for the fluctuation that every time step
has. Forces that are not (too coarse a table, a rounding with a bias, a jump at the cutoff) heat or
cool the system, slowly and without end. So the energy along a trajectory is fitted by a line, and its
slope compared with that of mace-torch in fp64, started from the same positions and velocities.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms, units

from accel.errors import DynamicsError, StructureError
from accel.measurement import Advanced, Noted
from accel.plan import REFERENCE, Plan, build_evaluator

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from accel.prediction import Evaluator

MOST_BLOCKS = 64
_LEAST_BLOCKS, _MOST_FITTED = 4, 16
_SIGMAS = 2.0
"""How many standard errors count as spread."""
REPORT_EVERY_S = 0.25
"""Progress is told this often; dynamics add up to three reports of their own, so at most 20 a second."""
HOTTEST_K = 1e5
"""A system above this has blown up: nothing that a potential is made for is there."""


@dataclass(frozen=True, slots=True)
class Slope:
    """A straight line fitted to an energy along time."""

    mev_per_atom_per_ps: float
    error_mev_per_atom_per_ps: float
    """Standard error of the slope."""


class DriftFit:
    """Fits a line to a series of any length in bounded memory.

    Values are averaged in blocks of equal length, which doubles whenever there are 64. The energy of a
    step is much like that of the step before, so single steps would make the error of the slope look far
    smaller than it is: the line is fitted to averages over an eighth to a sixteenth of the series, which
    know less of each other the longer the series is.
    """

    def __init__(self, sums: Sequence[float] = (), length: int = 1, count: int = 0) -> None:
        """Begin anew, or where an earlier fit's `sums`, `length` and `count` left off."""
        self.sums = list(sums)
        """Of each block, the last one perhaps not yet full."""
        self.length = length
        """Values in a full block."""
        self.count = count
        """Values taken in."""

    def add(self, value: float) -> None:
        """Take in the next value of the series."""
        if self.count == self.length * len(self.sums):
            if len(self.sums) == MOST_BLOCKS:
                self.sums = [a + b for a, b in zip(self.sums[::2], self.sums[1::2], strict=True)]
                self.length *= 2
            self.sums.append(0.0)
        self.sums[-1] += value
        self.count += 1

    def slope(self, spacing: float) -> tuple[float, float] | None:
        """Slope and its standard error where values are `spacing` apart; None from too few blocks."""
        length, n_full = self.length, self.count // self.length
        if n_full < _LEAST_BLOCKS:
            return None
        means = np.array(self.sums[:n_full]) / length
        while len(means) > _MOST_FITTED:
            length *= 2
            means = means[: len(means) // 2 * 2].reshape(-1, 2).mean(axis=1)
        times = np.arange(len(means)) * length * spacing
        times -= times.mean()
        spread = float(times @ times)
        slope = float(times @ means) / spread
        left = means - means.mean() - slope * times
        return slope, math.sqrt(float(left @ left) / (len(means) - 2) / spread)


@dataclass(frozen=True, slots=True)
class DriftReport:
    """NVE trajectories of one plan, each from another draw of velocities."""

    plan: str
    n_atoms: int
    n_steps: int
    time_step_fs: float
    slopes: tuple[Slope, ...]
    """Trajectory by trajectory."""
    fluctuation_mev_per_atom: float
    """Root mean square of the total energy about its mean, the largest of the trajectories."""
    temperature_k: float
    """Mean over all steps, as ASE counts: 3N degrees of freedom."""
    failure: str = ""
    """Why a trajectory ended early; empty where none did."""

    @property
    def slope(self) -> Slope:
        """The mean, with the larger of two errors: of the fits, and of the scatter between trajectories."""
        if not self.slopes:
            return Slope(math.nan, math.nan)
        values = np.array([one.mev_per_atom_per_ps for one in self.slopes])
        errors = np.array([one.error_mev_per_atom_per_ps for one in self.slopes])
        fitted = math.sqrt(float(np.mean(errors**2)) / len(values))
        scatter = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
        return Slope(float(values.mean()), max(fitted, scatter))


@dataclass(frozen=True, slots=True)
class DriftVerdict:
    """Whether a plan keeps the energy as well as the reference does."""

    plan: str
    no_worse: bool
    excess_mev_per_atom_per_ps: float
    """How much larger the plan's drift is than the reference's, signs apart."""
    spread_mev_per_atom_per_ps: float
    """Two standard errors of that."""


def judge_drift(report: DriftReport, reference: DriftReport) -> DriftVerdict:
    """Compare a plan's drift with the reference's: it may exceed it by two standard errors of the difference.

    A trajectory that ended early, and a drift that is no number, are worse than any.
    """
    found, truth = report.slope, reference.slope
    excess = abs(found.mev_per_atom_per_ps) - abs(truth.mev_per_atom_per_ps)
    spread = _SIGMAS * math.hypot(found.error_mev_per_atom_per_ps, truth.error_mev_per_atom_per_ps)
    return DriftVerdict(report.plan, not report.failure and excess <= spread, excess, spread)


def draw_momenta(atoms: Atoms, temperature_k: float, rng: np.random.Generator) -> None:
    """Give `atoms` momenta of exactly this temperature, the whole at rest.

    Temperatures are those of ASE, which counts 3N degrees of freedom.
    """
    masses = atoms.get_masses()[:, np.newaxis]
    momenta = rng.standard_normal((len(atoms), 3)) * np.sqrt(masses)
    momenta -= masses * momenta.sum(axis=0) / masses.sum()
    atoms.set_momenta(momenta)
    if len(atoms) > 1:
        atoms.set_momenta(momenta * math.sqrt(temperature_k / atoms.get_temperature()))


def nve_drift(
    evaluator: Evaluator,
    atoms: Atoms,
    *,
    n_steps: int,
    time_step_fs: float,
    plan: str = "",
    advance: Callable[[], None] = lambda: None,
) -> DriftReport:
    """Run velocity Verlet from the positions and momenta of `atoms`, which stay as they are.

    Raises:
        DynamicsError: There are too few steps to fit a line to.
        StructureError: The model cannot take the atoms as they are at the start.
    """
    if n_steps + 1 < _LEAST_BLOCKS or not time_step_fs > 0:
        raise DynamicsError(
            f"A drift cannot be fitted to {n_steps} steps of {time_step_fs:g} fs: take at least "
            f"{_LEAST_BLOCKS} steps, of more than 0 fs."
        )
    moving: Atoms = atoms.copy()
    step, masses = time_step_fs * units.fs, moving.get_masses()[:, np.newaxis]
    now = evaluator.evaluate(moving)
    energies: NDArray[np.float64] = np.empty(n_steps + 1)
    temperatures: NDArray[np.float64] = np.empty(n_steps + 1)
    fit, failure, n_done = DriftFit(), "", 0
    for i in range(n_steps + 1):
        if i:
            momenta = moving.get_momenta() + 0.5 * step * now.forces
            moving.positions += step * momenta / masses
            try:
                now = evaluator.evaluate(moving)
            except StructureError as error:
                failure = f"step {i}: {str(error).rstrip('.')}"
                break
            moving.set_momenta(momenta + 0.5 * step * now.forces)
            advance()
        energies[i] = (now.energy_ev + moving.get_kinetic_energy()) / len(moving) * 1e3
        temperatures[i] = moving.get_temperature()
        if not (math.isfinite(energies[i]) and temperatures[i] < HOTTEST_K):
            failure = f"step {i}: the energy is {now.energy_ev:.3g} eV at {temperatures[i]:.3g} K"
            break
        fit.add(energies[i])
        n_done = i + 1
    found = fit.slope(time_step_fs * 1e-3)
    return DriftReport(
        plan=plan,
        n_atoms=len(moving),
        n_steps=n_done - 1,
        time_step_fs=time_step_fs,
        slopes=(Slope(*found),) if found and not failure else (),
        fluctuation_mev_per_atom=float(energies[:n_done].std()),
        temperature_k=float(temperatures[:n_done].mean()),
        failure=failure,
    )


def compare_drift(
    model: nn.Module,
    plans: Sequence[Plan],
    atoms: Atoms,
    *,
    n_steps: int = 1000,
    time_step_fs: float = 0.5,
    temperature_k: float = 300.0,
    starts: int = 3,
    seed: int = 0,
    device: str = "cpu",
    report: Callable[[Advanced | Noted], object] = lambda _: None,
) -> tuple[list[DriftReport], list[DriftVerdict]]:
    """NVE drift of the reference and of each plan, from the same positions and velocities.

    Args:
        model: A mace-torch model in fp64.
        plans: What is judged; the reference is added where it is not among them.
        atoms: Where all trajectories start; its momenta are not looked at.
        n_steps: Of each trajectory.
        time_step_fs: Its time step.
        temperature_k: Of the velocities drawn; potential energy takes its share of them afterwards.
        starts: Draws of velocities, the same for all plans.
        seed: Of the draws.
        device: Where to compute.
        report: Called with `Advanced` and `Noted` as it goes.

    Returns:
        A report for the reference and for each plan, and a verdict for each plan.

    Raises:
        DynamicsError: There is nothing to run.
        AccelError: The model, the plans or the atoms cannot be used.
    """
    if starts < 1:
        raise DynamicsError(f"A drift needs at least one draw of velocities, not {starts}.")
    ordered = [REFERENCE, *(plan for plan in plans if plan != REFERENCE)]
    rng = np.random.default_rng(seed)
    started: list[Atoms] = []
    for _ in range(starts):
        start: Atoms = atoms.copy()
        draw_momenta(start, temperature_k, rng)
        started.append(start)
    told_at, done, total = -math.inf, 0, len(ordered) * starts * n_steps
    reports = []
    for plan in ordered:
        evaluator = build_evaluator(model, plan, device)

        def advance(name: str = plan.name) -> None:
            nonlocal done, told_at
            done += 1
            if done < total and time.monotonic() - told_at < REPORT_EVERY_S:
                return
            told_at = time.monotonic()
            report(Advanced(done, total, f"NVE, {name}"))

        trajectories = [
            nve_drift(
                evaluator,
                start,
                n_steps=n_steps,
                time_step_fs=time_step_fs,
                plan=plan.name,
                advance=advance,
            )
            for start in started
        ]
        reports.append(_joined(trajectories))
        if reports[-1].failure:
            report(Noted(f"{plan.name} did not keep the system together: {reports[-1].failure}."))
    return reports, [judge_drift(one, reports[0]) for one in reports[1:]]


def _joined(trajectories: Sequence[DriftReport]) -> DriftReport:
    first = trajectories[0]
    return DriftReport(
        plan=first.plan,
        n_atoms=first.n_atoms,
        n_steps=min(one.n_steps for one in trajectories),
        time_step_fs=first.time_step_fs,
        slopes=tuple(slope for one in trajectories for slope in one.slopes),
        fluctuation_mev_per_atom=max(one.fluctuation_mev_per_atom for one in trajectories),
        temperature_k=float(np.mean([one.temperature_k for one in trajectories])),
        failure="; ".join(one.failure for one in trajectories if one.failure),
    )
