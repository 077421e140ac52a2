from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.spec import RunSpec
from tests.waiting import until
from workbench.errors import SchedulerError
from workbench.model.job import Job, JobSpec, JobState, JobStatus, Resources
from workbench.ports import Completed
from workbench.remote.bundle import DeployedCode
from workbench.remote.local import LocalConnection
from workbench.schedulers.process import ProcessScheduler

WAIT_FOR_GO = ["sh", "-c", "until [ -e go ]; do sleep 0.02; done; echo went"]
AWKWARD = 'it\'s "odd" $HOME\n| `id` → ÄÖ'


class CountingConnection(LocalConnection):
    def __init__(self) -> None:
        self.commands: list[Sequence[str]] = []

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> Completed:
        self.commands.append(argv)
        return await super().run(argv, stdin=stdin, cwd=cwd, env=env, check=check)


class Site:
    """A scheduler over this machine, with the jobs that a test has started on it."""

    def __init__(self, work: Path, *, slots: int = 1, python: str = sys.executable) -> None:
        self.work = work
        self.connection = CountingConnection()
        self._slots, self._python = slots, python
        self.scheduler = self.started_again()
        self.jobs: list[Job] = []

    def started_again(self) -> ProcessScheduler:
        """A scheduler that remembers nothing, as after a restart of the program."""
        code = DeployedCode(self.connection, str(self.work))
        return ProcessScheduler(
            self.connection, code, str(self.work), slots=self._slots, python=self._python, grace_s=0.3
        )

    def job(self, job_id: str, *, name: str = "", time_limit_s: int = 600) -> Job:
        return Job(
            id=job_id,
            profile="local",
            folder=f"{self.work}/runs/{job_id}",
            spec=JobSpec(RunSpec(name=name), Resources(time_limit_s=time_limit_s)),
            status=JobStatus(JobState.SUBMITTING),
            created_at=time.time(),
        )

    async def submit(self, job: Job, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Job:
        job = replace(job, key=await self.scheduler.submit(job, argv, env or {}))
        self.jobs.append(job)
        return job

    async def status(self, job: Job) -> JobStatus:
        return (await self.scheduler.poll([job]))[job.id]

    async def reaches(self, job: Job, *states: JobState) -> JobStatus:
        return await until(lambda: self.status(job), lambda status: status.state in states)

    async def is_over(self, job: Job) -> JobStatus:
        return await until(lambda: self.status(job), lambda status: status.state.is_over)

    def go(self, job: Job) -> None:
        Path(job.folder, "go").touch()

    def move_away(self, job: Job) -> None:
        Path(job.folder).rename(self.work / "aside")

    def log(self, job: Job) -> str:
        return Path(job.folder, "stdout.log").read_text()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path / "work 'folder' → |")
    yield site
    for job in site.jobs:
        if not (await site.status(job)).state.is_over:
            await site.scheduler.cancel(job)
            await site.is_over(job)


async def test_a_job_runs_and_its_status_tells_everything(site: Site) -> None:
    before = time.time()
    job = await site.submit(site.job("a"), ["sh", "-c", "echo hello; exit 3"])
    assert job.key is not None
    assert (job.key.cluster, job.key.native_id) == ("this machine", "a")
    assert before <= job.key.submitted_at <= time.time()
    status = await site.is_over(job)
    assert (status.state, status.exit_code) == (JobState.FAILED, 3)
    assert "exit status 3" in status.reason
    assert status.node
    assert status.started_at is not None
    assert status.ended_at is not None
    assert job.key.submitted_at <= status.started_at <= status.ended_at
    assert site.log(job) == "hello\n"


async def test_states_follow_the_job(site: Site) -> None:
    first = await site.submit(site.job("a"), WAIT_FOR_GO)
    second = await site.submit(site.job("b"), WAIT_FOR_GO)
    running = await site.reaches(first, JobState.RUNNING)
    assert running.started_at is not None
    assert running.ended_at is None
    waiting = await site.status(second)
    assert (waiting.state, waiting.reason, waiting.started_at) == (
        JobState.PENDING,
        "waits for a slot, 1 before it",
        None,
    )
    site.go(first)
    await site.reaches(second, JobState.RUNNING)
    site.go(second)
    assert (await site.is_over(second)).state is JobState.COMPLETED
    assert (await site.status(first)).state is JobState.COMPLETED


async def test_another_start_of_the_program_finds_every_job(site: Site) -> None:
    done = await site.submit(site.job("a"), ["true"])
    await site.is_over(done)
    running = await site.submit(site.job("b"), WAIT_FOR_GO)
    await site.reaches(running, JobState.RUNNING)
    site.scheduler = site.started_again()
    statuses = await site.scheduler.poll([done, running])
    assert {job_id: status.state for job_id, status in statuses.items()} == {
        "a": JobState.COMPLETED,
        "b": JobState.RUNNING,
    }
    await site.scheduler.cancel(running)
    assert (await site.is_over(running)).state is JobState.CANCELLED


async def test_submitting_the_same_job_again_gives_the_first_key(site: Site) -> None:
    job = await site.submit(site.job("a"), ["echo", "once"])
    assert await site.scheduler.submit(job, ["echo", "twice"], {}) == job.key
    await site.is_over(job)
    assert await site.started_again().submit(job, ["echo", "thrice"], {}) == job.key
    assert site.log(job) == "once\n"


async def test_one_poll_is_one_command_whatever_the_number_of_jobs(site: Site) -> None:
    jobs = [await site.submit(site.job(f"job{n}"), ["true"]) for n in range(6)]
    for count in (1, 6):
        site.connection.commands.clear()
        assert len(await site.scheduler.poll(jobs[:count])) == count
        assert len(site.connection.commands) == 1
    site.connection.commands.clear()
    assert await site.scheduler.poll([]) == {}
    assert site.connection.commands == []
    for job in jobs:
        await site.is_over(job)


async def test_a_job_whose_folder_is_gone_is_lost_and_says_so(site: Site) -> None:
    job = await site.submit(site.job("a"), ["true"])
    other = await site.submit(site.job("b"), ["true"])
    await site.is_over(job)
    site.move_away(job)
    statuses = await site.scheduler.poll([job, other])
    assert statuses["a"].state is JobState.LOST
    assert f"its folder {job.folder} is gone" in statuses["a"].reason
    assert statuses["b"].state is not JobState.LOST
    site.jobs.remove(job)


async def test_a_submission_that_may_be_under_way_is_not_judged(site: Site) -> None:
    young = site.job("young")
    old = replace(site.job("old"), created_at=time.time() - 3600)
    statuses = await site.scheduler.poll([young, old])
    assert list(statuses) == ["old"]
    assert statuses["old"].state is JobState.LOST


async def test_a_time_limit_and_a_cancellation_are_told_apart(site: Site) -> None:
    limited = await site.submit(site.job("a", time_limit_s=1), WAIT_FOR_GO)
    assert (await site.is_over(limited)).state is JobState.TIMEOUT
    cancelled = await site.submit(site.job("b"), WAIT_FOR_GO)
    await site.reaches(cancelled, JobState.RUNNING)
    await site.scheduler.cancel(cancelled)
    status = await site.is_over(cancelled)
    assert (status.state, status.exit_code) == (JobState.CANCELLED, 143)


async def test_a_requeued_job_goes_on_in_its_folder_under_a_new_key(site: Site) -> None:
    job = await site.submit(site.job("a"), ["sh", "-c", 'echo "$GIVEN"; [ -e go ]'], {"GIVEN": "kept"})
    with pytest.raises(SchedulerError, match="submit the job anew"):
        await site.scheduler.requeue(site.job("b"))
    assert (await site.is_over(job)).state is JobState.FAILED
    site.go(job)
    key = await site.scheduler.requeue(job)
    assert job.key is not None
    assert key.submitted_at > job.key.submitted_at
    assert (await site.is_over(replace(job, key=key))).state is JobState.COMPLETED
    assert site.log(job) == "kept\nkept\n"


async def test_a_job_that_is_not_over_is_not_requeued(site: Site) -> None:
    job = await site.submit(site.job("a"), WAIT_FOR_GO)
    with pytest.raises(SchedulerError, match=r"Job a is not over \(.*\): cancel it first"):
        await site.scheduler.requeue(job)


async def test_awkward_words_arrive_unchanged(site: Site) -> None:
    job = site.job("odd 'id' →", name=AWKWARD)
    job = await site.submit(job, ["printf", "%s", AWKWARD], {"GIVEN": AWKWARD, "PYTHONPATH": "/a b"})
    assert (await site.is_over(job)).state is JobState.COMPLETED
    assert site.log(job) == AWKWARD


async def test_code_that_was_removed_on_the_host_is_put_back(site: Site) -> None:
    job = await site.submit(site.job("a"), ["true"])
    await site.is_over(job)
    shutil.rmtree(site.work / "code")
    with pytest.raises(SchedulerError, match="there is no folder"):
        await site.status(job)
    assert (await site.status(job)).state is JobState.COMPLETED


async def test_more_slots_run_more_at_once(tmp_path: Path) -> None:
    site = Site(tmp_path, slots=3)
    jobs = [await site.submit(site.job(f"job{n}"), WAIT_FOR_GO) for n in range(4)]
    for job in jobs[:3]:
        await site.reaches(job, JobState.RUNNING)
    assert (await site.status(jobs[3])).state is JobState.PENDING
    for job in jobs:
        site.go(job)
    for job in jobs:
        assert (await site.is_over(job)).state is JobState.COMPLETED


async def test_jobs_submitted_at_once_all_run(site: Site) -> None:
    jobs = await asyncio.gather(*(site.submit(site.job(f"job{n}"), ["echo", str(n)]) for n in range(5)))
    for n, job in enumerate(jobs):
        assert (await site.is_over(job)).state is JobState.COMPLETED
        assert site.log(job) == f"{n}\n"


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("/no/such/python", "not found .*`python` in the profile"),
        ("false", "could not do `submit`: the command ended with 1"),
        ("echo", "answered to submit with something else"),
    ],
)
async def test_an_interpreter_that_is_none_is_named_with_the_way_out(
    tmp_path: Path, python: str, words: str
) -> None:
    site = Site(tmp_path, python=python)
    with pytest.raises(SchedulerError, match=words) as caught:
        await site.submit(site.job("a"), ["true"])
    assert str(caught.value).startswith("this machine")


async def test_a_job_that_cannot_be_started_is_refused_in_words(site: Site) -> None:
    with pytest.raises(SchedulerError, match="'A=B' cannot be the name of a variable"):
        await site.submit(site.job("a"), ["true"], {"A=B": "x"})
