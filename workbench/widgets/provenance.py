"""What the numbers on a screen were measured on: a number without it says nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.widgets import Static

from jobs.protocol import Json
from workbench.model.job import Job
from workbench.model.run import Run
from workbench.widgets.plain import plain

_FIRST = ("dtype", "torch", "mace-torch", "e3nn", "code")
"""Of what a run tells of itself: what decides most about its numbers."""


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
        return f"asked for: model {plain(asked.model)}, {plain(asked.device)}, {_threads(asked.threads)}"
    system = _system(run, case) if case else ""
    facts = facts_of({"host": run.start.host, **run.provenance})
    parts = (f"model {plain(asked.model)}", system, facts)
    return "Measured on: " + " · ".join(part for part in parts if part)


def facts_of(provenance: Mapping[str, Json]) -> str:
    """Device, threads, versions and host, in the order in which they decide about numbers; then the rest."""
    told = dict(_flat(provenance))
    host, load = told.pop("host", ""), told.pop("load_average", "")
    parts = [plain(told.pop(key, "")) for key in ("device_name", "device")]
    if isinstance(threads := told.get("threads"), int):
        parts.append(_threads(threads))
        del told["threads"]
    parts += [_named(key, told.pop(key, "")) for key in _FIRST]
    parts += [_named("host", host), _named("load", str(load).partition(",")[0])]
    parts += [_named(key, value) for key, value in told.items()]
    return " · ".join(part for part in parts if part)


def _named(key: str, value: Json) -> str:
    return f"{plain(key)} {plain(value)}" if value not in (None, "") else ""


def _system(run: Run, case: str) -> str:
    size = run.sizes.get(case)
    if size is None or not size.n_atoms:
        return plain(case)
    atoms = f"{size.n_atoms} atoms"
    edges = f", {size.n_edges / size.n_atoms:.0f} edges/atom" if size.n_edges else ""
    return plain(case) + ("" if atoms in case else f": {atoms}") + edges


def _threads(n: int) -> str:
    return f"{n} thread" if n == 1 else f"{n} threads"


def _flat(told: Mapping[str, Json]) -> Sequence[tuple[str, Json]]:
    """Keys with single values; `versions: {torch: …}` gives `torch …`."""
    pairs: list[tuple[str, Json]] = []
    for key, value in told.items():
        if isinstance(value, Mapping):
            pairs += _flat(value)
        elif isinstance(value, list | tuple):
            pairs.append((key, ", ".join(str(item) for item in value)))
        else:
            pairs.append((key, value))
    return pairs
