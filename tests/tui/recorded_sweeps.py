"""A sweep of six benchmarks, each at another point of its way."""

from __future__ import annotations

import random
from dataclasses import replace

from jobs.protocol import Accuracy, Body, Failure, Finish, Json, Progress, Result, Start, Timing
from jobs.spec import BenchmarkParameters, RunSpec
from jobs.sweep import SweepSpec
from tests.tui.moment import NOW
from tests.tui.recorded import RecordedWorkbench
from workbench.model.job import JobState

SWEEP = SweepSpec(
    RunSpec(BenchmarkParameters(), name="does fp32 pay at every size?"),
    {"sizes": (24, 96, 192), "seed": (0, 1)},
)
WHY = "No room is left for results.json (No space left on device): make room, and start the run again."
_MS = {"reference": 10.0, "reference-fp32": 7.0}
_ERROR = {"reference": 1.9e-14, "reference-fp32": 0.0046}
_MEASURED_ON: dict[str, Json] = {"model": {"name": "h2co-small"}, "device": "cpu", "threads": 1}


def swept() -> tuple[RecordedWorkbench, str]:
    """A workbench, and the id of the sweep in it: three done, one failed, one runs, one waits."""
    workbench = RecordedWorkbench()
    sweep_id = workbench.add_sweep(SWEEP).id
    for index, member in enumerate(workbench.members(sweep_id)):
        began = NOW - 300 + 40 * index
        if index < 5:
            state = (JobState.COMPLETED,) * 3 + (JobState.FAILED, JobState.RUNNING)
            over = index < 4
            status = replace(
                member.status, state=state[index], started_at=began, ended_at=began + 38 if over else None
            )
            workbench.known[member.id] = replace(member, status=status)
            workbench.tell(member.id, bodies(index), since=began)
    return workbench, sweep_id


def bodies(index: int) -> list[Body]:
    """What a member has told."""
    size = (24, 96, 192)[index // 2]
    chance = random.Random(index)
    start = Start("benchmark", host=f"node0{index % 2}", provenance=_MEASURED_ON)
    if index == 3:
        return [start, Failure(WHY), Finish("failed", 1, 3.0)]
    found: list[Body] = [start]
    n_rounds = 6 if index == 4 else 20
    for plan, ms in _MS.items():
        found.append(Accuracy(plan, "reference", f"{size} atoms", 1, 0.0, _ERROR[plan], _ERROR[plan]))
        found += [
            Timing(plan, ms * size / 24 * chance.gauss(1, 0.08), f"{size} atoms", "timed", i, size, 18 * size)
            for i in range(n_rounds)
        ]
    found.append(Progress(n_rounds, 20, f"timing {size} atoms"))
    if index < 3:
        host: dict[str, Json] = {"host": f"node0{index % 2}"}
        summary: dict[str, Json] = {"columns": [], "rows": [], "measured_on": {**_MEASURED_ON, **host}}
        found += [Result("results.json", summary), Finish("completed", 0, 38.0)]
    return found


NAMES = SweepSpec(
    RunSpec(BenchmarkParameters(), name="which plan on which model?"),
    {"model": ("h2co-small", "h2co-medium"), "plans": (("reference", "exact"), ("reference", "fast"))},
)


def swept_over_names(scale: float = 1.0) -> RecordedWorkbench:
    """A workbench with a sweep over nothing that is a number, all of it done; times are scaled."""
    workbench = RecordedWorkbench()
    ms = {"reference": 310.0, "exact": 6.2, "fast": 2.9}
    for index, member in enumerate(workbench.members(workbench.add_sweep(NAMES).id)):
        status = replace(member.status, state=JobState.COMPLETED, started_at=NOW - 90, ended_at=NOW - 60)
        workbench.known[member.id] = replace(member, status=status)
        chance = random.Random(index)
        found: list[Body] = [Start("benchmark", provenance=_MEASURED_ON)]
        parameters = member.spec.run.parameters
        assert isinstance(parameters, BenchmarkParameters)
        for plan in parameters.plans:
            factor = scale * (1 + index // 2) * ms[plan]
            found += [
                Timing(plan, factor * chance.gauss(1, 0.05), "96 atoms", "timed", i, 96, 18 * 96)
                for i in range(20)
            ]
        workbench.tell(member.id, [*found, Finish("completed", 0, 30.0)], since=NOW - 90)
    return workbench
