"""The table of a sweep's members: where each is, and what it has found in short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from jobs.sweep import Value, label_of, shown
from workbench.model.job import Job, JobState
from workbench.model.run import Run
from workbench.model.sweep import Sweep
from workbench.model.sweep_rows import figure_of
from workbench.plain import plain
from workbench.report import duration
from workbench.widgets import words
from workbench.widgets.axes import number
from workbench.widgets.line_table import Cell, LineTable

_NO_RUN = Run()
_BAR_WIDTH = 6
_COLUMNS = (
    ("#", 3),
    ("state", 13),
    ("member", 20),
    ("elapsed", 8),
    ("progress", _BAR_WIDTH + 5),
    ("found", 24),
)
_STRETCHES, _GOES_FIRST = "member", "elapsed"
_RIGHT = ("#", "elapsed")


class SweepMembers(LineTable[Job]):
    """Members, one a line, in the order of the sweep."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._runs: Mapping[str, Run] = {}
        self._now = 0.0
        self._titles: Mapping[str, str] = {}

    def show(self, sweep: Sweep, runs: Mapping[str, Run], now: float) -> None:
        """Draw its members; `runs` are theirs, by job."""
        self._runs, self._now = runs, now
        if [*self._titles] != [member.id for member in sweep.members]:
            self._titles = _titles(sweep)
        self.show_rows(sweep.members)

    def key_of(self, row: Job) -> str:
        """Its id."""
        return row.id

    def header(self, width: int) -> Sequence[Cell]:
        """The titles."""
        return [Cell(title, room, right=title in _RIGHT) for title, room in _layout(width)]

    def cells(self, row: Job, width: int) -> Sequence[Cell]:
        """One member."""
        run = self._runs.get(row.id, _NO_RUN)
        tone = words.state_tone(row.state)
        fraction = words.fraction_done(row, run)
        bar = "" if fraction is None else f"{words.bar(fraction, _BAR_WIDTH)} {int(fraction * 100):3d}%"
        texts = {
            "#": (str(row.part.index) if row.part else "", "muted"),
            "state": (words.job_state_text(row), tone),
            "member": (plain(self._titles[row.id]), ""),
            "elapsed": (duration(row.elapsed_s(self._now)), ""),
            "progress": (bar, tone),
            "found": _found(row, run),
        }
        return [
            Cell(texts[title][0], room, title in _RIGHT, texts[title][1]) for title, room in _layout(width)
        ]


def _titles(sweep: Sweep) -> dict[str, str]:
    """By id, each member's values that tell it from the others: `h2co-small fast seed=3`."""
    over = {key: values for key, values in sweep.over.items() if len(values) > 1}
    common = {key: set.intersection(*map(_parts, values)) for key, values in over.items()}
    titles = {}
    for member in sweep.members:
        at = member.part.at if member.part else {}
        said = [_said(key, at[key], common[key]) for key in over if key in at]
        titles[member.id] = " ".join(said) or member.spec.name
    return titles


def _parts(value: Value) -> set[Value]:
    return set(value) if isinstance(value, tuple) else {value}


def _said(key: str, value: Value, common: Set[Value]) -> str:
    """A name speaks for itself, a number with its key; of a list what not all have."""
    if isinstance(value, tuple):
        value = tuple(part for part in value if part not in common) or value
        names = all(isinstance(part, str) for part in value)
    else:
        names = isinstance(value, str)
    return shown(value) if names else label_of({key: value})


def _layout(width: int) -> list[tuple[str, int]]:
    """The columns that fit, the stretching one as wide as is left."""
    chosen = list(_COLUMNS)
    if _needed(chosen) > width:
        chosen = [column for column in chosen if column[0] != _GOES_FIRST]
    spare = max(0, width - _needed(chosen))
    return [(title, room + (spare if title == _STRETCHES else 0)) for title, room in chosen]


def _needed(columns: Sequence[tuple[str, int]]) -> int:
    return sum(room + 1 for _, room in columns) - 1


def _found(member: Job, run: Run) -> tuple[str, str]:
    """The figure that says most, or why there is none; and its tone."""
    if member.state.is_over and member.state is not JobState.COMPLETED:
        return plain(run.failure or member.status.reason), "failed"
    figure = figure_of(run)
    if figure is None:
        return ("" if member.state.is_over else plain(member.status.reason)), "muted"
    plan, ms, speed_up = figure
    ratio = "" if speed_up is None else f" {number(speed_up)}×"
    return f"{number(ms)} ms{ratio} {plain(plan)}", ""
