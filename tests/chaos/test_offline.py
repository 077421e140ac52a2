"""Without a link: the program starts and shows what it knows, keeps what is asked for, and does it once."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.spec import RunSpec
from tests.chaos.link import Link
from tests.chaos.stream import JOB, Bench, Writer, assert_nothing_lost_or_doubled, wait_for
from tests.cluster import host
from tests.cluster.cluster import Cluster
from tests.waiting import PATIENCE_S, until
from workbench.config import Config
from workbench.errors import ConnectionFailed, NotAllowed, WorkbenchError
from workbench.model.job import Job, JobSpec, JobState, Resources
from workbench.services import Services, open_services

SLURM = {"scheduler": "slurm", "account": "MACE-SL3-CPU", "partition": "icelake", "python": sys.executable}
QUICK = JobSpec(RunSpec(name="later"), Resources(time_limit_s=600))


@pytest.fixture
def bench(cluster: Cluster, tmp_path: Path) -> Bench:
    return Bench(cluster, tmp_path)


async def refreshed(services: Services) -> None:
    """Ask once, whatever it comes to."""
    try:
        await services.refresh()
    except WorkbenchError:
        return


async def submitted(services: Services, job_id: str) -> Job:
    """The job, once the scheduler has it."""

    async def ask() -> Job:
        await refreshed(services)
        return services.job(job_id)

    return await until(ask, lambda job: job.key is not None)


def in_slurm(cluster: Cluster, job_id: str) -> int:
    """How many jobs the cluster was ever given for one of ours."""
    listing = ["sacct", "-X", "-n", "-P", "-a", "-S", "now-1hour", "-o", "JobID,Comment"]
    return sum(job_id in line for line in cluster.master.run(*listing).stdout.splitlines())


async def once_in_slurm(cluster: Cluster, job_id: str) -> bool:
    """Whether it was one, as soon as the accounting, which lags, knows of any."""

    async def ask() -> int:
        return await asyncio.to_thread(in_slurm, cluster, job_id)

    return await until(ask) == 1


async def ended(services: Services, job_id: str) -> None:
    async def ask() -> bool:
        await refreshed(services)
        return services.job(job_id).state.is_over

    await until(ask)


async def test_what_is_asked_for_without_a_link_survives_a_restart_and_is_submitted_once(
    bench: Bench, cluster: Cluster
) -> None:
    async with Link(cluster.address, 22).open() as link:
        config = bench.config(link.port, **SLURM)
        link.cut()
        async with open_services(config) as services:
            with pytest.raises(ConnectionFailed):
                await services.submit(QUICK.run, QUICK.resources)
            assert services.jobs() == []
            job = services.outbox.submit(QUICK, "chaos")
            await refreshed(services)
            assert services.job(job.id).state is JobState.WAITS_FOR_LINK
        async with open_services(config) as services:
            await refreshed(services)
            assert [known.state for known in services.jobs()] == [JobState.WAITS_FOR_LINK]
            link.mend()
            await submitted(services, job.id)
            await services.cancel(job.id)
            await ended(services, job.id)
        assert await once_in_slurm(cluster, job.id)


async def test_an_answer_that_is_cut_off_again_and_again_still_makes_one_job(
    bench: Bench, cluster: Cluster
) -> None:
    seed = secrets.randbelow(10**6)
    print(f"seed: {seed}")  # noqa: T201  # shown where the test fails
    chance = random.Random(seed)
    async with Link(cluster.address, 22).open() as link:
        config = bench.config(link.port, **SLURM)

        async def cut() -> None:
            while True:
                await asyncio.sleep(chance.uniform(0.3, 0.9))
                link.cut()
                await asyncio.sleep(0.05)
                link.mend()

        async with open_services(config) as services:
            job = services.outbox.submit(QUICK, "chaos")
            cutting = asyncio.ensure_future(cut())
            for _ in range(10):
                await refreshed(services)
                await asyncio.sleep(0.1)
            cutting.cancel()
            link.mend()
            await submitted(services, job.id)
            services.outbox.cancel(services.job(job.id))
            await ended(services, job.id)
        assert await once_in_slurm(cluster, job.id)


async def test_what_is_known_is_shown_without_a_link(bench: Bench, cluster: Cluster) -> None:
    writer = Writer(bench.run, n_events=200, per_s=4000)
    async with Link(cluster.address, 22).open() as link:
        config = bench.config(link.port)
        async with bench.opened(config) as reader, writer.writing():
            await wait_for(lambda: reader.n_events == writer.n_events)
        link.cut()
        async with open_services(config) as services:
            (job,) = services.jobs()
            assert job.id == JOB
            with pytest.raises(ConnectionFailed):
                await services.fetch(JOB)
            assert services.run(JOB).n_events == writer.n_events


def program(config: Config) -> list[str]:
    """A process that follows the run until it is killed."""
    (profile,) = config.profiles.values()
    return [
        sys.executable,
        "-m",
        "tests.chaos.follower",
        str(config.state_folder),
        profile.ssh_config,
        "chaos",
    ]


async def test_a_program_that_is_killed_again_and_again_loses_and_doubles_nothing(bench: Bench) -> None:
    seed = secrets.randbelow(10**6)
    print(f"seed: {seed}")  # noqa: T201  # shown where the test fails
    chance = random.Random(seed)
    writer = Writer(bench.run, n_events=6000, per_s=1500)
    async with Link(bench.cluster.address, 22).open() as link:
        config = bench.config(link.port)
        bench.store(config).close()
        async with writer.writing():
            for _ in range(4):
                before = link.n_connected
                process = await asyncio.create_subprocess_exec(
                    *program(config), cwd=Path(__file__).parents[2], start_new_session=True
                )
                async with asyncio.timeout(PATIENCE_S):
                    await wait_for(lambda before=before: link.n_connected > before)  # type: ignore[misc]
                await asyncio.sleep(chance.uniform(0, 0.6))
                os.kill(process.pid, signal.SIGKILL)
                await process.wait()
            async with bench.opened(replace(config)) as reader:
                await wait_for(lambda: reader.n_events == writer.n_events)
                await wait_for(lambda: len(reader.log) == len(writer.log))
                assert_nothing_lost_or_doubled(writer, reader, config.state_folder)


async def test_a_restarted_scheduler_and_its_database_are_waited_for(bench: Bench, cluster: Cluster) -> None:
    async with (
        Link(cluster.address, 22).open() as link,
        open_services(bench.config(link.port, **SLURM)) as services,
    ):
        job = await services.submit(RunSpec(name="restart"), Resources(time_limit_s=600))
        await asyncio.to_thread(cluster.master.stop, "slurmctld")
        await asyncio.to_thread(cluster.master.stop, "slurmdbd")
        await asyncio.to_thread(cluster.start_slurmdbd)
        await asyncio.to_thread(cluster.start_slurmctld)
        await asyncio.to_thread(host.wait_for, cluster.is_up, "Slurm to be up again")

        async def asked_to_end() -> bool:
            try:
                await services.cancel(job.id)
            except NotAllowed:  # it has ended by itself
                return True
            except WorkbenchError:
                return False
            return True

        await until(asked_to_end)
        await ended(services, job.id)
    assert await once_in_slurm(cluster, job.id)
