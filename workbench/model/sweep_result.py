"""What the members of a sweep have measured, folded into one table over what the sweep goes over.

Members that differ in their seed alone repeat one measurement: their evaluations are pooled, and how far
their medians lie apart is told. A speed-up is taken within each member, where both plans were interleaved
on one machine, before members are folded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from jobs.protocol import Json
from jobs.sweep import short, shown
from workbench.model.job import Job
from workbench.model.run import Run
from workbench.model.sweep import Sweep
from workbench.model.sweep_picture import Line, Mark, axis_of, lines_of, marks_of
from workbench.model.sweep_rows import Row, rows_of

Runs: TypeAlias = Mapping[str, Run]
_REPEATS = ("seed",)
"""Axes along which a measurement is repeated, not changed."""
_SIZES = "parameters.sizes"
_VARIES = ("date", "load_average", "pid")
"""Differs between any two runs, and explains nothing by itself."""
_MOST_NAMED = 4


@dataclass(frozen=True, slots=True)
class Folded:
    """A sweep's results as far as they are there."""

    axes: Sequence[str]
    """Keys of what the rows differ in."""
    pooled: Sequence[str]
    """Keys of the axes along which members were pooled."""
    rows: Sequence[Row]
    columns: Sequence[str]
    cells: Sequence[Sequence[Json]]
    """The same as a table; or the members' own tables one below the other, where nothing was timed."""
    measured_on: Mapping[str, Json]
    """What the members were measured on; where they differ, what each of the few was."""
    n_measured: int
    """Members that have something in the table."""
    n_members: int

    @property
    def axis(self) -> str | None:
        """The key of the axis that a chart goes along: the first with several numbers."""
        return axis_of(self.rows, self.axes)

    @property
    def lines(self) -> Sequence[Line]:
        """What a chart along `axis` shows; nothing where there is none."""
        return lines_of(self.rows, self.axis) if self.axis else []

    @property
    def marks(self) -> Sequence[Mark]:
        """What a chart shows where the rows differ in nothing that is a number."""
        return [] if self.axis else marks_of(self.rows)

    @property
    def about(self) -> str:
        """What the table is made of: `5 of 6 members, evaluations pooled over seed`."""
        text = f"{self.n_measured} of {self.n_members} members"
        if self.rows and self.pooled:
            text += f", evaluations pooled over {', '.join(map(short, self.pooled))}"
        return text


def fold(sweep: Sweep, runs: Runs) -> Folded:
    """The results of a sweep, as far as its members' events tell them."""
    keys = list(sweep.over)
    told = [(member, runs[member.id]) for member in sweep.members if member.id in runs]
    timed = [(member, run) for member, run in told if run.timings]
    if timed:
        axes = [key for key in keys if key not in _REPEATS]
        rows = rows_of(timed, axes)
        columns, cells = _table(rows, axes)
        measured = timed
    else:
        axes, rows = keys, []
        measured = [(member, run) for member, run in told if run.result is not None]
        columns, cells = _tables(measured, axes)
    return Folded(
        axes=axes,
        pooled=[key for key in keys if key not in axes],
        rows=rows,
        columns=columns,
        cells=cells,
        measured_on=_common(run for _, run in measured),
        n_measured=len(measured),
        n_members=len(sweep.members),
    )


def _table(rows: Sequence[Row], axes: Sequence[str]) -> tuple[list[str], list[list[Json]]]:
    columns: list[tuple[str, Callable[[Row], Json]]] = [
        *((short(key), _cell_of(key)) for key in axes),
        ("plan", lambda row: row.plan),
        ("system", lambda row: row.case),
        ("median ms", lambda row: row.median_ms),
        ("speed-up", lambda row: row.speed_up),
        ("meV/Å", lambda row: row.force_rmse_mev_per_a),
        ("q1", lambda row: row.low_ms),
        ("q3", lambda row: row.high_ms),
        ("n", lambda row: row.n_evaluations),
        ("spread %", lambda row: None if row.spread is None else 100 * row.spread),
        ("error", lambda row: "within tolerance" if row.passed else "too large"),
    ]
    # What is the same for all, or said already, is left out.
    said = {
        "system": all(row.case == f"{row.point.get(_SIZES)} atoms" for row in rows),
        "spread %": all(row.spread is None for row in rows),
        "error": all(row.passed for row in rows),
    }
    columns = [column for column in columns if not said.get(column[0])]
    return [name for name, _ in columns], [[cell(row) for _, cell in columns] for row in rows]


def _cell_of(key: str) -> Callable[[Row], Json]:
    def cell(row: Row) -> Json:
        value = row.point[key]
        return shown(value) if isinstance(value, tuple) else value

    return cell


def _tables(measured: Sequence[tuple[Job, Run]], axes: Sequence[str]) -> tuple[list[str], list[list[Json]]]:
    """The members' own tables one below the other; each row begins with the member's values."""
    columns: list[str] = []
    found: list[tuple[list[Json], dict[str, Json]]] = []
    for member, run in measured:
        summary = run.result.summary if run.result else {}
        names, rows = summary.get("columns"), summary.get("rows")
        if not isinstance(names, list) or not isinstance(rows, list):
            names, rows = list(summary), [list(summary.values())]
        columns += [str(name) for name in names if str(name) not in columns]
        at = member.part.at if member.part else {}
        begin: list[Json] = [shown(at[key]) if isinstance(at[key], tuple) else at[key] for key in axes]
        found += [
            (begin, dict(zip(map(str, names), row, strict=False))) for row in rows if isinstance(row, list)
        ]
    header = [*map(short, axes), *columns]
    return header, [[*begin, *(row.get(name) for name in columns)] for begin, row in found]


def _common(runs: Iterable[Run]) -> dict[str, Json]:
    """What the runs were measured on; of what is not the same for all, every value."""
    values: defaultdict[str, list[Json]] = defaultdict(list)
    for run in runs:
        told = run.result.summary.get("measured_on") if run.result else None
        for key, value in (told if isinstance(told, Mapping) else run.provenance).items():
            if key not in _VARIES and value not in values[key]:
                values[key].append(value)
    return {key: several[0] if len(several) == 1 else _several(several) for key, several in values.items()}


def _several(values: Sequence[Json]) -> str:
    named = [str(value) for value in values[:_MOST_NAMED] if not isinstance(value, Mapping)]
    if len(named) < len(values):
        named.append(f"{len(values) - len(named)} more")
    return ", ".join(named)
