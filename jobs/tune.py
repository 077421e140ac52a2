"""`python -m jobs.tune SPEC.json`: the fastest plan inside an error budget, and its file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from accel.provenance import provenance
from jobs.benchmark import Reporter
from jobs.entry import Outcome, main
from jobs.protocol import Body, Caution
from jobs.spec import RunSpec, TuneParameters

log = logging.getLogger(__name__)

PLAN_FILE = "plan.json"


def run(spec: RunSpec, emit: Callable[[Body], object]) -> Outcome:
    """The tuning that the spec describes.

    Raises:
        AccelError: The model, the structures, a plan or the budget cannot be used.
    """
    # Late: libraries read the number of threads when they are loaded, and `entry` sets it first.
    import torch

    from accel.auto import remember, tuned_on
    from accel.data import load_structures
    from accel.plan import ErrorBudget, find_plan
    from accel.reference import describe, load_model
    from accel.systems import make_systems
    from accel.table import plain
    from accel.tune import run_tuning
    from accel.tune_table import tune_notes, tune_record, tune_table

    asked = spec.parameters
    assert isinstance(asked, TuneParameters)
    torch.set_num_threads(spec.threads)
    budget = ErrorBudget(
        asked.energy_mev_per_atom,
        asked.force_rmse_mev_per_a,
        asked.force_max_mev_per_a,
        asked.stress_rmse_mev_per_a3,
    )
    plans = [find_plan(name) for name in asked.plans]
    model = load_model(spec.model, allow_pickle=spec.allow_pickle)
    labelled = load_structures(asked.labelled, limit=asked.n_labelled) if asked.labelled else []
    systems = make_systems(model, load_structures(asked.structures), asked.sizes)
    measured_on = {
        **provenance(device=spec.device, threads=spec.threads),
        "model": {"name": spec.model, **plain(describe(model))},
    }
    result = run_tuning(
        model,
        systems,
        budget,
        labelled,
        plans=plans,
        skip=asked.skip,
        repeats=asked.repeats,
        seed=spec.seed,
        stress=asked.stress,
        memory=asked.memory,
        device=spec.device,
        report=Reporter(emit),
    )
    plan = result.tuned_plan(tuned_on(model, systems, spec.device))
    if not asked.plans:  # a choice among a few is not what `auto` promises
        remember(model, plan, spec.device)
    table, notes = tune_table(result), tune_notes(result)
    for one in result.break_even:
        emit(Caution(one.sentence))
    log.info("Done:\n%s\n%s", table.text(), "\n".join(notes))
    summary = {**table.record(), "measured_on": measured_on, "notes": notes}
    return Outcome(
        results={
            "measured_on": measured_on,
            "table": table.record(),
            "notes": notes,
            "plan_file": PLAN_FILE,
            **tune_record(result),
        },
        summary={**summary, "plan_file": PLAN_FILE},
        files={PLAN_FILE: plan.to_json()},
    )


if __name__ == "__main__":
    sys.exit(main("tune", run))
