"""What is said when something fails: each failure of its own kind, made for real on the test cluster.

A sentence names what failed and on what, the command that ran, what that said, and the way out.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import site as places
from tests.cluster.cluster import Cluster
from tests.cluster.host import wait_for
from tests.contract.ssh import Laptop, by_asyncssh
from tests.contract.test_slurm_scheduler import HOME, SETTINGS, USER, WAIT_FOR_GO, Site, connect
from workbench.errors import ConnectionFailed, FileFailed, SchedulerError, SubmissionUnclear, WorkbenchError
from workbench.model.job import JobKey, JobState
from workbench.schedulers.slurm import SlurmScheduler
from workbench.schedulers.slurm.pace import Pace

NOBODYS = JobKey("csd3", "999999", 1e9)
"""Of a job that nobody knows."""
SMALL_DISKS = places.Login("small-disks", 2252, "publickey")
EVIL = places.Login("evil", 2253, "publickey")
NO_PYTHON = places.Login("no-python", 2251, "publickey")


@pytest.fixture
async def site(cluster: Cluster) -> AsyncIterator[Site]:
    connection = await connect(cluster)
    yield Site(connection, SlurmScheduler(connection, SETTINGS, pace=Pace(0, 0)), cluster)
    await connection.run(["scancel", "-u", USER], check=False)
    await connection.close()


async def said(doing: Awaitable[object]) -> str:
    """The sentence with which something fails."""
    with pytest.raises(WorkbenchError) as failure:
        await doing
    return str(failure.value)


# -- what Slurm will not have ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "stderr", "way_out"),
    [
        ({"account": "NOBODY-SL2-CPU"}, "Invalid account or account/partition", "set `account`"),
        ({"partition": "sapphire"}, "Invalid partition name specified", "set `partition`"),
        ({"qos": "gold"}, "Invalid qos specification", "set `qos`"),
        ({"time_limit_s": 360000}, "QOSMaxWallDurationPerJobLimit", "ask for less time"),
        ({"qos": "INTR", "time_limit_s": 7200}, "QOSMaxWallDurationPerJobLimit", "ask for less time"),
        ({"memory_mb": 10**7}, "Memory specification can not be satisfied", "ask for less"),
        ({"gpus": 1}, "Requested node configuration is not available", "ask for less"),
        ({"cpus": 1000}, "More processors requested than permitted", "ask for fewer cores"),
    ],
)
async def test_a_refusal_names_the_command_its_stderr_and_the_way_out(
    site: Site, asked: dict[str, Any], stderr: str, way_out: str
) -> None:
    job = site.job(**asked)
    sentence = await said(site.submit(job))
    assert sentence.startswith(f"login did not take the job (`sbatch run.sh` in {job.folder}): ")
    assert stderr in sentence
    assert way_out in sentence
    estimate = await said(site.scheduler.estimate(job, ["true"], {}))
    assert "`sbatch --test-only run.sh`" in estimate
    assert way_out in estimate


async def test_as_many_jobs_as_the_account_may_have_is_said(site: Site) -> None:
    limit = ["sacctmgr", "-i", "modify", "user", USER, "set"]
    site.cluster.master.run(*limit, "MaxSubmitJobs=1")
    try:
        await site.submit(site.job(), WAIT_FOR_GO)
        sentence = await said(site.submit(site.job()))
    finally:
        site.cluster.master.run(*limit, "MaxSubmitJobs=-1")
    assert "AssocMaxSubmitJobLimit" in sentence
    assert "wait for one to end" in sentence


async def test_a_second_job_of_an_interactive_qos_is_said(site: Site) -> None:
    await site.submit(site.job(qos="INTR"), WAIT_FOR_GO)
    sentence = await said(site.submit(site.job(qos="INTR")))
    assert "QOSMaxSubmitJobPerUserLimit" in sentence
    assert "cancel the other one first" in sentence


# -- what is down ----------------------------------------------------------------------------------


async def test_slurm_that_is_down_is_said_and_nothing_is_taken_for_ended(site: Site) -> None:
    job, other = site.job(), replace(site.job(), key=NOBODYS)
    site.cluster.master.stop("slurmctld")
    try:
        outcomes = await asyncio.gather(
            site.submit(job),
            site.scheduler.poll([other]),
            site.scheduler.cancel(other),
            site.scheduler.estimate(job, ["true"], {}),
            return_exceptions=True,
        )
    finally:
        site.cluster.start_slurmctld()
        wait_for(site.cluster.is_up, "Slurm to be up again")
    submitted, polled, cancelled, estimated = map(str, outcomes)
    assert isinstance(outcomes[0], SubmissionUnclear)
    assert f"not known whether login has taken job {job.id} (`sbatch run.sh` in {job.folder}: " in submitted
    assert "never submitted twice" in submitted
    assert polled.startswith("login could not say what is in the queue (`squeue -t all`): ")
    assert cancelled.startswith("Job 999999 could not be cancelled on login (`scancel 999999`): ")
    assert estimated.startswith("login would not take this job (`sbatch --test-only run.sh`): ")
    for sentence in (submitted, polled, cancelled, estimated):
        assert "Unable to contact slurm controller" in sentence
        assert "Slurm is down or restarts: wait" in sentence
    # And once it is up again, the submission that was not clear is made, once.
    await site.connection.run(["touch", "-h", "-d", "10 minutes ago", f"{job.folder}/submission-1.owner"])
    job = await site.submit(job)
    assert (await site.end(job)).state == JobState.COMPLETED
    assert await site.submissions(job) == 1


async def test_a_host_that_cannot_prove_who_the_user_is_says_so(site: Site) -> None:
    other = replace(site.job(), key=NOBODYS)
    site.cluster.login.stop("munged")
    try:
        outcomes = await asyncio.gather(
            site.submit(site.job()), site.scheduler.poll([other]), return_exceptions=True
        )
    finally:
        site.cluster.start_munged(places.LOGIN.name)
        wait_for(site.cluster.is_up, "munge to be up again")
    for outcome, command in zip(outcomes, ("sbatch run.sh", "squeue -t all"), strict=True):
        assert isinstance(outcome, SchedulerError)
        assert f"(`{command}`" in str(outcome)
        assert "Did you start munged?" in str(outcome)
        assert "tell the site, or take another login node" in str(outcome)


async def test_accounting_that_is_down_is_in_the_log_once_and_stops_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    running = await site.submit(site.job(), WAIT_FOR_GO)
    await site.reaches(running, JobState.RUNNING)
    gone = replace(site.job(), key=NOBODYS)
    site.cluster.master.stop("slurmdbd")
    try:
        with caplog.at_level(logging.WARNING, "workbench"):
            for _ in range(2):
                statuses = await site.scheduler.poll([running, gone])
                assert statuses[running.id].state == JobState.RUNNING
                assert gone.id not in statuses
    finally:
        site.cluster.start_slurmdbd()
        listing = ("sacctmgr", "-n", "list", "cluster")
        wait_for(lambda: not site.cluster.master.run(*listing, check=False).returncode, "slurmdbd")
    (record,) = [record.getMessage() for record in caplog.records if "sacct" in record.getMessage()]
    assert record.startswith("login: `sacct -X -j …` failed: ")
    assert "the accounting is down: wait" in record


# -- what is not there -----------------------------------------------------------------------------


async def test_a_host_without_the_commands_of_slurm_says_which_and_where_to_add_them(site: Site) -> None:
    folder = (await site.slurm("mktemp", "-d", f"{HOME}/bin.XXXXXX")).strip()
    link = 'for each in /usr/bin/*; do case ${each##*/} in %s) ;; *) ln -s "$each" "$0"; esac; done'
    await site.slurm("sh", "-c", link % "sbatch|squeue|sacct|scancel|scontrol", folder)
    bare = site.through({"PATH": folder})
    other = replace(site.job(), key=NOBODYS)
    for sentence, command in [
        (await said(bare.submit(site.job(), ["true"], {})), "sbatch"),
        (await said(bare.poll([other])), "squeue"),
        (await said(bare.cancel(other)), "scancel"),
        (await said(bare.estimate(site.job(), ["true"], {})), "sbatch"),
    ]:
        assert f"(`{command} " in sentence
        assert f"{command}: not found" in sentence or f"'{command}': No such file" in sentence
        assert "to PATH in ~/.bash_profile" in sentence


async def test_a_host_without_python_says_so(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start_login(NO_PYTHON, "SetEnv PATH=/srv/nowhere")
    with pytest.raises(ConnectionFailed, match="no Python 3 on it that could be found; have it on the PATH"):
        async with by_asyncssh(Laptop(cluster, tmp_path).port(NO_PYTHON.port)) as connection:
            await connection.run(["true"])


async def test_a_python_of_the_profile_that_is_not_there_is_said_by_the_job(site: Site) -> None:
    job = await site.submit(site.job(), ["/opt/mace/bin/python", "-m", "jobs.benchmark"])
    status = await site.end(job)
    assert (status.state, status.exit_code) == (JobState.FAILED, 127)
    assert "look at its log, and at `python` and `setup` of the profile" in status.reason
    assert "/opt/mace/bin/python: No such file or directory" in await site.log(job)


async def test_a_run_whose_folder_is_gone_is_not_requeued(site: Site) -> None:
    job = await site.submit(site.job())
    await site.end(job)
    await site.slurm("rm", "-r", job.folder)
    sentence = await said(site.scheduler.requeue(job))
    assert f"can't cd to {job.folder}" in sentence
    assert "resubmit the run" in sentence


# -- where there is no room, and no permission ------------------------------------------------------


@pytest.fixture(scope="session")
def small_disks(cluster: Cluster) -> None:
    """A login on which `~/full` has 64 kB, all of them taken, and `~/frozen` is read-only."""
    for folder, options in (("full", "size=64k,mode=1777"), ("frozen", "ro")):
        cluster.login.run("mkdir", "-p", f"{HOME}/{folder}", user=USER)
        cluster.login.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", f"{HOME}/{folder}")
    cluster.login.run("mkdir", f"{HOME}/full/run", user=USER)
    # No more than that, should this ever be another disk.
    cluster.login.run("sh", "-c", f"head -c 65536 /dev/zero >{HOME}/full/all || true", user=USER)
    cluster.start_login(SMALL_DISKS)  # it sees what is mounted by now


@pytest.fixture
async def small(cluster: Cluster, small_disks: None, tmp_path: Path) -> AsyncIterator[Site]:
    """The site by that login."""
    async with by_asyncssh(Laptop(cluster, tmp_path).port(SMALL_DISKS.port)) as connection:
        yield Site(connection, SlurmScheduler(connection, SETTINGS, pace=Pace(0, 0)), cluster)


async def test_a_disk_that_is_full_is_said(small: Site) -> None:
    job = replace(small.job(), folder=f"{HOME}/full/run")
    sentence = await said(small.submit(job))
    with pytest.raises(FileFailed, match="no space left on the disk; make room there"):
        await small.connection.write(f"{job.folder}/spec.json", b"x" * 5000)
    assert f"`sbatch run.sh` in {job.folder}" in sentence
    assert "No space left on device" in sentence
    assert "make room in your home and work folder" in sentence


async def test_a_file_system_that_is_read_only_is_said(small: Site) -> None:
    folder = f"{HOME}/frozen/run"
    sentence = await said(small.submit(replace(small.job(), folder=folder)))
    with pytest.raises(FileFailed, match="the file system is read-only; choose another folder"):
        await small.connection.write(f"{folder}/spec.json", b"{}")
    assert "Read-only file system" in sentence
    assert "set `work_folder`" in sentence


async def test_a_folder_that_is_not_the_users_is_said(site: Site) -> None:
    sentence = await said(site.submit(replace(site.job(), folder="/etc/nothing")))
    assert "cannot create directory" in sentence
    assert "Permission denied" in sentence
    assert "set `work_folder` of the profile to a folder that you may write to" in sentence
    with pytest.raises(FileFailed, match="permission denied; change the permissions or choose another"):
        await site.connection.write("/etc/nothing/spec.json", b"{}")


# -- what must not be obeyed -----------------------------------------------------------------------


async def test_what_a_host_says_reaches_no_terminal_as_more_than_text(
    cluster: Cluster, tmp_path: Path
) -> None:
    evil = cluster.state / "evil/sbatch"
    evil.parent.mkdir()
    evil.write_text(
        "#!/bin/sh\nprintf 'sbatch: error: \\033]52;c;ZXZpbA==\\007\\033[2J[bold]no\\n' >&2; exit 1\n"
    )
    evil.chmod(0o755)
    cluster.start_login(EVIL, "SetEnv PATH=/srv/evil:/usr/bin:/bin")
    laptop = Laptop(cluster, tmp_path)
    env = laptop.program(laptop.port(EVIL.port))
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "workbench", "submit", "demo"),
        env=dict(env),
        cwd=Path(__file__).parents[2],
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await program.communicate()
    assert program.returncode == 1
    assert b"`sbatch run.sh`" in stderr
    assert b"[bold]no" in stderr
    assert stderr.decode().replace("\n", "").isprintable()
