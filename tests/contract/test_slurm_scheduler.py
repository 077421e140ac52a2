"""SlurmScheduler against a real Slurm, over a real SSH connection."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from jobs.spec import RunSpec
from tests.cluster.cluster import Cluster
from workbench.errors import LinkLost, SchedulerError
from workbench.model.job import Job, JobSpec, JobState, JobStatus, Resources
from workbench.ports import Completed, Connection, Question
from workbench.remote import asyncssh_connection
from workbench.remote.ssh_config import SshTarget
from workbench.schedulers.slurm import SlurmScheduler, SlurmSettings

HOME = "/home/mw123"
SETTINGS = SlurmSettings(account="MACE-SL3-CPU", partition="icelake")
WAIT_FOR_GO = ["sh", "-c", "until [ -e go ]; do sleep 0.05; done; echo went"]


class Nobody:
    """A prompter that has nothing to say."""

    async def ask(self, question: Question) -> str | None:
        raise AssertionError(question.text)

    async def trust(self, host: str, kind: str, fingerprint: str) -> bool:
        raise AssertionError(host)


@pytest.fixture
async def connection(cluster: Cluster) -> AsyncIterator[Connection]:
    connection = await asyncssh_connection.connect(SshTarget("login", cluster.ssh_config), Nobody())
    yield connection
    await connection.close()


@dataclass
class Site:
    connection: Connection
    scheduler: SlurmScheduler
    cluster: Cluster

    def job(self, *, name: str = "a run", **asked: object) -> Job:
        job_id = secrets.token_hex(4)
        return Job(
            id=job_id,
            profile="cluster",
            folder=f"{HOME}/runs/a folder's {job_id}",
            spec=JobSpec(RunSpec(name=name), Resources(**{"time_limit_s": 300, **asked})),  # type: ignore[arg-type]
            status=JobStatus(JobState.SUBMITTING),
            created_at=time.time(),
        )

    async def submit(
        self, job: Job, argv: Sequence[str] = ("true",), env: Mapping[str, str] | None = None
    ) -> Job:
        return replace(job, key=await self.scheduler.submit(job, argv, env or {}))

    async def until(self, job: Job, reached: Callable[[JobStatus], bool]) -> JobStatus:
        async with asyncio.timeout(60):
            while True:
                status = (await self.scheduler.poll([job])).get(job.id)
                if status is not None and reached(status):
                    return status
                await asyncio.sleep(0.1)

    async def end(self, job: Job) -> JobStatus:
        return await self.until(job, lambda status: status.state.is_over)

    async def running(self, job: Job) -> JobStatus:
        return await self.until(job, lambda status: status.state == JobState.RUNNING)

    async def text(self, job: Job, name: str) -> str:
        return (await self.connection.read(f"{job.folder}/{name}")).data.decode()

    async def slurm(self, *argv: str) -> str:
        return (await self.connection.run(argv)).stdout.decode().strip()


@pytest.fixture
async def site(connection: Connection, cluster: Cluster) -> AsyncIterator[Site]:
    site = Site(connection, SlurmScheduler(connection, SETTINGS), cluster)
    yield site
    await connection.run(["scancel", "-u", "mw123"], check=False)


async def test_a_job_runs_and_its_end_is_known(site: Site) -> None:
    job = await site.submit(site.job(), ["sh", "-c", 'echo "$GREETING"; pwd; exit 3'], {"GREETING": "hällo 'x'"})
    assert job.key is not None
    assert job.key.native_id.isdigit()
    status = await site.end(job)
    assert (status.state, status.exit_code, status.node) == (JobState.FAILED, 3, "cpu-q-1")
    assert status.started_at is not None
    assert status.ended_at is not None
    assert job.key.submitted_at - 5 <= status.started_at <= status.ended_at <= time.time() + 5
    assert await site.text(job, "stdout.log") == f"hällo 'x'\n{job.folder}\n"
    left = json.loads(await site.text(job, "exit.json"))
    assert (left["job"], left["state"], left["exit_code"], left["attempt"]) == (
        job.key.native_id, "FAILED", 3, 1,
    )  # fmt: skip


async def test_submitting_the_same_job_again_gives_the_same_key(site: Site) -> None:
    job = site.job()
    first, second = await site.submit(job), await site.submit(job)
    assert first.key == second.key
    assert len((await site.slurm("squeue", "-h", "-t", "all", "-n", "a run")).splitlines()) >= 1
    tokens = [entry for entry in await _tokens(site) if entry == f"mw:{job.id}:1"]
    assert len(tokens) == 1


async def test_two_submissions_of_one_job_at_the_same_time_make_one(site: Site) -> None:
    job = site.job()
    keys = await asyncio.gather(*(site.scheduler.submit(job, ["true"], {}) for _ in range(5)))
    assert len({key.native_id for key in keys}) == 1
    assert (await _tokens(site)).count(f"mw:{job.id}:1") == 1


async def _tokens(site: Site) -> list[str]:
    return (await site.slurm("squeue", "-h", "-t", "all", "-o", "%k")).splitlines()
