"""What is said when the user's quota is used up: a real one, on the disk of the work folder, on all hosts.

The disk is a small file with btrfs on it, whose quotas every kernel has that has btrfs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.spec import BenchmarkParameters, RunSpec
from tests.cluster import site as places
from tests.cluster.cluster import Cluster
from tests.cluster.host import HostFailed
from tests.contract.ssh import Laptop, by_asyncssh
from tests.contract.test_slurm_failures import said
from tests.contract.test_slurm_scheduler import HOME, SETTINGS, USER, WAIT_FOR_GO, Site
from workbench.errors import FileFailed
from workbench.model.job import Job, JobState
from workbench.ports import Connection
from workbench.remote.bundle import deploy
from workbench.schedulers.slurm import SlurmScheduler
from workbench.schedulers.slurm.pace import Pace

LOGIN = places.Login("quota", 2254, "publickey")
QUOTA = f"{HOME}/quota"
RUN_TO_THE_END = """\
import sys
from jobs.entry import Outcome, main
from jobs.protocol import Progress

def work(spec, emit):
    while True:
        emit(Progress(1, 2, "x" * 2000))

sys.exit(main("benchmark", work))
"""
"""An experiment that tells so much that no disk is large enough."""


@pytest.fixture(scope="module")
def disk(cluster: Cluster) -> Iterator[None]:
    """`~/quota` on the login node and on all nodes: 2 MiB for everything below it."""
    image, root = "/srv/quota.img", "/run/quota"
    make = f"""
        truncate -s 128M {image}
        mkfs.btrfs --mixed {image}
        mkdir {root}
        mount -o loop {image} {root}
        btrfs quota enable {root}
        btrfs subvolume create {root}/mine
        btrfs qgroup limit 2M {root}/mine
        chown {USER}: {root}/mine
    """
    cluster.login.run("mkdir", "-p", QUOTA, user=USER)
    try:
        cluster.login.run("sh", "-euc", make)
    except HostFailed as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"There is no disk with quotas to be had here: {error}")
    device = cluster.login.run("findmnt", "-no", "SOURCE", root).stdout.strip()
    mounted = [cluster.login, *(cluster.hosts[machine.name] for machine in places.COMPUTE)]
    for host in mounted:
        host.run("mount", "-o", "subvol=mine", device, QUOTA)
    cluster.start_login(LOGIN)  # it sees what is mounted by now
    yield
    cluster.login.run("pkill", "-f", f"sshd-{LOGIN.name}", check=False)
    for host in mounted:
        host.run("umount", "-l", QUOTA)
    cluster.login.run("umount", "-l", root)


@pytest.fixture
async def site(cluster: Cluster, disk: None, tmp_path: Path) -> AsyncIterator[Site]:
    async with by_asyncssh(Laptop(cluster, tmp_path).port(LOGIN.port)) as connection:
        yield Site(connection, SlurmScheduler(connection, SETTINGS, pace=Pace(0, 0)), cluster)
        await connection.run(["scancel", "-u", USER], check=False)
        await free(connection)


async def use_up(site: Site) -> None:
    """Write until no byte more is to be had."""
    fill = f"cd {QUOTA} && for size in 64k 1k 1; do dd if=/dev/zero bs=$size count=9999 >>fill; done; sync"
    done = await site.connection.run(["sh", "-c", fill], check=False)
    assert b"Disk quota exceeded" in done.stderr


async def free(connection: Connection) -> None:
    """Remove everything, and wait until the disk counts it as gone: it does so when it commits."""
    is_free = "sync -f . && head -c 300000 /dev/zero >probe"
    wait = f"cd {QUOTA} && rm -rf ./* && until {is_free}; do sleep 0.1; done; rm probe"
    await connection.run(["timeout", "60", "sh", "-c", wait])


def in_quota(job: Job) -> Job:
    return replace(job, folder=f"{QUOTA}/{job.id}")


async def test_code_that_does_not_fit_into_the_quota_is_said_and_leaves_nothing_behind(site: Site) -> None:
    sentence = await said(deploy(site.connection, f"{QUOTA}/code"))
    assert sentence.startswith(f"{QUOTA}/code/")
    assert "on login: the disk quota is used up; make room there and try again" in sentence
    assert (await site.slurm("find", QUOTA, "-type", "f")) == ""


async def test_a_submission_where_the_quota_is_used_up_says_so_and_is_made_once_there_is_room(
    site: Site,
) -> None:
    await use_up(site)
    job = in_quota(site.job())
    sentence = await said(site.submit(job))
    assert sentence.startswith(f"login did not take the job (`sbatch run.sh` in {job.folder}): ")
    assert "Disk quota exceeded: make room in your home and work folder" in sentence
    with pytest.raises(FileFailed, match="the disk quota is used up; make room there"):
        await site.connection.write(f"{QUOTA}/spec.json", b"x" * 5000)
    assert await site.submissions(job) == 0
    await free(site.connection)
    job = await site.submit(job)
    assert (await site.end(job)).state == JobState.COMPLETED


async def test_a_run_that_uses_up_the_quota_ends_and_its_job_says_so(site: Site) -> None:
    code = await deploy(site.connection, f"{HOME}/code-for-quota")
    job = in_quota(site.job())
    await site.connection.write(
        f"{job.folder}/spec.json", RunSpec(BenchmarkParameters(), name="mine").to_json().encode()
    )
    argv = [sys.executable, "-c", RUN_TO_THE_END, f"{job.folder}/spec.json"]
    job = await site.submit(job, argv, {"PYTHONPATH": code})
    status = await site.end(job)
    # Python's own 120 says that the log could not be written either.
    assert status.state == JobState.FAILED
    assert status.exit_code in (73, 120)
    assert "the disk is full or a quota used up: make room there, and start it again" in status.reason


async def test_a_job_that_starts_where_the_quota_is_used_up_says_so(site: Site) -> None:
    before = await site.submit(site.job(), WAIT_FOR_GO)
    assert before.key is not None
    job = await site.submit(in_quota(site.job(dependency=f"afterany:{before.key.native_id}")))
    await use_up(site)
    await site.connection.write(f"{before.folder}/go", b"")
    status = await site.end(job)
    assert status.state == JobState.FAILED
    assert "the disk is full or a quota used up: make room there, and start it again" in status.reason, status
