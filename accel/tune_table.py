"""What tuning found as a table, notes and plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accel.memory import Memory
from accel.table import Cell, Table, benchmark_notes, benchmark_record, plain
from accel.tune import Point, TuneResult

TUNE_COLUMNS = (
    "plan", "dtype", "atoms", "ms", "IQR ms", "µs/atom", "× reference", "IQR ×", "ΔF rms meV/Å",
    "ΔF max meV/Å", "ΔE meV/atom", "peak MB", "budget", "front", "chosen",
)  # fmt: skip


def tune_table(result: TuneResult) -> Table:
    """One row a plan and system; then a row for each plan that could not be built."""
    rows = [_row(point, result) for point in result.points]
    rows += [(one.plan.name, one.plan.dtype, *(None,) * 10, "not tried", "", "") for one in result.unbuilt]
    return Table(TUNE_COLUMNS, tuple(rows))


def _row(point: Point, result: TuneResult) -> tuple[Cell, ...]:
    one = point.measurement
    n_atoms = one.system.n_atoms
    times: tuple[Cell, ...] = (None,) * 5
    if one.ms and one.speedup:
        ms, speedup = one.ms, one.speedup
        spread = speedup.high - speedup.low
        times = (ms.median, ms.high - ms.low, ms.median / n_atoms * 1e3, speedup.median, spread)
    errors: tuple[Cell, ...] = (None,) * 3
    if one.error:
        error = one.error
        errors = (error.force_rmse_mev_per_a, error.force_max_mev_per_a, error.energy_mev_per_atom)
    memory = result.memory.get(one.plan.name) if n_atoms == _largest(result) else None
    budget = "failed its gate" if one.failure else "over" if point.over_budget else "inside"
    chosen = "winner" if one.plan == result.winner else "fastest here" if point.fastest else ""
    return (
        one.plan.name,
        one.plan.dtype,
        n_atoms,
        *times,
        *errors,
        memory.peak_mb if memory else None,
        budget,
        "front" if point.on_front else "",
        chosen,
    )


def tune_notes(result: TuneResult) -> list[str]:
    """What belongs under the table: the choice, where others are better, what failed and why."""
    budget = result.budget
    notes = [
        f"The fastest plan inside {budget.force_rmse_mev_per_a:g} meV/Å (largest "
        f"{budget.force_max_mev_per_a:g}) and {budget.energy_mev_per_atom:g} meV/atom is "
        f"{result.winner.name}."
    ]
    for point in result.points:
        one = point.measurement
        if point.fastest and one.plan != result.winner:
            notes.append(f"On {one.system.name} {one.plan.name} is faster.")
    notes += [one.sentence for one in result.break_even]
    for point in result.points:
        if point.over_budget and not point.measurement.failure:
            where = point.measurement
            notes.append(f"{where.plan.name} is over the budget on {where.system.name}: {point.over_budget}.")
    notes += [f"{one.plan.name} was not tried: {one.reason}" for one in result.unbuilt]
    if result.memory:
        notes.append(_of_memory(result.memory, _largest(result)))
    return notes + benchmark_notes(result.benchmark)


def _of_memory(memory: Mapping[str, Memory], n_atoms: int) -> str:
    before = sorted(one.before_mb for one in memory.values())[len(memory) // 2]
    return (
        f"Peak MB is the high-water mark of a process of its own that evaluates {n_atoms} atoms twice; of it "
        f"{before:.0f} MB are Python, libraries and model."
    )


def _largest(result: TuneResult) -> int:
    return max(point.measurement.system.n_atoms for point in result.points)


def tune_record(result: TuneResult) -> dict[str, Any]:
    """Everything that was measured and decided, as plain JSON values."""
    return {
        "budget": plain(result.budget),
        "winner": plain(result.winner),
        "points": [
            {
                "plan": point.measurement.plan.name,
                "system": point.measurement.system.name,
                "over_budget": point.over_budget,
                "on_front": point.on_front,
                "fastest": point.fastest,
            }
            for point in result.points
        ],
        "unbuilt": [{"plan": plain(one.plan), "reason": one.reason} for one in result.unbuilt],
        "break_even": [plain(one) for one in result.break_even],
        "memory": plain(result.memory),
        **benchmark_record(result.benchmark),
    }
