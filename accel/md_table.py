"""What dynamics found, as tables and as plain JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from accel.table import Table, plain

if TYPE_CHECKING:
    from accel.drift import DriftReport, DriftVerdict
    from accel.dynamics import MdResult

MD_COLUMNS = (
    "plan", "ensemble", "atoms", "edges/atom", "steps", "time step fs", "ms/step", "IQR ms", "µs/atom/step",
    "ns/day", "drift meV/atom/ps", "± drift", "T mean K", "ΔF rms meV/Å", "ΔF max meV/Å", "checks",
)  # fmt: skip
DRIFT_COLUMNS = (
    "plan", "atoms", "starts", "steps", "time step fs", "drift meV/atom/ps", "± drift",
    "excess over reference", "spread (2 s.e.)", "fluctuation meV/atom", "T mean K", "verdict",
)  # fmt: skip


def md_table(result: MdResult) -> Table:
    """One row."""
    ms, error, drift, settings = result.ms, result.error, result.drift, result.settings
    row = (
        result.plan,
        settings.ensemble,
        result.n_atoms,
        round(result.n_edges / result.n_atoms, 1),
        result.n_steps,
        settings.time_step_fs if settings.has_time else None,
        ms.median if ms else None,
        ms.high - ms.low if ms else None,
        ms.median / result.n_atoms * 1e3 if ms else None,
        result.ns_per_day,
        drift.mev_per_atom_per_ps if drift else None,
        drift.error_mev_per_atom_per_ps if drift else None,
        result.temperature_k,
        error.force_rmse_mev_per_a if error else None,
        error.force_max_mev_per_a if error else None,
        error.n_structures if error else 0,
    )
    return Table(MD_COLUMNS, (row,))


def md_notes(result: MdResult) -> list[str]:
    """What belongs under the table."""
    notes = [f"{result.n_frames} frame{'' if result.n_frames == 1 else 's'} written."]
    if result.first_ms is not None:
        notes.append(f"The first evaluation, compilation included, took {result.first_ms:.4g} ms.")
    if result.settings.has_time and result.ms:
        notes.append(f"ns/day holds for the time step of {result.settings.time_step_fs:g} fs.")
    if not result.settings.has_time:
        reached = "Converged" if result.converged else "Not converged"
        notes.append(
            f"{reached}: the largest force on an atom is {result.force_max_ev_per_a:.3g} eV/Å, asked for "
            f"{result.settings.force_tolerance_ev_per_a:g}; the energy is {result.energy_ev:.6f} eV."
        )
    if result.stopped:
        notes.append(f"Stopped after step {result.n_steps} of {result.settings.n_steps}.")
    return notes


def md_record(result: MdResult) -> dict[str, Any]:
    """Everything that was found, as plain JSON values."""
    return {"md": {**plain(result), "ns_per_day": result.ns_per_day}}


def drift_table(reports: Sequence[DriftReport], verdicts: Sequence[DriftVerdict]) -> Table:
    """One row a plan, the reference first."""
    judged = {verdict.plan: verdict for verdict in verdicts}
    rows = []
    for report in reports:
        verdict = judged.get(report.plan)
        words = "reference" if verdict is None else "no worse" if verdict.no_worse else "worse"
        slope = plain(report.slope)
        rows.append(
            (
                report.plan,
                report.n_atoms,
                len(report.slopes),
                report.n_steps,
                report.time_step_fs,
                slope["mev_per_atom_per_ps"],
                slope["error_mev_per_atom_per_ps"],
                plain(verdict.excess_mev_per_atom_per_ps) if verdict else None,
                plain(verdict.spread_mev_per_atom_per_ps) if verdict else None,
                report.fluctuation_mev_per_atom,
                report.temperature_k,
                words,
            )
        )
    return Table(DRIFT_COLUMNS, tuple(rows))


def drift_notes(reports: Sequence[DriftReport], verdicts: Sequence[DriftVerdict]) -> list[str]:
    """What belongs under the table."""
    notes = [
        "NVE from the same positions and velocities; drift is the slope of a line fitted to the total "
        "energy. A plan is no worse where its drift exceeds the reference's by no more than two standard "
        "errors."
    ]
    notes += [f"{one.plan} blew up: {one.failure}." for one in reports if one.failure]
    worse = [verdict.plan for verdict in verdicts if not verdict.no_worse]
    if worse:
        notes.append(f"Drift is worse than the reference's with: {', '.join(worse)}.")
    return notes


def drift_record(reports: Sequence[DriftReport], verdicts: Sequence[DriftVerdict]) -> dict[str, Any]:
    """Everything that was found, as plain JSON values."""
    return {"drift": plain(reports), "verdicts": plain(verdicts)}
