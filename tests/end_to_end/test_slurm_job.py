"""The main job on a cluster: the real program, a real Slurm behind a real sshd, a real MACE model."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cluster import site
from tests.cluster.cluster import Cluster
from tests.waiting import until
from workbench.config import load_config
from workbench.model.job import Job, JobState, Resources
from workbench.recipes import find_spec
from workbench.services import STORE_FILE, Services
from workbench.store import Store

ROOT = Path(__file__).parents[2]
TINY = [
    'parameters.plans=["reference"]',
    "parameters.sizes=[3]",
    "parameters.repeats=3",
    "parameters.n_labelled=2",
]
AT_ONCE = Resources(time_limit_s=600)


@pytest.fixture
def env(cluster: Cluster, tmp_path: Path) -> Mapping[str, str]:
    """Of a user whose default place is the cluster."""
    return {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(cluster.client)}


@asynccontextmanager
async def opened(env: Mapping[str, str], *, later_s: float = 0) -> AsyncIterator[Services]:
    config = load_config(env)
    services = Services(config, Store(config.state_folder / STORE_FILE), clock=lambda: time.time() + later_s)
    try:
        yield services
    finally:
        await services.close()


async def ended(services: Services, job: Job) -> Job:
    async def ask() -> Job:
        await services.refresh()
        return services.job(job.id)

    return await until(ask, lambda job: job.state.is_over)


async def test_a_run_goes_through_the_queue_and_its_results_come_back(env: Mapping[str, str]) -> None:
    async with opened(env) as services:
        job = await services.submit(find_spec("demo", TINY), AT_ONCE)
        assert job.state == JobState.PENDING
        assert job.folder.startswith("/home/mw123/rds/hpc-work/mace-workbench/runs/")
        job = await ended(services, job)
        assert job.state == JobState.COMPLETED, await services.log(job.id)
        run = await services.fetch_all(job.id)
        assert run.finish is not None
        assert run.start is not None
        assert run.start.host == job.status.node in site.CPU_NODES
        assert "spec" in await services.results(job.id)
        await services.requeue(job.id)
        job = await ended(services, job)
        assert (await services.fetch_all(job.id)).attempt == 2


async def test_a_submission_of_a_program_that_was_killed_is_finished_by_the_next(
    env: Mapping[str, str], cluster: Cluster
) -> None:
    command = [sys.executable, "-m", "workbench", "submit", "demo"]
    for change in TINY:
        command += ["--set", change]
    state = load_config(env).state_folder / STORE_FILE

    async def saved() -> list[Job]:
        if not state.exists():
            return []
        store = Store(state)
        jobs = store.jobs(0)[0]
        store.close()
        return list(jobs)

    program = await asyncio.create_subprocess_exec(*command, env=dict(env), cwd=ROOT)
    (job,) = await until(saved)
    program.kill()
    await program.wait()
    assert job.state == JobState.SUBMITTING
    async with opened(env, later_s=60) as services:
        await services.refresh()
        assert services.job(job.id).key is not None
        assert (await ended(services, job)).state == JobState.COMPLETED
    comments = cluster.login.run("squeue", "-h", "-t", "all", "-o", "%k", user=site.USER.name).stdout.split()
    assert comments.count(f"mw:{job.id}:1") == 1
