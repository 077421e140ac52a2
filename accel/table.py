"""Results as tables and as plain JSON values: what the events, the results file and the terminal show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeAlias

from accel.measurement import BenchmarkResult, Compared, Measurement

Cell: TypeAlias = str | int | float | None

BENCHMARK_COLUMNS = (
    "plan", "dtype", "atoms", "edges/atom", "ms", "IQR ms", "µs/atom", "× reference", "IQR ×", "first call ms",
    "ΔF rms meV/Å", "ΔF max meV/Å", "ΔE meV/atom", "F vs labels meV/Å", "E vs labels meV/atom", "parity",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of plain values; None where there is nothing to say."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def text(self) -> str:
        """Aligned: text to the left, numbers to the right with four significant digits."""
        lines = [self.columns, *(tuple(_shown(cell) for cell in row) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        numeric = [all(not isinstance(row[i], str) for row in self.rows) for i in range(len(self.columns))]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(line, widths, numeric, strict=True)
            ).rstrip()
            for line in lines
        )

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"columns": list(self.columns), "rows": [plain(row) for row in self.rows]}


def benchmark_table(result: BenchmarkResult) -> Table:
    """One row a plan and system; what failed its gate has errors and no times."""
    against_labels = {one.plan: one for one in result.errors if one.against == "labels"}
    rows = [_row(one, against_labels.get(one.plan.name)) for one in result.measurements]
    return Table(BENCHMARK_COLUMNS, tuple(rows))


def _row(one: Measurement, labels: Compared | None) -> tuple[Cell, ...]:
    ms, speedup, error, n_atoms = one.ms, one.speedup, one.error, one.system.n_atoms
    return (
        one.plan.name,
        one.plan.dtype,
        n_atoms,
        round(one.system.n_edges / n_atoms, 1),
        ms and ms.median,
        ms and ms.high - ms.low,
        ms and ms.median / n_atoms * 1e3,
        speedup and speedup.median,
        speedup and speedup.high - speedup.low,
        one.first_ms,
        error and error.force_rmse_mev_per_a,
        error and error.force_max_mev_per_a,
        error and error.energy_mev_per_atom,
        labels and labels.error.force_rmse_mev_per_a,
        labels and labels.error.energy_mev_per_atom,
        "failed" if one.failure else "passed",
    )


def benchmark_record(result: BenchmarkResult) -> dict[str, Any]:
    """Everything that was measured, evaluation by evaluation, as plain JSON values."""
    return {
        "measurements": [
            {
                "plan": plain(one.plan),
                "system": {
                    "name": one.system.name,
                    "formula": one.system.atoms.get_chemical_formula(),
                    "periodic": bool(one.system.atoms.pbc.any()),
                    "n_atoms": one.system.n_atoms,
                    "n_edges": one.system.n_edges,
                    "graph_ms": one.system.graph_ms,
                },
                "failure": one.failure,
                "error": plain(one.error),
                "first_ms": one.first_ms,
                "warm_up_ms": list(one.warm_up_ms),
                "settled": one.settled,
                "times_ms": list(one.times_ms),
                "speedups": list(one.speedups),
                "ms": plain(one.ms),
                "speedup": plain(one.speedup),
            }
            for one in result.measurements
        ],
        "errors": [plain(one) for one in result.errors],
    }


def plain(value: Any) -> Any:
    """`value` as JSON can carry it: dataclasses and mappings as objects, NaN and infinities as null."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
