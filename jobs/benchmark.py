"""`python -m jobs.benchmark SPEC.json`: time and error of several plans on structures of several sizes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from jobs.entry import Outcome, main
from jobs.measuring import load, outcome
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
    # Late: `entry` sets the number of threads first, and libraries read it when they are loaded.
    from accel.bench import run_benchmark
    from accel.table import benchmark_notes, benchmark_record, benchmark_table

    asked = spec.parameters
    assert isinstance(asked, BenchmarkParameters)
    measured = load(spec, asked)
    result = run_benchmark(
        measured.model,
        measured.plans,
        measured.systems,
        measured.labelled,
        repeats=asked.repeats,
        seed=spec.seed,
        stress=asked.stress,
        device=spec.device,
        lenient="all" in asked.plans,
        report=Reporter(emit),
    )
    table, notes = benchmark_table(result), benchmark_notes(result)
    return outcome(spec, measured.model, table, notes, benchmark_record(result))


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
