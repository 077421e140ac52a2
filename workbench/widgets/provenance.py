"""What the numbers on a screen were measured on: a number without it says nothing."""

from __future__ import annotations

from textwrap import wrap

from textual.widgets import Static

from workbench.model.job import Job
from workbench.model.run import Run
from workbench.plain import plain
from workbench.provenance import facts_of, threads_text

_BETWEEN = " · "
_MOST_LINES = 3


class ProvenanceLine(Static):
    """What the numbers on the screen were measured on."""

    DEFAULT_CSS = """
    ProvenanceLine {
        height: auto;
        padding: 0 1;
        color: $text-muted;
        background: $surface;
    }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._said = self._drawn = ""

    def show(self, job: Job, run: Run, case: str) -> None:
        """Say it of a run and of the case that is drawn."""
        self._said = measured_on(job, run, case)
        self._draw()

    def on_resize(self) -> None:
        """Say as much as there is room for by now."""
        self._draw()

    def _draw(self) -> None:
        drawn = fitting(self._said, max(1, self.app.size.width - 2))
        if drawn != self._drawn:
            self._drawn = drawn
            self.update(drawn)


def fitting(facts: str, width: int) -> str:
    """As many facts, from the first on, as the lines have room for; what counts least stands last."""
    parts, shown = facts.split(_BETWEEN), facts
    while len(parts) > 1 and len(wrap(shown, width)) > _MOST_LINES:
        parts.pop()
        shown = _BETWEEN.join([*parts, "…"])
    return shown


def measured_on(job: Job, run: Run, case: str) -> str:
    """Model, system, device, threads, precision and versions, as far as the run has told."""
    asked = job.spec.run
    if run.start is None:
        return f"asked for: model {plain(asked.model)}, {plain(asked.device)}, {threads_text(asked.threads)}"
    system = _system(run, case) if case else ""
    facts = facts_of({"host": run.start.host, **run.provenance})
    parts = (f"model {plain(asked.model)}", system, facts)
    return "Measured on: " + _BETWEEN.join(part for part in parts if part)


def _system(run: Run, case: str) -> str:
    size = run.sizes.get(case)
    if size is None or not size.n_atoms:
        return plain(case)
    atoms = f"{size.n_atoms} atoms"
    edges = f", {size.n_edges / size.n_atoms:.0f} edges/atom" if size.n_edges else ""
    return plain(case) + ("" if atoms in case else f": {atoms}") + edges
