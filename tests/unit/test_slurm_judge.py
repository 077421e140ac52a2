"""What the answers of a poll mean for one job."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from jobs.spec import RunSpec
from workbench.model.job import Job, JobKey, JobSpec, JobState, JobStatus
from workbench.model.queue import QueueEntry
from workbench.schedulers.slurm.judge import LOST_AFTER_S, Absences, Judge, clock_offset, is_absent, status_of
from workbench.schedulers.slurm.pace import Pace
from workbench.schedulers.slurm.parse import AccountEntry, Answer, Sentinel

JOB = Job(
    id="abc",
    profile="cluster",
    folder="/runs/abc",
    spec=JobSpec(RunSpec()),
    status=JobStatus(JobState.PENDING),
    created_at=1000.0,
    key=JobKey("csd3", "12", 1000.0),
)
ENTRY = QueueEntry(
    native_id="12",
    tasks="",
    state=JobState.RUNNING,
    said_state="RUNNING",
    reason="",
    why="",
    submitted_at=1000.0,
    started_at=1010.0,
    ended_at=4610.0,
    node="cpu-q-1",
    partition="icelake",
    qos="normal",
    account="acc",
    n_nodes=1,
    n_cpus=4,
    time_limit_s=3600.0,
    folder="/runs/abc",
    token="mw:abc:1",
    name="a run",
)
ACCOUNT = AccountEntry(
    native_id="12",
    state=JobState.FAILED,
    said_state="FAILED",
    exit_code=2,
    submitted_at=1000.0,
    started_at=1010.0,
    ended_at=1020.0,
    node="cpu-q-1",
    token="mw:abc:1",
)
SENTINEL = Sentinel("12", JobState.COMPLETED, 0, 1010.0, 1020.0, "cpu-q-2", 1)


def state_of(answer: Answer) -> JobState | None:
    status = status_of(JOB, answer)
    return status.state if status else None


def test_the_queue_is_believed_first() -> None:
    answer = Answer([ENTRY], {"12": ACCOUNT}, {"abc": SENTINEL})
    status = status_of(JOB, answer)
    assert status == JobStatus(JobState.RUNNING, started_at=1010.0, node="cpu-q-1")


def test_a_job_that_failed_just_now_has_ended_once_somebody_has_said_why() -> None:
    failed = replace(ENTRY, state=JobState.FAILED, said_state="FAILED", ended_at=1020.0)
    assert state_of(Answer([failed], now=1022.0)) == JobState.COMPLETING
    accounted = status_of(JOB, Answer([failed], {"12": ACCOUNT}, now=1022.0))
    assert accounted is not None
    assert (accounted.state, accounted.exit_code) == (JobState.FAILED, 2)
    # Where nobody ever says, it has ended all the same.
    assert state_of(Answer([failed], now=1060.0)) == JobState.FAILED
    assert state_of(Answer([failed], failures={"sacct": "no accounts here"}, now=1022.0)) == JobState.FAILED


def test_then_the_accounting_and_then_what_the_script_left() -> None:
    assert state_of(Answer([], {"12": ACCOUNT}, {"abc": SENTINEL})) == JobState.FAILED
    assert state_of(Answer([], {}, {"abc": SENTINEL})) == JobState.COMPLETED
    assert state_of(Answer()) is None


def test_accounting_that_lags_does_not_outweigh_the_end_that_the_script_saw() -> None:
    lagging = replace(ACCOUNT, state=JobState.RUNNING, said_state="RUNNING", ended_at=None)
    assert state_of(Answer([], {"12": lagging}, {"abc": SENTINEL})) == JobState.COMPLETED
    assert state_of(Answer([], {"12": lagging})) == JobState.RUNNING


def test_another_job_of_the_same_number_is_not_ours() -> None:
    assert state_of(Answer([replace(ENTRY, token="mw:other:1")])) is None
    assert state_of(Answer([], {"12": replace(ACCOUNT, token="mw:other:1")})) is None
    assert state_of(Answer([], {"12": replace(ACCOUNT, token="", submitted_at=10.0)})) is None
    assert state_of(Answer([], {}, {"abc": replace(SENTINEL, native_id="11")})) is None


def test_a_comment_that_the_site_has_changed_does_not_hide_a_job() -> None:
    assert state_of(Answer([replace(ENTRY, token="charged to X")])) == JobState.RUNNING
    assert state_of(Answer([], {"12": replace(ACCOUNT, token="")})) == JobState.FAILED


def test_a_job_without_a_key_is_known_by_its_token() -> None:
    status = status_of(replace(JOB, key=None), Answer([replace(ENTRY, native_id="77")]))
    assert status is not None
    assert status.state == JobState.RUNNING


def test_why_a_job_waits_and_when_it_may_start_are_told() -> None:
    waits = replace(ENTRY, state=JobState.PENDING, said_state="PENDING", reason="Priority", node="")
    status = status_of(JOB, Answer([waits]))
    assert status is not None
    assert status.started_at is None
    assert status.expected_start_at == 1010.0
    assert status.reason.endswith("(Priority)")


def test_a_state_that_is_not_known_is_no_end() -> None:
    status = status_of(JOB, Answer([replace(ENTRY, state=JobState.UNKNOWN, said_state="HIBERNATING")]))
    assert status is not None
    assert not status.state.is_over
    assert status.reason == "Slurm says HIBERNATING"


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ([JobState.COMPLETED, JobState.RUNNING, JobState.PENDING], JobState.RUNNING),
        ([JobState.COMPLETED, JobState.PENDING], JobState.PENDING),
        ([JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED], JobState.FAILED),
        ([JobState.COMPLETED, JobState.COMPLETED], JobState.COMPLETED),
    ],
)
def test_an_array_is_as_far_as_its_last_task(states: list[JobState], state: JobState) -> None:
    tasks = [replace(ENTRY, state=each, tasks=str(task)) for task, each in enumerate(states)]
    assert state_of(Answer(tasks)) == state


def test_the_exit_code_is_taken_from_whoever_knows_it() -> None:
    failed = replace(ENTRY, state=JobState.FAILED, said_state="FAILED")
    ended = replace(SENTINEL, state=JobState.FAILED, exit_code=7)
    for answer, code in (
        (Answer([failed], {}, {"abc": ended}), 7),
        (Answer([failed], {"12": ACCOUNT}), 2),
        (Answer([failed]), None),
        (Answer([replace(failed, state=JobState.COMPLETED)]), 0),
    ):
        status = status_of(JOB, answer)
        assert status is not None
        assert status.exit_code == code


@pytest.mark.parametrize(
    ("state", "said", "code", "reason"),
    [
        (JobState.TIMEOUT, "TIMEOUT", 143, "ask for more time"),
        (JobState.OUT_OF_MEMORY, "OUT_OF_MEMORY", 1, "more memory"),
        (JobState.FAILED, "FAILED", 137, "signal 9.*more memory"),
        (JobState.CANCELLED, "CANCELLED by 1000", None, "^cancelled by user 1000$"),
        (JobState.NODE_FAIL, "NODE_FAIL", None, "start it again"),
        (JobState.PREEMPTED, "PREEMPTED", None, "make way"),
    ],
)
def test_why_a_job_ended_is_said(state: JobState, said: str, code: int | None, reason: str) -> None:

    ended = replace(ACCOUNT, state=state, said_state=said, exit_code=code)
    status = status_of(JOB, Answer([], {"12": ended}))
    assert status is not None
    assert re.search(reason, status.reason)


def test_only_a_job_that_is_nowhere_for_a_while_is_lost() -> None:
    assert is_absent(JOB, Answer())
    assert not is_absent(JOB, Answer(failures={"squeue": "down"}))
    assert not is_absent(replace(JOB, key=None), Answer())
    assert status_of(JOB, Answer(), absent_s=LOST_AFTER_S) is None
    lost = status_of(JOB, Answer(), absent_s=LOST_AFTER_S + 1)
    assert lost is not None
    assert lost.state == JobState.LOST


def test_absence_counts_from_the_first_poll_that_misses_the_job() -> None:
    absences = Absences()
    assert absences.seconds("a", absent=True, now=100.0) == 0.0
    assert absences.seconds("a", absent=True, now=130.0) == 30.0
    assert absences.seconds("a", absent=False, now=140.0) == 0.0
    assert absences.seconds("a", absent=True, now=150.0) == 0.0
    absences.forget("a")
    assert absences.seconds("a", absent=True, now=170.0) == 0.0


def test_a_clock_that_is_wrong_is_corrected_and_one_that_is_right_does_not_flicker() -> None:
    assert clock_offset(0.4, 0.0) == 0.0
    assert clock_offset(300.0, 0.0) == 300.0
    assert clock_offset(301.0, 300.0) == 300.0
    assert clock_offset(2.0, 300.0) == 0.0
    status = status_of(JOB, Answer([ENTRY]), offset=300.0)
    assert status is not None
    assert status.started_at == 1310.0


def test_the_queue_is_asked_less_often_while_nothing_happens() -> None:
    now = [0.0]
    pace = Pace(2.0, 15.0, clock=lambda: now[0])
    asked = []
    for second in range(100):
        now[0] = float(second)
        if pace.is_due(["a"]):
            asked.append(second)
            pace.asked(["a"], changed=second == 0)
    assert asked[:4] == [0, 2, 5, 10]
    assert pace.interval_s == 15.0
    assert asked[-1] - asked[-2] == 15
    pace.asked(["a"], changed=True)
    assert pace.interval_s == 2.0


def test_the_queue_is_asked_at_once_for_a_new_job_and_after_something_was_done() -> None:
    pace = Pace(clock=lambda: 0.0)
    pace.asked(["a"], changed=False)
    assert not pace.is_due(["a"])
    assert not pace.is_due([])
    assert pace.is_due(["a", "b"])
    pace.stir()
    assert pace.is_due(["a"])


def test_what_the_queue_says_again_is_not_judged_again_and_what_it_says_anew_is() -> None:
    judge = Judge()
    waits = replace(ENTRY, state=JobState.PENDING, said_state="PENDING", reason="Priority")
    first = judge.statuses([JOB], Answer([waits], now=1000.0), 1000.0)["abc"]
    assert judge.statuses([JOB], Answer([waits], now=1002.0), 1002.0)["abc"] is first
    assert judge.statuses([JOB], Answer([ENTRY], now=1004.0), 1004.0)["abc"].state == JobState.RUNNING
    ended = replace(ENTRY, state=JobState.FAILED, said_state="FAILED")
    assert judge.statuses([JOB], Answer([ended], now=1006.0), 1006.0)["abc"].exit_code is None
    answer = Answer([ended], {"12": ACCOUNT}, now=1008.0)
    assert judge.statuses([JOB], answer, 1008.0)["abc"].exit_code == 2


def test_a_clock_that_is_put_right_moves_the_times_of_jobs_that_go_on() -> None:
    judge = Judge()
    before = judge.statuses([JOB], Answer([ENTRY], now=1000.0), 1000.0)["abc"]
    after = judge.statuses([JOB], Answer([ENTRY], now=1000.0), 1600.0)["abc"]
    assert before.started_at == 1010.0
    assert after.started_at == 1610.0


def test_polls_are_rarer_where_nothing_changes_for_long_and_rarest_where_nobody_looks() -> None:
    now = [0.0]
    pace = Pace(2.0, 15.0, clock=lambda: now[0])

    def ask(times: int, *, changed: bool = False) -> None:
        for _ in range(times):
            pace.asked(["a"], changed=changed)

    ask(10)
    assert (pace.interval_s, pace.n_polls) == (15.0, 10)
    now[0] = 601.0
    ask(10)
    assert pace.interval_s == 30.0
    pace.attend(False)
    ask(10)
    assert pace.interval_s == 60.0
    ask(1, changed=True)
    assert pace.interval_s == 60.0
    pace.attend(True)
    assert pace.interval_s == 15.0
    assert not pace.is_due(["a"])
    now[0] += 15
    assert pace.is_due(["a"])
    pace.stir()
    assert pace.interval_s == 2.0
