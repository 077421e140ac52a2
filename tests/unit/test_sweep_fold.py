"""A sweep as one job, and what its members have measured as one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.protocol import Accuracy, Body, Event, Progress, Result, Start, Timing
from jobs.spec import RunSpec
from jobs.sweep import SweepSpec
from workbench.model.job import Job, JobSpec, JobState, JobStatus, Part, Resources
from workbench.model.record import job_from_json, job_record, job_to_json
from workbench.model.run import Run
from workbench.model.sweep import Sweep, folded, progress_of, sweep_of
from workbench.model.sweep_result import fold
from workbench.model.sweep_rows import figure_of
from workbench.report import sweep_text, sweep_values
from workbench.sweeps import again_of, by_submission


def members_of(over: Mapping[str, Any], states: Iterable[JobState] = (), sweep: str = "abc234") -> list[Job]:
    spec = SweepSpec(RunSpec(name="a question?"), over)
    points = spec.points
    given = list(states) or [JobState.COMPLETED] * len(points)
    return [
        Job(
            id=f"{sweep}.{index}",
            profile="local",
            folder=f"/runs/{sweep}/{index}",
            spec=JobSpec(run),
            status=JobStatus(given[index % len(given)], started_at=10.0 + index, ended_at=20.0 + index),
            created_at=1.0,
            part=Part(sweep, "a question?", index, len(points), point),
        )
        for index, (run, point) in enumerate(zip(spec.members(), points, strict=True))
    ]


def told(*bodies: Body, host: str = "n1") -> Run:
    run = Run()
    start = Start("benchmark", provenance={"device": "cpu", "host": host, "date": host})
    for seq, body in enumerate((start, *bodies), 1):
        run.apply(Event(seq, 1, float(seq), body))
    return run


def timed(plan: str, values: Iterable[float], case: str = "24 atoms", n_atoms: int = 24) -> list[Body]:
    return [Timing(plan, ms, case, "timed", index, n_atoms) for index, ms in enumerate(values)]


# -- one job -------------------------------------------------------------------------------------


def test_members_are_folded_where_the_first_of_them_stands_and_other_jobs_stay() -> None:
    first, second = members_of({"seed": (0, 1)})
    alone = replace(first, id="zzz", part=None)
    jobs = folded([alone, second, first])
    assert jobs[0] is alone
    (sweep,) = jobs[1:]
    assert isinstance(sweep, Sweep)
    assert (sweep.id, sweep.folder, sweep.spec.name) == ("abc234", "/runs/abc234", "a question?")
    assert sweep.members == (first, second)
    assert sweep.over == {"seed": (0, 1)}
    assert sweep.elapsed_s(99.0) == 11.0


def test_a_sweep_whose_members_are_the_same_is_the_same() -> None:
    members = members_of({"seed": (0, 1)})
    (before,) = folded(members)
    assert isinstance(before, Sweep)
    assert folded(members[::-1], {before.id: before})[0] is before
    changed = [members[0], replace(members[1], as_of=5.0)]
    assert folded(changed, {before.id: before})[0] is not before


@pytest.mark.parametrize(
    ("states", "state", "summary"),
    [
        (["COMPLETED", "COMPLETED"], "COMPLETED", "2✓"),
        (["COMPLETED", "FAILED", "RUNNING", "PENDING"], "RUNNING", "1✓ 1✗ 1▶ 1○"),
        (["PENDING", "SUBMITTING"], "PENDING", "2○"),
        (["COMPLETED", "PENDING"], "RUNNING", "1✓ 1○"),
        (["COMPLETED", "TIMEOUT", "TIMEOUT"], "TIMEOUT", "1✓ 2✗"),
        (["CANCELLED", "TIMEOUT", "COMPLETED"], "FAILED", "1✓ 2✗"),
        (["SUBMITTING"], "SUBMITTING", "1○"),
        (["COMPLETING", "PENDING"], "COMPLETING", "1▶ 1○"),
    ],
)
def test_the_state_of_a_sweep_is_that_of_its_members(states: list[str], state: str, summary: str) -> None:
    members = members_of({"seed": tuple(range(len(states)))}, map(JobState, states))
    sweep = sweep_of(members)
    assert (sweep.state, sweep.summary) == (JobState(state), summary)


@given(st.lists(st.sampled_from(JobState), min_size=1, max_size=12))
def test_a_sweep_is_over_when_all_members_are_and_counts_each_once(states: list[JobState]) -> None:
    sweep = sweep_of(members_of({"seed": tuple(range(len(states)))}, states))
    assert sweep.state.is_over == all(state.is_over for state in states)
    assert (sweep.state is JobState.COMPLETED) == (set(states) == {JobState.COMPLETED})
    assert sum(sweep.counts.values()) == len(states)
    assert len(sweep.failed) == sweep.counts.get("✗", 0)


def test_why_a_member_failed_is_said_before_why_another_waits() -> None:
    failed, waiting = members_of({"seed": (0, 1)}, [JobState.FAILED, JobState.PENDING])
    waiting = replace(waiting, status=JobStatus(JobState.PENDING, "Priority"))
    assert sweep_of([waiting, failed]).status.reason == ""
    failed = replace(failed, status=JobStatus(JobState.FAILED, "no room"))
    assert sweep_of([waiting, failed]).status.reason == "abc234.0: no room"


def test_progress_is_that_of_all_members() -> None:
    members = members_of({"seed": (0, 1, 2, 3)}, map(JobState, ["COMPLETED", "RUNNING", "PENDING", "FAILED"]))
    runs = {members[1].id: told(Progress(1, 2)), members[3].id: told(Progress(9, 10))}
    progress = progress_of(sweep_of(members), runs).progress
    assert progress is not None
    assert progress.done / progress.total == 1.5 / 4


def test_members_survive_their_record_and_a_sweep_tells_of_them() -> None:
    members = members_of({"sizes": (24, (96, 192)), "seed": (0,)})
    assert [job_from_json(job_to_json(member)) for member in members] == members
    record = job_record(sweep_of(members))
    assert [member["id"] for member in record["members"]] == ["abc234.0", "abc234.1"]
    assert record["summary"] == "2✓"


# -- one table -----------------------------------------------------------------------------------


def test_seeds_are_pooled_and_their_spread_is_told() -> None:
    members = members_of({"sizes": (24, 96), "seed": (0, 1)})
    runs = {
        members[0].id: told(*timed("reference", [10, 10, 10]), *timed("fast", [5, 5, 5])),
        members[1].id: told(*timed("reference", [30, 30, 30]), *timed("fast", [10, 10, 10]), host="n2"),
        members[2].id: told(*timed("reference", [40], "96 atoms", 96)),
    }
    found = fold(sweep_of(members), runs)
    assert (found.axes, found.pooled, found.n_measured, found.n_members) == (
        ["parameters.sizes"], ["seed"], 3, 4,
    )  # fmt: skip
    assert found.about == "3 of 4 members, evaluations pooled over seed"
    reference, fast, large = found.rows
    assert (reference.median_ms, reference.n_evaluations, reference.n_members) == (20, 6, 2)
    assert (reference.low_ms, reference.high_ms, reference.spread) == (10, 30, 1.0)
    assert (fast.speed_up, reference.speed_up) == (2.5, 1.0)
    assert (large.point, large.spread, large.n_atoms) == ({"parameters.sizes": 96}, None, 96)
    assert found.measured_on == {"device": "cpu", "host": "n1, n2"}


def test_the_worst_error_of_the_members_is_shown_and_one_out_of_tolerance_is_named() -> None:
    members = members_of({"seed": (0, 1)})
    runs = {
        member.id: told(*timed("fast", [5]), Accuracy("fast", force_rmse_mev_per_a=error, passed=error < 1))
        for member, error in zip(members, (0.5, 2.0), strict=True)
    }
    found = fold(sweep_of(members), runs)
    assert (found.rows[0].force_rmse_mev_per_a, found.rows[0].passed) == (2.0, False)
    assert found.cells[0][list(found.columns).index("error")] == "too large"


def test_a_chart_goes_along_the_first_axis_of_numbers_with_a_line_for_each_plan_and_other_value() -> None:
    members = members_of({"model": ("a", "b"), "sizes": (96, 24), "seed": (0,)})
    runs = {
        member.id: told(*timed("fast", [1.0, 2.0, 3.0]), *timed("reference", [9.0])) for member in members
    }
    found = fold(sweep_of(members), runs)
    assert found.axis == "parameters.sizes"
    assert [line.name for line in found.lines] == ["fast a", "reference a", "fast b", "reference b"]
    line = found.lines[0]
    assert (line.xs, line.medians, line.lows, line.highs) == ([24, 96], [2, 2], [1.5, 1.5], [2.5, 2.5])


def test_what_differs_in_no_number_has_a_mark_for_each_name_the_slowest_first() -> None:
    members = members_of({"model": ("a",), "plans": ("fast", "exact")})
    runs = {
        member.id: told(*timed("reference", [8, 12 + 4 * index]), *timed(plan, [index + 1]))
        for index, (member, plan) in enumerate(zip(members, ("fast", "exact"), strict=True))
    }
    found = fold(sweep_of(members), runs)
    assert (found.axis, found.lines) == (None, [])
    # The reference, which each member timed beside its own plan, is one mark.
    assert [(mark.name, mark.median_ms, mark.speed_up) for mark in found.marks] == [
        ("reference", 11, 1), ("exact", 2, 6), ("fast", 1, 10),
    ]  # fmt: skip
    assert (found.marks[0].low_ms, found.marks[0].high_ms) == (9, 14)


def test_marks_are_told_apart_by_the_values_that_differ() -> None:
    members = members_of({"model": ("a", "b"), "device": ("cpu",)})
    found = fold(sweep_of(members), {member.id: told(*timed("fast", [1])) for member in members})
    assert sorted(mark.name for mark in found.marks) == ["fast a", "fast b"]


def test_several_systems_of_a_member_are_lines_of_their_own() -> None:
    members = members_of({"threads": (1, 2)})
    run = told(*timed("fast", [1], "24 atoms"), *timed("fast", [4], "96 atoms"))
    found = fold(sweep_of(members), {member.id: run for member in members})
    assert [line.name for line in found.lines] == ["fast 24 atoms", "fast 96 atoms"]


def test_tables_of_other_experiments_are_set_below_each_other() -> None:
    members = members_of({"seed": (0, 1, 2)})
    summaries = ({"columns": ["plan", "drift"], "rows": [["exact", 1.0]]}, {"best": "fast"})
    runs = {
        member.id: told(Result("results.json", summary))  # type: ignore[arg-type]
        for member, summary in zip(members, summaries, strict=False)
    }
    found = fold(sweep_of(members), runs)
    assert found.columns == ["seed", "plan", "drift", "best"]
    assert found.cells == [[0, "exact", 1.0, None], [1, None, None, "fast"]]


def test_nothing_measured_is_said() -> None:
    sweep = sweep_of(members_of({"seed": (0, 1)}, [JobState.PENDING]))
    assert sweep_text(sweep, {}) == "abc234: none of its 2 members has measured anything (2○)."
    assert sweep_values(sweep, {})["summary"]["rows"] == []


def test_the_figure_of_a_member_is_its_fastest_plan() -> None:
    assert figure_of(Run()) is None
    assert figure_of(told(*timed("reference", [8]), *timed("fast", [2, 4, 3]))) == ("fast", 3, 8 / 3)
    assert figure_of(told(*timed("fast", [2]))) == ("fast", 2, None)


# -- again ---------------------------------------------------------------------------------------


def test_failed_members_are_proposed_with_enough_for_each() -> None:
    states = map(JobState, ["COMPLETED", "TIMEOUT", "OUT_OF_MEMORY", "FAILED"])
    members = members_of({"seed": (0, 1, 2, 3)}, states)
    asked = Resources(time_limit_s=600, memory_mb=1000)
    members = [replace(member, spec=replace(member.spec, resources=asked)) for member in members]
    proposal = again_of(sweep_of(members), {member.id: Run() for member in members})
    assert proposal.in_place
    assert proposal.resources.time_limit_s == 1200
    assert proposal.resources.memory_mb == 2048
    assert proposal.why.startswith("2 of 3 failed members: ")
    calm = sweep_of(members[3:])
    assert again_of(calm, {members[3].id: Run()}).why == ""


def test_jobs_that_were_submitted_together_are_found_together() -> None:
    first, second, third = members_of({"seed": (0, 1, 2)})
    assert third.part is not None
    third = replace(third, part=replace(third.part, submission=2))
    alone = replace(first, id="zzz", part=None)
    assert by_submission([first, alone, third, second]) == [[first, second], [alone], [third]]
