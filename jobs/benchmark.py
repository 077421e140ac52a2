"""`python -m jobs.benchmark SPEC.json`: time and error of several plans on structures of several sizes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from accel.provenance import provenance
from jobs.entry import Outcome, main
from jobs.protocol import Accuracy, Body, Caution, Progress, Timing
from jobs.spec import BenchmarkParameters, RunSpec

if TYPE_CHECKING:
    from accel.measurement import Advanced, Compared, Noted, Timed

log = logging.getLogger(__name__)


def run(spec: RunSpec, emit: Callable[[Body], object]) -> Outcome:
    """The benchmark that the spec describes.

    Raises:
        AccelError: The model, the structures or a plan cannot be used.
    """
    # Late: libraries read the number of threads when they are loaded, and `entry` sets it first.
    import torch

    from accel.bench import run_benchmark
    from accel.data import load_structures
    from accel.plan import find_plan
    from accel.reference import describe, load_model
    from accel.systems import make_systems
    from accel.table import benchmark_notes, benchmark_record, benchmark_table, plain

    asked = spec.parameters
    assert isinstance(asked, BenchmarkParameters)
    torch.set_num_threads(spec.threads)
    plans = [find_plan(name) for name in asked.plans]
    model = load_model(spec.model, allow_pickle=spec.allow_pickle)
    labelled = load_structures(asked.labelled, limit=asked.n_labelled) if asked.labelled else []
    systems = make_systems(model, load_structures(asked.structures), asked.sizes)
    measured_on = {
        **provenance(device=spec.device, threads=spec.threads),
        "model": {"name": spec.model, **plain(describe(model))},
    }
    result = run_benchmark(
        model,
        plans,
        systems,
        labelled,
        repeats=asked.repeats,
        seed=spec.seed,
        stress=asked.stress,
        device=spec.device,
        report=Reporter(emit),
    )
    table, notes = benchmark_table(result), benchmark_notes(result)
    log.info("Done:\n%s\n%s", table.text(), "\n".join(notes))
    return Outcome(
        results={
            "measured_on": measured_on,
            "table": table.record(),
            "notes": notes,
            **benchmark_record(result),
        },
        summary={**table.record(), "measured_on": measured_on, "notes": notes},
    )


class Reporter:
    """Turns what a benchmark reports into events, and into a few lines of log."""

    def __init__(self, emit: Callable[[Body], object]) -> None:
        self._emit = emit
        self._stage = ""

    def __call__(self, report: Timed | Compared | Advanced | Noted) -> None:
        """Tell of one thing."""
        body = _body(report)
        if isinstance(body, Progress) and body.stage != self._stage:
            self._stage = body.stage
            log.info("%s", body.stage)
        if isinstance(body, Caution):
            log.warning("%s", body.message)
        self._emit(body)


def _body(report: Timed | Compared | Advanced | Noted) -> Body:
    from accel.measurement import Advanced, Compared, Timed

    if isinstance(report, Timed):
        return Timing(
            plan=report.plan,
            ms=report.ms,
            case=report.system.name,
            phase=report.phase,
            index=report.index,
            n_atoms=report.system.n_atoms,
            n_edges=report.system.n_edges,
        )
    if isinstance(report, Compared):
        error = report.error
        return Accuracy(
            plan=report.plan,
            against=report.against,
            case=report.case,
            n_structures=error.n_structures,
            energy_mev_per_atom=error.energy_mev_per_atom,
            force_rmse_mev_per_a=error.force_rmse_mev_per_a,
            force_max_mev_per_a=error.force_max_mev_per_a,
            stress_rmse_mev_per_a3=error.stress_rmse_mev_per_a3,
            passed=not report.exceeded,
        )
    if isinstance(report, Advanced):
        return Progress(report.done, report.total, report.stage)
    return Caution(report.message)


if __name__ == "__main__":
    sys.exit(main("benchmark", run))
