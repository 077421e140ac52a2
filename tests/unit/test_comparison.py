from __future__ import annotations

from collections.abc import Mapping

import pytest

from jobs.protocol import Accuracy, Body, Event, Json, Start, Timing
from jobs.spec import RunSpec
from workbench.comparison import compare
from workbench.errors import NotAllowed
from workbench.model.job import Job, JobSpec, JobState, JobStatus
from workbench.model.run import Run


def a_run(
    job_id: str, times: Mapping[str, list[float]], *, threads: int = 1, **provenance: Json
) -> tuple[Job, Run]:
    job = Job(
        job_id, "local", f"/{job_id}", JobSpec(RunSpec(threads=threads)), JobStatus(JobState.COMPLETED), 0.0
    )
    run = Run()
    bodies: list[Body] = [
        Start("benchmark", provenance=provenance),
        *(Timing(plan, ms, case="liquid") for plan, series in times.items() for ms in series),
        Accuracy("fast", force_rmse_mev_per_a=0.004),
    ]
    run.apply_all(Event(seq, 1, float(seq), body) for seq, body in enumerate(bodies, 1))
    return job, run


def test_runs_stand_side_by_side_with_how_much_faster_each_is() -> None:
    compared = compare(
        [
            a_run("aaa", {"reference": [9.0, 10.0, 30.0]}, cpu="old"),
            a_run("bbb", {"reference": [5.0], "fast": [1.0]}, cpu="new", threads=2),
        ]
    )
    values = compared.values()
    assert values["measured"][0] == {
        "quantity": "median ms", "plan": "reference", "case": "liquid", "aaa": 10.0, "bbb": 5.0,
    }  # fmt: skip
    assert values["speed_up_over_the_first"][0] == {
        "plan": "reference", "case": "liquid", "aaa": 1.0, "bbb": 2.0,
    }  # fmt: skip
    assert {row["key"]: (row["aaa"], row["bbb"]) for row in values["differences"]} == {
        "threads": ("1", "2"),
        "cpu": ("old", "new"),
    }
    fast = next(row for row in values["measured"] if row["plan"] == "fast" and row["quantity"] == "median ms")
    assert (fast["aaa"], fast["bbb"]) == (None, 1.0)
    assert "times faster" in compared.text()


def test_the_same_run_differs_in_nothing() -> None:
    text = compare([a_run("aaa", {"reference": [1.0]}, cpu="x")]).text()
    assert "nothing differs" in text
    assert "times faster" not in text


def test_runs_that_measured_nothing_are_not_compared() -> None:
    job, _ = a_run("aaa", {})
    with pytest.raises(NotAllowed, match="measured anything"):
        compare([(job, Run())])
