"""What the numbers on a screen were measured on: a number without it says nothing."""

from __future__ import annotations

from textual.widgets import Static

from workbench.model.job import Job
from workbench.model.run import Run
from workbench.plain import plain
from workbench.provenance import facts_of, threads_text


class ProvenanceLine(Static):
    """What the numbers on the screen were measured on."""

    DEFAULT_CSS = """
    ProvenanceLine {
        height: auto;
        max-height: 3;
        padding: 0 1;
        color: $text-muted;
        background: $surface;
    }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._said = ""

    def show(self, job: Job, run: Run, case: str) -> None:
        """Say it of a run and of the case that is drawn."""
        said = measured_on(job, run, case)
        if said != self._said:
            self._said = said
            self.update(said)


def measured_on(job: Job, run: Run, case: str) -> str:
    """Model, system, device, threads, precision and versions, as far as the run has told."""
    asked = job.spec.run
    if run.start is None:
        return f"asked for: model {plain(asked.model)}, {plain(asked.device)}, {threads_text(asked.threads)}"
    system = _system(run, case) if case else ""
    facts = facts_of({"host": run.start.host, **run.provenance})
    parts = (f"model {plain(asked.model)}", system, facts)
    return "Measured on: " + " · ".join(part for part in parts if part)


def _system(run: Run, case: str) -> str:
    size = run.sizes.get(case)
    if size is None or not size.n_atoms:
        return plain(case)
    atoms = f"{size.n_atoms} atoms"
    edges = f", {size.n_edges / size.n_atoms:.0f} edges/atom" if size.n_edges else ""
    return plain(case) + ("" if atoms in case else f": {atoms}") + edges
