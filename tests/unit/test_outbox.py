"""What was asked for without a link waits in the store, survives everything, and is done once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from jobs.spec import RunSpec
from workbench.errors import ConnectionFailed, NotAllowed, SchedulerError, SubmissionUnclear
from workbench.ledger import Ledger
from workbench.model.job import Job, JobKey, JobSpec, JobState, JobStatus
from workbench.outbox import Outbox
from workbench.store import Store

SPEC = JobSpec(RunSpec(name="later"))
OFFLINE = ConnectionFailed("csd3", "no connection")


class Host:
    """Carries out what it is asked, as long as it can be reached; remembers in which order."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.fails: Exception | None = None

    async def submit(self, job: Job) -> None:
        await self._do("submit", job)

    async def cancel(self, job: Job) -> None:
        await self._do("cancel", job)

    async def _do(self, what: str, job: Job) -> None:
        await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        self.done.append((what, job.id))


class Program:
    """One run of the program on a store."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "store.sqlite")
        self.ledger = Ledger(self.store)
        self.now = 1000.0
        self.outbox = Outbox(self.store, self.ledger, lambda: self.now)

    def waiting(self) -> list[tuple[str, str]]:
        return [(request.what, request.job.id) for request in self.outbox.requests()]

    def running(self, job_id: str = "runs22", profile: str = "csd3") -> Job:
        key = JobKey("csd3", "17", 1.0)
        status = JobStatus(JobState.RUNNING)
        return self.ledger.keep(Job(job_id, profile, "/runs/x", SPEC, status, created_at=1.0, key=key))

    async def carry_out(self, host: Host, profile: str = "csd3") -> None:
        assert not await self.outbox.carry_out(profile, host.submit, host.cancel)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


async def test_a_request_outlives_the_program_and_is_done_once(program: Program, tmp_path: Path) -> None:
    job = program.outbox.submit(SPEC, "csd3")
    program.store.close()
    host, later = Host(), Program(tmp_path)
    (shown,) = later.outbox.with_waiting(later.ledger.newest_first())
    assert (shown.id, shown.state, shown.spec) == (job.id, JobState.WAITS_FOR_LINK, SPEC)
    assert later.outbox.job(job.id[:4]) == shown
    await later.carry_out(host)
    await later.carry_out(host)
    assert host.done == [("submit", job.id)]
    assert later.waiting() == []


async def test_what_cannot_be_done_now_goes_on_waiting_in_its_order(program: Program) -> None:
    host = Host()
    jobs = [program.outbox.submit(SPEC, "csd3") for _ in range(3)]
    for failure in (OFFLINE, SubmissionUnclear("no answer")):
        host.fails = failure
        with pytest.raises(type(failure)):
            await program.outbox.carry_out("csd3", host.submit, host.cancel)
        assert program.waiting() == [("submit", job.id) for job in jobs]
    host.fails = None
    await program.carry_out(host)
    assert host.done == [("submit", job.id) for job in jobs]


async def test_hosts_do_not_wait_for_one_another(program: Program) -> None:
    far, near = program.outbox.submit(SPEC, "far"), program.outbox.submit(SPEC, "near")
    host = Host()
    await program.carry_out(host, "near")
    assert host.done == [("submit", near.id)]
    assert program.waiting() == [("submit", far.id)]


async def test_what_was_not_submitted_yet_is_forgotten_when_it_is_cancelled(program: Program) -> None:
    job = program.outbox.submit(SPEC, "csd3")
    assert program.outbox.cancel(job).state is JobState.CANCELLED
    host = Host()
    await program.carry_out(host)
    assert host.done == []


async def test_a_cancelling_never_overtakes_a_submission_that_is_under_way(program: Program) -> None:
    host = Host()
    job = program.outbox.submit(SPEC, "csd3")
    host.fails = SubmissionUnclear("no answer")
    with pytest.raises(SubmissionUnclear):
        await program.outbox.carry_out("csd3", host.submit, host.cancel)
    kept = program.ledger.keep(job)  # as the submission does before it asks the scheduler
    program.outbox.cancel(kept)
    assert program.waiting() == [("submit", job.id), ("cancel", job.id)]
    host.fails = None
    await program.carry_out(host)
    assert host.done == [("submit", job.id), ("cancel", job.id)]


async def test_a_job_is_to_be_ended_once_and_shows_it(program: Program) -> None:
    job = program.running()
    program.outbox.cancel(job)
    program.outbox.cancel(job)
    assert program.waiting() == [("cancel", job.id)]
    first, again = (program.outbox.with_waiting(program.ledger.newest_first())[0] for _ in range(2))
    assert first is again, "nothing is to be drawn anew for nothing"
    assert first.state is JobState.RUNNING
    assert "waits for the link" in first.status.reason


def test_what_is_over_is_not_to_be_ended(program: Program) -> None:
    over = JobStatus(JobState.COMPLETED)
    job = program.ledger.keep(Job("over22", "csd3", "/runs/x", SPEC, over, created_at=1.0))
    with pytest.raises(NotAllowed, match="over already"):
        program.outbox.cancel(job)


def test_a_job_is_resubmitted_once_and_only_when_it_is_over(program: Program) -> None:
    running = program.running()
    with pytest.raises(NotAllowed, match="not over"):
        program.outbox.submit(SPEC, "csd3", resubmitted_from=running.id)
    over = JobStatus(JobState.FAILED)
    program.ledger.keep(Job("over22", "csd3", "/runs/x", SPEC, over, created_at=1.0))
    program.outbox.submit(SPEC, "csd3", resubmitted_from="over22")
    with pytest.raises(NotAllowed, match="was resubmitted as"):
        program.outbox.submit(SPEC, "csd3", resubmitted_from="over22")


async def test_what_is_refused_is_told_and_holds_up_nothing(program: Program) -> None:
    first = program.outbox.submit(SPEC, "csd3")
    second = program.outbox.submit(SPEC, "csd3")
    host = Host()

    async def submit(job: Job) -> None:
        if job.id == first.id:
            raise SchedulerError("Invalid account")
        await host.submit(job)

    refused = await program.outbox.carry_out("csd3", submit, host.cancel)
    assert [str(error) for error in refused] == ["Invalid account"]
    assert host.done == [("submit", second.id)]
    assert program.waiting() == []


async def test_two_programs_do_one_request_once(program: Program, tmp_path: Path) -> None:
    job = program.outbox.submit(SPEC, "csd3")
    other, host = Program(tmp_path), Host()
    await asyncio.gather(program.carry_out(host), other.carry_out(host))
    assert host.done == [("submit", job.id)]


async def test_a_request_of_a_program_that_was_killed_is_taken_over(program: Program, tmp_path: Path) -> None:
    job = program.outbox.submit(SPEC, "csd3")
    (request,) = program.outbox.requests()
    assert program.store.take_request(request.number, program.now, program.now + 120)
    other, host = Program(tmp_path), Host()
    await other.carry_out(host)
    assert host.done == []
    other.now += 121
    await other.carry_out(host)
    assert host.done == [("submit", job.id)]


async def test_a_wait_that_is_given_up_half_way_leaves_the_request(program: Program) -> None:
    job = program.outbox.submit(SPEC, "csd3")
    begun = asyncio.Event()

    async def never(job: Job) -> None:
        begun.set()
        await asyncio.Event().wait()

    doing = asyncio.ensure_future(program.outbox.carry_out("csd3", never, never))
    await begun.wait()
    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing
    host = Host()
    await program.carry_out(host)
    assert host.done == [("submit", job.id)]
