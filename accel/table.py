"""Results as tables and as plain JSON values: what the events, the results file and the terminal show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from accel.measurement import BenchmarkResult, Compared, Measurement

if TYPE_CHECKING:
    from accel.profile import ProfileResult, Step
    from accel.spans import TensorLayout

Cell: TypeAlias = str | int | float | None

BENCHMARK_COLUMNS = (
    "plan", "dtype", "atoms", "edges/atom", "ms", "IQR ms", "µs/atom", "× reference", "IQR ×",
    "first call ms", "ΔF rms meV/Å", "ΔF max meV/Å", "ΔE meV/atom",
    "F vs labels meV/Å", "E vs labels meV/atom", "parity",
)  # fmt: skip
PROFILE_COLUMNS = (
    "step", "class", "calls", "forward ms", "own forward ms", "backward ms", "own backward ms", "share %",
    "in", "out", "backward in", "backward out", "dtype", "layout", "device", "irreps", "parameters",
)  # fmt: skip
_GRAPH = ("data.positions", "data.node_attrs", "data.edge_index", "data.shifts", "data.cell")
"""What is shown of a graph, which also carries labels and weights that inference does not look at."""


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
    """One row a plan and system; what failed its gate has errors and no times, what was not built nothing."""
    against_labels = {one.plan: one for one in result.errors if one.against == "labels"}
    rows = [_row(one, against_labels.get(one.plan.name)) for one in result.measurements]
    rows += [(one.plan.name, one.plan.dtype, *(None,) * 13, "not built") for one in result.unbuilt]
    return Table(BENCHMARK_COLUMNS, tuple(rows))


def _row(one: Measurement, labels: Compared | None) -> tuple[Cell, ...]:
    n_atoms = one.system.n_atoms
    times: tuple[Cell, ...] = (None,) * 5
    if one.ms and one.speedup:
        ms, speedup = one.ms, one.speedup
        times = (
            ms.median,
            ms.high - ms.low,
            ms.median / n_atoms * 1e3,
            speedup.median,
            speedup.high - speedup.low,
        )
    errors: tuple[Cell, ...] = (None,) * 3
    if one.error:
        error = one.error
        errors = (error.force_rmse_mev_per_a, error.force_max_mev_per_a, error.energy_mev_per_atom)
    label_errors: tuple[Cell, ...] = (None,) * 2
    if labels:
        label_errors = (labels.error.force_rmse_mev_per_a, labels.error.energy_mev_per_atom)
    return (
        one.plan.name,
        one.plan.dtype,
        n_atoms,
        round(one.system.n_edges / n_atoms, 1),
        *times,
        one.first_ms,
        *errors,
        *label_errors,
        "failed" if one.failure else "passed",
    )


def benchmark_notes(result: BenchmarkResult) -> list[str]:
    """What belongs under the table: what the times contain, and why what is not there is not."""
    systems = {one.system.name: one.system for one in result.measurements}
    graphs = ", ".join(f"{system.graph_ms:.3g} ms for {name}" for name, system in systems.items())
    notes = [
        f"Times go from positions to forces, neighbour list and graph included (mace-torch's take {graphs})."
    ]
    for one in result.measurements:
        if one.failure:
            notes.append(f"{one.plan.name} is not timed on {one.system.name}: {one.failure}.")
        elif not one.settled:
            notes.append(f"{one.plan.name} on {one.system.name} still got faster when its warm-up was over.")
    return notes + [f"{one.plan.name} cannot be built here: {one.reason}" for one in result.unbuilt]


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
        "unbuilt": [{"plan": plain(one.plan), "reason": one.reason} for one in result.unbuilt],
    }


def profile_table(result: ProfileResult) -> Table:
    """One row a step; steps inside others are indented."""
    whole = sum(_own_ms(step) for step in result.steps)
    rows = []
    for step in result.steps:
        inputs = [tensor for tensor in step.inputs if step.depth or tensor.name in _GRAPH]
        tensors = (*inputs, *step.outputs)
        gradients = (*step.gradients_in, *step.gradients_out)
        rows.append(
            (
                "  " * step.depth + step.path,
                step.kind,
                step.calls,
                step.forward_ms,
                step.forward_self_ms,
                step.backward_ms,
                step.backward_self_ms,
                100 * _own_ms(step) / whole,
                _shapes(inputs),
                _shapes(step.outputs),
                _shapes(step.gradients_in),
                _shapes(step.gradients_out),
                _distinct(tensor.dtype for tensor in (*tensors, *gradients)),
                _distinct(
                    [_layout(tensor) for tensor in tensors] + [_layout(tensor, "∂") for tensor in gradients]
                ),
                _distinct(tensor.device for tensor in (*tensors, *gradients)),
                step.irreps,
                step.n_parameters,
            )
        )
    return Table(PROFILE_COLUMNS, tuple(rows))


def profile_notes(result: ProfileResult) -> list[str]:
    """What belongs under the table: the totals, and what observing cost."""
    return [
        f"{result.n_atoms} atoms, {result.n_edges} edges, {result.dtype} on {result.device}; medians of "
        f"{result.repeats} evaluations.",
        f"Without hooks: forward {result.plain_forward_ms:.4g} ms, backward "
        f"{result.plain_backward_ms:.4g} ms; neighbour list and graph before them {result.graph_ms:.4g} ms.",
        f"Hooks add {100 * result.overhead:.1f} %; {100 * result.unaccounted:.2f} % of the time "
        "is in no step.",
    ]


def _own_ms(step: Step) -> float:
    return step.forward_self_ms + (step.backward_self_ms or 0.0)


def _shapes(tensors: Sequence[TensorLayout]) -> str:
    return ", ".join(f"{tensor.name} {'×'.join(map(str, tensor.shape)) or '1'}".strip() for tensor in tensors)


def _layout(tensor: TensorLayout, of: str = "") -> str:
    return "contiguous" if tensor.contiguous else f"{of}{tensor.name} strided {tensor.strides}".strip()


def _distinct(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


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
