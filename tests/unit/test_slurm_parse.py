"""The parsers of Slurm's answers: right on what Slurm says, and never raising on anything else."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.model.job import JobState
from workbench.schedulers.slurm.parse import (
    ACCOUNT_FIELDS,
    QUEUE_FIELDS,
    Answer,
    Marks,
    Submitted,
    parse_answer,
    parse_estimate,
    parse_exit,
    parse_sentinel,
    parse_submitted,
    parse_time,
)
from workbench.schedulers.slurm.states import ending, explained, job_state, refusal

MARKS = Marks("~r0~", "~f0~")
ROW = ["123", "N/A", "RUNNING", "None", "1700000000", "1700000100", "1700003700", "cpu-q-1", "icelake",
       "normal", "acc", "1", "4", "1-00:30:00", "/home/u/runs/a", "mw:a:1", "a run"]  # fmt: skip
ACCOUNT = ["123", "COMPLETED", "0:0", "1700000000", "1700000100", "1700000200", "cpu-q-1", "mw:a:1", "a run"]
SENTINEL = {
    "v": 1, "job": "123", "attempt": 2, "state": "FAILED", "exit_code": 3,
    "started_at": 1700000100, "ended_at": 1700000200, "node": "cpu-q-1",
}  # fmt: skip


def said(*records: list[str]) -> bytes:
    return "".join(MARKS.record + MARKS.field.join(record) + "\n" for record in records).encode()


def test_the_rows_of_this_test_are_as_many_as_are_asked_for() -> None:
    assert len(ROW) == len(QUEUE_FIELDS)
    assert len(ACCOUNT) == len(ACCOUNT_FIELDS)


def test_an_answer_is_read() -> None:
    answer = parse_answer(
        said(
            ["queue", *ROW],
            ["accounts", MARKS.field.join(ACCOUNT)],
            ["sentinel", "a", json.dumps(SENTINEL)],
            ["failed", "sacct", "no accounting\n"],
            ["now", "1700000300"],
        ),
        MARKS,
    )
    (entry,) = answer.queue
    assert (entry.native_id, entry.tasks, entry.state, entry.reason) == ("123", "", JobState.RUNNING, "")
    assert (entry.submitted_at, entry.started_at, entry.ended_at) == (1700000000, 1700000100, 1700003700)
    assert (entry.node, entry.token, entry.name) == ("cpu-q-1", "mw:a:1", "a run")
    assert (entry.n_nodes, entry.n_cpus, entry.time_limit_s) == (1, 4, 88200)
    account = answer.accounts["123"]
    assert (account.state, account.exit_code, account.token) == (JobState.COMPLETED, 0, "mw:a:1")
    assert answer.sentinels["a"].attempt == 2
    assert answer.failures == {"sacct": "no accounting"}
    assert answer.now == 1700000300


def test_what_the_queue_says_again_is_not_read_again() -> None:
    first = parse_answer(said(["queue", *ROW], ["queue", "124", *ROW[1:]], ["now", "1700000300"]), MARKS)
    again = Marks("~r1~", "~f1~")
    data = said(
        ["queue", "124", *ROW[1:]], ["queue", "123", "N/A", "COMPLETED", *ROW[3:]], ["now", "1700000302"]
    )
    data = data.replace(b"~r0~", b"~r1~").replace(b"~f0~", b"~f1~")
    second = parse_answer(data, again, first)
    assert second.queue[0] is first.queue[1]
    assert second.queue[1].state == JobState.COMPLETED
    assert second == replace(parse_answer(data, again), entries=second.entries)


@settings(deadline=None)
@given(st.text().filter(lambda name: "~r0~" not in name and "~f0~" not in name))
def test_a_name_is_kept_whatever_it_is(name: str) -> None:
    data = said(["queue", *ROW[:-1], name], ["now", "1700000300"])
    name = name.encode(errors="replace").decode()
    answer = parse_answer(data.decode().encode(), MARKS)
    assert [entry.name for entry in answer.queue] == [name]


@settings(deadline=None)
@given(st.binary())
def test_no_bytes_at_all_make_a_parser_raise(data: bytes) -> None:
    assert parse_answer(data, MARKS) == Answer(queue=[])
    assert parse_submitted(data, MARKS) is None


_KINDS = ["queue", "accounts", "sentinel", "failed", "now", "job", "refused", "unclear"]
_VALUES = [
    "\n",
    "123",
    "RUNNING",
    "CANCELLED by 1",
    "N/A",
    "9" * 30,
    "{",
    json.dumps(SENTINEL),
    "é",
    "\x00",
    "0:9",
]
_PIECES = st.sampled_from(["~r0~", "~f0~", *_KINDS, *_VALUES])


@settings(deadline=None)
@given(st.lists(_PIECES, max_size=60).map("".join))
def test_no_mixture_of_what_is_expected_makes_a_parser_raise(text: str) -> None:
    answer = parse_answer(text.encode(), MARKS)
    assert all(len(entry.native_id) <= len(text) for entry in answer.queue)
    submitted = parse_submitted(text.encode(), MARKS)
    assert submitted is None or submitted.outcome in ("job", "refused", "unclear")


@settings(deadline=None)
@given(st.text())
def test_no_text_makes_the_small_parsers_raise(text: str) -> None:
    assert isinstance(job_state(text), JobState)
    assert isinstance(explained(text), str)
    assert refusal(text)
    assert isinstance(ending(JobState.CANCELLED, text), str)
    parse_estimate(text)
    parse_sentinel(text)
    seconds = parse_time(text)
    assert seconds is None or seconds > 0
    code = parse_exit(text)
    assert code is None or code >= 0


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner)))
def test_a_sentinel_with_wrong_values_is_none(value: object) -> None:
    for key in ("job", "state", "exit_code", "attempt"):
        record = {**SENTINEL, key: value}
        sentinel = parse_sentinel(json.dumps(record))
        assert sentinel is None or key == "job" or type(value) is int


def test_a_name_with_newlines_cannot_forge_a_line_of_accounting() -> None:
    forged = [*ACCOUNT[:-1], "x\n999|FAILED|1:0||||||y"]
    answer = parse_answer(said(["accounts", MARKS.field.join(forged)]), MARKS)
    assert list(answer.accounts) == ["123"]


def test_an_answer_that_is_cut_short_has_no_time() -> None:
    whole = said(["queue", *ROW], ["now", "1700000300"])
    assert parse_answer(whole, MARKS).now is not None
    assert parse_answer(whole[:-12], MARKS).now is None


def test_marks_are_new_each_time() -> None:
    assert len({Marks.new().record for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("BOOT_FAIL", JobState.NODE_FAIL),
        ("CANCELLED", JobState.CANCELLED),
        ("CANCELLED by 1000", JobState.CANCELLED),
        ("CANCELLED+", JobState.CANCELLED),
        ("COMPLETED", JobState.COMPLETED),
        ("DEADLINE", JobState.TIMEOUT),
        ("FAILED", JobState.FAILED),
        ("NODE_FAIL", JobState.NODE_FAIL),
        ("OUT_OF_MEMORY", JobState.OUT_OF_MEMORY),
        ("PENDING", JobState.PENDING),
        ("PREEMPTED", JobState.PREEMPTED),
        ("RUNNING", JobState.RUNNING),
        ("SUSPENDED", JobState.SUSPENDED),
        ("TIMEOUT", JobState.TIMEOUT),
        ("COMPLETING", JobState.COMPLETING),
        ("RUNNING,COMPLETING", JobState.COMPLETING),
        ("CONFIGURING", JobState.PENDING),
        ("REQUEUE_HOLD", JobState.PENDING),
        ("SPECIAL_EXIT", JobState.PENDING),
        ("STOPPED", JobState.SUSPENDED),
        ("SIGNALING", JobState.RUNNING),
        ("STAGE_OUT", JobState.COMPLETING),
        ("REVOKED", JobState.UNKNOWN),
        ("HIBERNATING", JobState.UNKNOWN),
        ("", JobState.UNKNOWN),
    ],
)
def test_a_state_is_understood(text: str, state: JobState) -> None:
    assert job_state(text) == state


_FLAGS = """
    COMPLETING CONFIGURING LAUNCH_FAILED POWER_UP_NODE RECONFIG_FAIL REQUEUED REQUEUE_FED REQUEUE_HOLD
    RESIZING RESV_DEL_HOLD REVOKED SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED UPDATE_DB SOMETHING_NEW
""".split()  # noqa: SIM905


@pytest.mark.parametrize("flag", _FLAGS)
def test_no_flag_is_taken_for_an_end(flag: str) -> None:
    assert not job_state(flag).is_over


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1700000000", 1700000000.0),
        ("2023-11-14T22:13:20", 1700000000.0),
        ("N/A", None),
        ("Unknown", None),
        ("0", None),
        ("99999999999999", None),
        ("tomorrow", None),
    ],
)
def test_a_time_is_understood(text: str, seconds: float | None) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(("text", "code"), [("0:0", 0), ("3:0", 3), ("0:9", 137), ("", None), ("x:y", None)])
def test_an_exit_code_is_understood(text: str, code: int | None) -> None:
    assert parse_exit(text) == code


@pytest.mark.parametrize(
    ("record", "submitted"),
    [
        (["job", "12;csd3", "1700000000"], Submitted("job", "12", "csd3", at=1700000000)),
        (["job", "12\n", "1700000000"], Submitted("job", "12", at=1700000000)),
        (["job", "", "1700000000"], Submitted("unclear", said="sbatch answered ''")),
        (["refused", "no\n"], Submitted("refused", said="no")),
        (["unclear", ""], Submitted("unclear")),
        (["job", "12"], None),
    ],
)
def test_the_answer_to_a_submission_is_understood(record: list[str], submitted: Submitted | None) -> None:
    assert parse_submitted(said(record), MARKS) == submitted


def test_an_estimate_is_understood() -> None:
    text = "sbatch: Job 8 to start at 2023-11-14T22:13:20 using 2 processors on nodes cpu-q-1 in partition a"
    estimate = parse_estimate(text)
    assert (estimate.starts_at, estimate.node) == (1700000000, "cpu-q-1")
    assert parse_estimate("sbatch: nothing of the kind").starts_at is None


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Priority", "others are before it in the queue: .* (Priority)"),
        ("Resources", "nothing is free for it yet"),
        ("QOSMaxJobsPerUserLimit", "you run as many jobs as its QOS gives"),
        ("ReqNodeNotAvail, UnavailableNodes:cpu-q-1", "a node is down .*UnavailableNodes:cpu-q-1"),
        ("AssocGrpGRESMinutes", "no GPU hours left"),
        ("SomethingNew", "^SomethingNew$"),
        ("None", "^$"),
    ],
)
def test_why_a_job_waits_is_said_in_plain_words(reason: str, words: str) -> None:
    assert re.search(words.replace("(Priority)", r"\(Priority\)"), explained(reason))


def test_a_refusal_keeps_what_slurm_said_and_adds_what_to_do() -> None:
    text = "sbatch: error: Batch job submission failed: Invalid qos specification\n"
    assert refusal(text) == (
        "Batch job submission failed: Invalid qos specification: "
        "set `qos` of the profile to one that your account may use"
    )
    assert refusal("sbatch: error: out of luck") == "out of luck"
