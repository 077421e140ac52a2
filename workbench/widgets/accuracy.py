"""The chart of errors: how far each plan's forces are from the reference and from the labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text
from textual_plotext.plot import Plot

from jobs.protocol import Accuracy
from workbench.model.run import Run
from workbench.model.series import placed
from workbench.plain import plain
from workbench.widgets.axes import number
from workbench.widgets.chart import Chart
from workbench.widgets.lines import short
from workbench.widgets.rows import AXIS_LINES, FRAME_LINES, frame, left_out
from workbench.widgets.timing import letter_of, plans_of

_MARKERS = {"reference": "●", "labels": "◆"}
_OTHER_MARKER = "■"
_NAME_WIDTH = 20
_MOST_ROWS = 10
"""For which it takes room from the chart beside it."""


class ErrorPanel(Chart):
    """One row for each plan and what it is held against, on an axis of logarithms."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._rows: list[Accuracy] = []
        self._plans: Sequence[str] = ()

    def show(self, run: Run) -> None:
        """Draw what is new of a run."""
        rows, plans = worst_by_plan(run), plans_of(run)
        if (rows, plans) != (self._rows, self._plans) or self.border_title is None:
            self._rows, self._plans = rows, plans
            against = list(dict.fromkeys(row.against for row in rows))
            key = "  ".join(f"{_MARKERS.get(name, _OTHER_MARKER)} to {plain(name)}" for name in against)
            self.border_title = Text(f"force error, meV/Å rms  {key}")
            self.styles.min_height = min(len(rows), _MOST_ROWS) + AXIS_LINES + FRAME_LINES
            self.redraw()

    def draw(self, plot: Plot, width: int, height: int) -> str | None:
        """The rows from above, each with its number beside its mark."""
        rows = fitting(self._rows, max(1, height - AXIS_LINES))
        self.border_subtitle = left_out(len(self._rows) - len(rows))
        measured = [row.force_rmse_mev_per_a for row in rows]
        errors = [None if error is None else placed(error) for error in measured]
        positive = [error for error in errors if error and error > 0]
        if not rows:
            return "No error has been measured yet."
        limits = _limits(positive)
        left = math.log10(limits[0])
        names, texts = [], []
        for index, (row, error) in enumerate(zip(rows, errors, strict=True)):
            y = -index
            first = index == 0 or rows[index - 1].plan != row.plan
            name = f"{letter_of(self._plans, row.plan)} {plain(row.plan)}" if first else ""
            names.append(short(name, _NAME_WIDTH))
            marker = _MARKERS.get(row.against, _OTHER_MARKER)
            colour = self.colour(self._plans.index(row.plan))
            x = math.log10(error) if error and error > 0 else left
            if x > left:
                plot.plot([left, x], [y, y], marker="┈", color=colour)
            said = "not known" if error is None else f"{number(error)}{'' if row.passed else ' ✗ too large'}"
            texts.append(f"{marker} {said}")
            plot.text(texts[-1], x, y, alignment="left", color=colour)
        frame(plot, names, limits, width, texts)
        return None


def worst_by_plan(run: Run) -> list[Accuracy]:
    """For each plan and what it is held against the largest force error over the cases; plans together."""
    worst: dict[tuple[str, str], Accuracy] = {}
    for (plan, _case, against), accuracy in run.accuracies.items():
        known = worst.get((plan, against))
        if known is None or _error(accuracy) > _error(known):
            worst[plan, against] = accuracy
    plans = plans_of(run)
    return sorted(worst.values(), key=lambda row: (plans.index(row.plan), row.against != "reference"))


def fitting(rows: Sequence[Accuracy], most: int) -> list[Accuracy]:
    """As many rows as there is room for; what the reference says of each plan comes before all else."""
    first = sorted(range(len(rows)), key=lambda index: (rows[index].against != "reference", index))
    return [rows[index] for index in sorted(first[:most])]


def _error(accuracy: Accuracy) -> float:
    return -1.0 if accuracy.force_rmse_mev_per_a is None else accuracy.force_rmse_mev_per_a


def _limits(errors: Sequence[float]) -> tuple[float, float]:
    """Whole powers of ten around the errors."""
    if not errors:
        return 0.1, 10.0
    low = 10.0 ** max(-300, math.floor(math.log10(min(errors))))
    high = 10.0 ** min(300, math.ceil(math.log10(max(errors))))
    return (low, high) if high > low else (low, low * 10)
