"""`python -m jobs.tune SPEC.json`: the fastest plan inside an error budget, and its file."""

from __future__ import annotations

import sys
from collections.abc import Callable

from jobs.benchmark import Reporter
from jobs.entry import Outcome, main
from jobs.measuring import load, outcome
from jobs.protocol import Body, Caution
from jobs.spec import RunSpec, TuneParameters

PLAN_FILE = "plan.json"


def run(spec: RunSpec, emit: Callable[[Body], object]) -> Outcome:
    """The tuning that the spec describes.

    Raises:
        AccelError: The model, the structures, a plan or the budget cannot be used.
    """
    # Late: `entry` sets the number of threads first, and libraries read it when they are loaded.
    from accel.auto import remember, tuned_on
    from accel.plan import ErrorBudget
    from accel.tune import run_tuning
    from accel.tune_table import tune_notes, tune_record, tune_table

    asked = spec.parameters
    assert isinstance(asked, TuneParameters)
    budget = ErrorBudget(
        asked.energy_mev_per_atom,
        asked.force_rmse_mev_per_a,
        asked.force_max_mev_per_a,
        asked.stress_rmse_mev_per_a3,
    )
    measured = load(spec, asked)
    result = run_tuning(
        measured.model,
        measured.systems,
        budget,
        measured.labelled,
        plans=measured.plans,
        skip=asked.skip,
        repeats=asked.repeats,
        seed=spec.seed,
        stress=asked.stress,
        memory=asked.memory,
        device=spec.device,
        report=Reporter(emit),
    )
    plan = result.tuned_plan(tuned_on(measured.model, measured.systems, spec.device))
    if not asked.plans:  # a choice among a few is not what `auto` promises
        remember(measured.model, plan, spec.device)
    for one in result.break_even:
        emit(Caution(one.sentence))
    return outcome(
        spec,
        measured.model,
        tune_table(result),
        tune_notes(result),
        tune_record(result),
        told={"plan_file": PLAN_FILE},
        files={PLAN_FILE: plan.to_json()},
    )


if __name__ == "__main__":
    sys.exit(main("tune", run))
