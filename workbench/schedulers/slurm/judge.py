"""What a poll's answer means for one job: queue first, then accounting, then what the script has left.

Absent from the queue is not failed. Slurm forgets a job some minutes after its end, the accounting may lag
or not be there at all, and a file written on a node may show late. Only a job of which none of the three
has said anything for a while is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from workbench.model.job import Job, JobState, JobStatus
from workbench.model.queue import QueueEntry, held_by
from workbench.schedulers.slurm.parse import AccountEntry, Answer, Sentinel
from workbench.schedulers.slurm.states import ending, explained

LOST_AFTER_S = 180.0
"""Without a word of a job from anywhere."""
_ACCOUNTED_S = 15.0
"""After its end the accounts know of a job, where there are accounts."""
_SAME_CLOCK_S = 5.0
_OTHER_JOB_S = 600.0
"""A job that was submitted so long before ours has its number from an earlier count."""


class Judge:
    """Judges one poll after another; what the queue says again of a job is not judged again."""

    def __init__(self) -> None:
        self.absences = Absences()
        self.offset = 0.0
        """How far the host's clock is behind ours."""
        self._going_on: dict[str, tuple[Sequence[QueueEntry], JobStatus]] = {}
        """What the queue said of a job that is not over, and what that means."""

    def statuses(self, jobs: Sequence[Job], answer: Answer, now: float) -> Mapping[str, JobStatus]:
        """Where the jobs are, as far as that is known; `now` is by our clock."""
        if answer.now is not None:
            offset = clock_offset(now - answer.now, self.offset)
            if offset != self.offset:
                self.offset, self._going_on = offset, {}
        before, self._going_on = self._going_on, {}
        statuses = {}
        for job in jobs:
            entries = entries_of(job, answer)
            known = before.get(job.id)
            if known is not None and known[0] == entries:
                statuses[job.id] = known[1]
                self._going_on[job.id] = known
                continue
            absent = not entries and is_absent(job, answer)
            absent_s = self.absences.seconds(job.id, absent, now)
            status = status_of(job, answer, absent_s=absent_s, offset=self.offset)
            if status is not None:
                statuses[job.id] = status
                # One that is completing may be about to be accounted for, of which the queue says nothing.
                if entries and not status.state.is_over and status.state != JobState.COMPLETING:
                    self._going_on[job.id] = (entries, status)
        return statuses


class Absences:
    """Since when a job is nowhere to be found."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def seconds(self, job_id: str, absent: bool, now: float) -> float:
        """For how long by now."""
        if not absent:
            self._since.pop(job_id, None)
            return 0.0
        return now - self._since.setdefault(job_id, now)

    def forget(self, job_id: str) -> None:
        """The job starts again."""
        self._since.pop(job_id, None)


def clock_offset(measured: float, before: float) -> float:
    """How far the host's clock is behind ours; steady, so that a job's times do not flicker."""
    if abs(measured - before) <= _SAME_CLOCK_S:
        return before
    return measured if abs(measured) > _SAME_CLOCK_S else 0.0


def token_prefix(job: Job) -> str:
    """What the comment of a job begins with, in which its submission's number follows."""
    return f"mw:{job.part.sweep if job.part else job.id}:"


def entries_of(job: Job, answer: Answer) -> Sequence[QueueEntry]:
    """What the queue says of a job: one entry, or one for each part of an array."""
    ours = token_prefix(job)
    if job.key is None:
        if job.part is None:
            return answer.by_token.get(ours[:-1], ())
        token = f"{ours}{job.part.submission}"
        return [entry for entry in answer.of_task(ours[:-1], job.part.index) if entry.token == token]
    if job.part is None:
        named = answer.by_number.get(job.key.native_id, ())
    else:
        named = answer.of_task(job.key.native_id.partition("_")[0], job.part.index)
    # A site may put words of its own into comments: only another job's token tells against it.
    if len(named) == 1 and named[0].token.startswith(ours):
        return named  # as a rule; of ten thousand jobs, none is looked at twice
    return [entry for entry in named if entry.token.startswith(ours) or not entry.token.startswith("mw:")]


def account_of(job: Job, accounts: Mapping[str, AccountEntry]) -> AccountEntry | None:
    """What the accounting says of a job, and not of an earlier one of the same number."""
    if job.key is None or (entry := accounts.get(job.key.native_id)) is None:
        return None
    if entry.token.startswith("mw:"):
        return entry if entry.token.startswith(token_prefix(job)) else None
    if entry.submitted_at is not None and entry.submitted_at < job.key.submitted_at - _OTHER_JOB_S:
        return None
    return entry


def sentinel_of(job: Job, sentinels: Mapping[str, Sentinel]) -> Sentinel | None:
    """What the script has left, if it was this job's."""
    sentinel = sentinels.get(job.id)
    if sentinel is None or job.key is None or sentinel.native_id != job.key.native_id:
        return None
    return sentinel


def is_absent(job: Job, answer: Answer) -> bool:
    """Whether an answer that is whole has nothing on a job that should be there."""
    return (
        job.key is not None
        and "squeue" not in answer.failures
        and not entries_of(job, answer)
        and account_of(job, answer.accounts) is None
        and sentinel_of(job, answer.sentinels) is None
        and _rest_of_array(job, answer) is None
    )


def status_of(job: Job, answer: Answer, *, absent_s: float = 0.0, offset: float = 0.0) -> JobStatus | None:
    """Where the job is; none where that is not known and nothing speaks for its end.

    Args:
        job: The job.
        answer: A poll's.
        absent_s: For how long polls have had nothing on it.
        offset: Added to the host's times to make them ours.
    """
    entries = entries_of(job, answer)
    status = _from_queue(entries, offset) if entries else None
    if status is not None and not status.state.is_over:
        return status
    sentinel = sentinel_of(job, answer.sentinels)
    account = account_of(job, answer.accounts)
    if status is not None:
        if _is_heard_of_soon(status, answer, account, sentinel, offset):
            return replace(status, state=JobState.COMPLETING, ended_at=None)
        return _completed(status, account, sentinel)
    if account is not None and (account.state.is_over or sentinel is None):
        status = _from_account(account)
        if account.state.is_over:
            status = _completed(status, account, sentinel)
    elif sentinel is not None:
        status = JobStatus(
            state=sentinel.state,
            reason=ending(sentinel.state, exit_code=sentinel.exit_code),
            started_at=sentinel.started_at,
            ended_at=sentinel.ended_at,
            exit_code=sentinel.exit_code,
            node=sentinel.node,
        )
    elif (rest := _rest_of_array(job, answer)) is not None:
        status = rest
    elif absent_s > LOST_AFTER_S:
        reason = (
            "Slurm has forgotten it and it left nothing behind: killed, or its node went down; start it again"
        )
        status = JobStatus(JobState.LOST, reason=reason, started_at=job.status.started_at)
        return status
    else:
        return None
    return _shifted(status, offset)


def _is_heard_of_soon(
    status: JobStatus,
    answer: Answer,
    account: AccountEntry | None,
    sentinel: Sentinel | None,
    offset: float,
) -> bool:
    """Whether it has failed just now, and who knows why has not said so yet: accounts come a little later."""
    return (
        status.state == JobState.FAILED
        and sentinel is None
        and (account is None or not account.state.is_over)
        and "sacct" not in answer.failures
        and answer.now is not None
        and status.ended_at is not None
        and answer.now + offset - status.ended_at < _ACCOUNTED_S
    )


def _rest_of_array(job: Job, answer: Answer) -> JobStatus | None:
    """What is said of the tasks that never started, once they will not any more: Slurm names none of them."""
    if job.part is None or job.key is None:
        return None
    array = job.key.native_id.partition("_")[0]
    ours = token_prefix(job)
    for entry in answer.by_number.get(array, ()):
        if not entry.tasks and entry.state.is_over and entry.token.startswith(ours):
            return replace(_from_queue([entry]), started_at=None)
    account = answer.accounts.get(array)
    if account is not None and account.state.is_over and account.token.startswith(ours):
        return replace(_from_account(account), started_at=None, exit_code=None)
    return None


def _from_queue(entries: Sequence[QueueEntry], offset: float = 0.0) -> JobStatus:
    """Of an array the part that is furthest from its end speaks for it."""
    entry = entries[0] if len(entries) == 1 else min(entries, key=_urgency)
    return _said_of(
        entry.state, entry.said_state, entry.reason, entry.started_at, entry.ended_at, entry.node, offset
    )


def _urgency(entry: QueueEntry) -> int:
    return _URGENCY.get(entry.state, len(_URGENCY))


@lru_cache(maxsize=4096)
def _said_of(
    state: JobState,
    said_state: str,
    reason: str,
    started_at: float | None,
    ended_at: float | None,
    node: str,
    offset: float,
) -> JobStatus:
    """What the queue says of a job; thousands of them may wait for the same reason."""
    waits = state == JobState.PENDING
    status = JobStatus(
        state=state,
        reason=_reason(state, said_state, reason),
        started_at=None if waits else started_at,
        ended_at=ended_at if state.is_over else None,
        node=node,
        expected_start_at=started_at if waits else None,
        held_by=held_by(reason) if waits else "",
    )
    return _shifted(status, offset)


def _reason(state: JobState, said_state: str, reason: str) -> str:
    if state.is_over:
        return ending(state, said_state)
    if state == JobState.UNKNOWN:
        return f"Slurm says {said_state}"
    return explained(reason) if state in (JobState.PENDING, JobState.SUSPENDED) else ""


_URGENCY = {
    JobState.RUNNING: 0,
    JobState.COMPLETING: 1,
    JobState.SUSPENDED: 2,
    JobState.UNKNOWN: 3,
    JobState.PENDING: 4,
    JobState.FAILED: 5,
    JobState.NODE_FAIL: 6,
    JobState.OUT_OF_MEMORY: 7,
    JobState.TIMEOUT: 8,
    JobState.PREEMPTED: 9,
    JobState.CANCELLED: 10,
}


def _from_account(account: AccountEntry) -> JobStatus:
    reason = ending(account.state, account.said_state)
    if account.state == JobState.UNKNOWN:
        reason = f"Slurm says {account.said_state}"
    return JobStatus(
        state=account.state,
        reason=reason,
        started_at=account.started_at,
        ended_at=account.ended_at if account.state.is_over else None,
        exit_code=account.exit_code,
        node=account.node,
    )


def _completed(status: JobStatus, account: AccountEntry | None, sentinel: Sentinel | None) -> JobStatus:
    """With exit code and reason from whoever knows them."""
    code = status.exit_code
    if sentinel is not None and sentinel.state != JobState.COMPLETED:
        code = sentinel.exit_code
    elif code is None and account is not None:
        code = account.exit_code
    if code is None and status.state == JobState.COMPLETED:
        code = 0
    said = account.said_state if account is not None else ""
    return replace(status, exit_code=code, reason=ending(status.state, said, code))


def _shifted(status: JobStatus, offset: float) -> JobStatus:
    if not offset:
        return status

    def ours(at: float | None) -> float | None:
        return None if at is None else at + offset

    return replace(
        status,
        started_at=ours(status.started_at),
        ended_at=ours(status.ended_at),
        expected_start_at=ours(status.expected_start_at),
    )
