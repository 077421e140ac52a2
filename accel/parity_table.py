"""The gate over many plans, as a table: what each computes differently, and why it may not be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accel.errors import AccelError, StructureError
from accel.parity import ParityReport, failures, measure_parity
from accel.plan import Plan, build_evaluator
from accel.table import Cell, Table, plain

if TYPE_CHECKING:
    from ase import Atoms
    from torch import nn

PARITY_COLUMNS = (
    "plan", "dtype", "ΔE meV/atom", "ΔF rms meV/Å", "ΔF max meV/Å", "Δstress meV/Å³", "rotation meV/Å",
    "translation meV/Å", "permutation meV/Å", "ΔE symmetries meV/atom", "finite difference meV/Å",
    "jump meV/Å", "force loss", "drift meV/atom/ps", "parity",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Judged:
    """One plan after its gate."""

    plan: Plan
    report: ParityReport | None
    """None where it could not be built or evaluated."""
    failure: str
    """Why it is not to be trusted; empty where it passed."""


def run_parity(
    model: nn.Module,
    plans: Sequence[Plan],
    structures: Sequence[Atoms],
    *,
    drift_steps: int = 0,
    device: str = "cpu",
    advance: Callable[[int, int, str], object] = lambda done, total, plan: None,
) -> list[Judged]:
    """Put plans through the gate (`accel.parity`), each by its own tolerance.

    Raises:
        StructureError: There is no structure to try them on.
    """
    if not structures:
        raise StructureError("Parity needs at least one structure to be tried on.")
    judged = []
    for done, plan in enumerate(plans):
        advance(done, len(plans), plan.name)
        try:
            evaluator = build_evaluator(model, plan, device)
            report = measure_parity(
                evaluator,
                model,
                structures,
                knots_a=getattr(evaluator, "knots_a", ()),
                drift_steps=drift_steps,
                device=device,
            )
        except AccelError as error:
            judged.append(Judged(plan, None, str(error)))
            continue
        judged.append(Judged(plan, report, "; ".join(failures(report, plan.tolerance))))
    return judged


def parity_table(results: Sequence[Judged]) -> Table:
    """One row a plan."""
    return Table(PARITY_COLUMNS, tuple(_row(one) for one in results))


def _row(one: Judged) -> tuple[Cell, ...]:
    report = one.report
    if report is None:
        return (one.plan.name, one.plan.dtype, *(None,) * 12, "not tried")
    error, drift = report.reference, report.drift
    return (
        one.plan.name,
        one.plan.dtype,
        error.energy_mev_per_atom,
        error.force_rmse_mev_per_a,
        error.force_max_mev_per_a,
        error.stress_rmse_mev_per_a3,
        report.rotation_mev_per_a,
        report.translation_mev_per_a,
        report.permutation_mev_per_a,
        report.energy_invariance_mev_per_atom,
        report.finite_difference_mev_per_a,
        report.jump_mev_per_a,
        report.force_loss,
        drift.excess_mev_per_atom_per_ps if drift else None,
        "failed" if one.failure else "passed",
    )


def parity_notes(results: Sequence[Judged]) -> list[str]:
    """What the columns are, and what is wrong with those that failed."""
    notes = [
        "Largest deviations. Force loss: its gradient by the weights, as a part of its length. Drift: in "
        "NVE, beyond that of the reference."
    ]
    for one in results:
        if one.report is None:
            notes.append(f"{one.plan.name} was not tried: {one.failure}")
        elif one.failure:
            notes.append(f"{one.plan.name} is not to be trusted here: {one.failure}.")
    return notes


def parity_record(results: Sequence[Judged]) -> dict[str, Any]:
    """Everything that was found, as plain JSON values."""
    return {
        "plans": [
            {"plan": plain(one.plan), "report": plain(one.report), "failure": one.failure} for one in results
        ]
    }
