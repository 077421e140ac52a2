"""What is proposed for a job that is over."""

from dataclasses import replace

import pytest

from jobs.protocol import Body, Checkpoint, Event, Progress, Resource
from jobs.spec import MdParameters, RunSpec
from workbench.again import Again, again
from workbench.model.job import Job, JobSpec, JobState, JobStatus, Resources
from workbench.model.run import Run

MD = RunSpec(MdParameters())
BENCHMARK = RunSpec()
HOUR = Resources(time_limit_s=3600)


def proposed(
    state: JobState,
    spec: RunSpec = BENCHMARK,
    told: tuple[Body, ...] = (),
    resources: Resources = HOUR,
    most_minutes: int = 0,
) -> Again:
    run = Run()
    run.apply_all(Event(index + 1, 1, float(index), body) for index, body in enumerate(told))
    job = Job("abc234", "local", "/runs/abc234", JobSpec(spec, resources), JobStatus(state), 0.0)
    return again(job, run, most_minutes)


@pytest.mark.parametrize("state", [state for state in JobState if state.is_over])
def test_only_what_was_interrupted_and_has_saved_itself_goes_on_in_place(state: JobState) -> None:
    own_doing = state in (JobState.COMPLETED, JobState.FAILED)
    assert proposed(state, MD, (Checkpoint("c", 5),)).in_place is not own_doing
    assert not proposed(state, MD).in_place
    assert not proposed(state, BENCHMARK, (Checkpoint("c", 5),)).in_place


@pytest.mark.parametrize(
    "state", [JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.NODE_FAIL]
)
def test_what_lacked_nothing_is_asked_for_as_before(state: JobState) -> None:
    assert proposed(state) == Again(False, HOUR, "")


@pytest.mark.parametrize(
    ("spec", "told", "most", "minutes", "said"),
    [
        (BENCHMARK, (), 0, 120, "Its time of 60 min was up: 120 min are proposed."),
        (BENCHMARK, (Progress(10, 40),), 0, 288, "288 min are proposed"),
        (
            BENCHMARK,
            (Progress(10, 40),),
            90,
            90,
            "Its time of 60 min was up: the profile allows no more than 90 min.",
        ),
        (BENCHMARK, (), 60, 60, "was up, and the profile allows no more than 60 min."),
        (MD, (Checkpoint("c", 5),), 0, 60, "Its time of 60 min was up."),
        (MD, (Checkpoint("c", 5), Progress(30, 40)), 0, 60, "Its time of 60 min was up."),
        (MD, (Checkpoint("c", 5), Progress(10, 40)), 0, 216, "216 min are proposed"),
        (MD, (Checkpoint("c", 5), Progress(10, 40)), 90, 90, "90 min; more links go on after it."),
    ],
)
def test_more_time_is_proposed_by_what_progress_foretells(
    spec: RunSpec, told: tuple[Body, ...], most: int, minutes: int, said: str
) -> None:
    found = proposed(JobState.TIMEOUT, spec, told, most_minutes=most)
    assert found.resources == replace(HOUR, time_limit_s=60 * minutes)
    assert said in found.why


@pytest.mark.parametrize(
    ("had", "used", "memory_mb"),
    [(None, None, 8192), (None, 900.0, 2048), (4000, None, 8192), (4000, 5000.0, 10240)],
)
def test_more_memory_is_proposed(had: int | None, used: float | None, memory_mb: int) -> None:
    told = (Resource(rss_mb=used),) if used else ()
    found = proposed(JobState.OUT_OF_MEMORY, told=told, resources=replace(HOUR, memory_mb=had))
    assert found.resources.memory_mb == memory_mb
    assert f"{memory_mb} MB are proposed" in found.why
