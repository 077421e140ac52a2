"""SlurmScheduler against a real Slurm, over a real SSH connection."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from jobs.spec import RunSpec
from tests.cluster.cluster import Cluster
from tests.cluster.site import CPU_NODES
from tests.waiting import until
from workbench.errors import FileFailed, SchedulerError, SubmissionUnclear
from workbench.model.job import Job, JobKey, JobSpec, JobState, JobStatus, Resources
from workbench.ports import Completed, Connection, Question
from workbench.remote import asyncssh_connection
from workbench.remote.ssh_config import SshTarget
from workbench.schedulers.slurm import SlurmScheduler, SlurmSettings
from workbench.schedulers.slurm.pace import Pace

USER = "mw123"
HOME = "/home/mw123"
SETTINGS = SlurmSettings(account="MACE-SL3-CPU", partition="icelake")
WAIT_FOR_GO = ["sh", "-c", "until [ -e go ]; do sleep 0.05; done; echo went"]


class Nobody:
    """A prompter that has nothing to say."""

    async def ask(self, question: Question) -> str | None:
        raise AssertionError(question.text)

    async def trust(self, host: str, kind: str, fingerprint: str) -> bool:
        raise AssertionError(host)


async def connect(cluster: Cluster) -> Connection:
    return await asyncssh_connection.connect(SshTarget("login", cluster.ssh_config), Nobody())


@pytest.fixture
async def connection(cluster: Cluster) -> AsyncIterator[Connection]:
    connection = await connect(cluster)
    yield connection
    await connection.close()


class Through:
    """A connection on which commands are counted, and find other programs first on their PATH."""

    def __init__(self, connection: Connection, env: Mapping[str, str] | None = None) -> None:
        self.host = connection.host
        self.n_commands = 0
        self._connection = connection
        self._env = env or {}

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", check: bool = True) -> Completed:
        self.n_commands += 1
        return await self._connection.run(argv, stdin=stdin, env=self._env, check=check)


@dataclass
class Site:
    """The test cluster with a scheduler of ours, and what tests do with both."""

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
        async def ask() -> JobStatus | None:
            return (await self.scheduler.poll([job])).get(job.id)

        status = await until(ask, lambda status: status is not None and reached(status))
        assert status is not None
        return status

    async def end(self, job: Job) -> JobStatus:
        return await self.until(job, lambda status: status.state.is_over)

    async def reaches(self, job: Job, state: JobState) -> JobStatus:
        return await self.until(job, lambda status: status.state == state)

    async def says(self, job: Job, text: str) -> None:
        """Wait for the run to have said something."""
        await until(lambda: self.log(job), lambda log: text in log)

    async def log(self, job: Job) -> str:
        try:
            return await self.text(job, "stdout.log")
        except FileFailed:
            return ""

    async def text(self, job: Job, name: str) -> str:
        return (await self.connection.read(f"{job.folder}/{name}")).data.decode()

    async def slurm(self, *argv: str) -> str:
        return (await self.connection.run(argv)).stdout.decode().strip()

    async def submissions(self, job: Job) -> int:
        """How often Slurm has the job."""
        comments = await self.slurm("squeue", "-h", "-t", "PD,R,CG,CD", "-o", "%k")
        return comments.split().count(f"mw:{job.id}:1")

    async def programs(self, **scripts: str) -> dict[str, str]:
        """An environment in which these scripts stand before Slurm's own commands."""
        folder = f"{HOME}/bin-{secrets.token_hex(4)}"
        for name, script in scripts.items():
            await self.connection.write(f"{folder}/{name}", f"#!/bin/sh\n{script}\n".encode(), mode=0o755)
        return {"PATH": f"{folder}:/usr/bin:/bin"}

    def through(self, env: Mapping[str, str] | None = None, **options: Any) -> SlurmScheduler:
        connection = cast("Connection", Through(self.connection, env))
        return SlurmScheduler(connection, SETTINGS, pace=Pace(0, 0), **options)


@pytest.fixture
async def site(connection: Connection, cluster: Cluster) -> AsyncIterator[Site]:
    site = Site(connection, SlurmScheduler(connection, SETTINGS, pace=Pace(0, 0)), cluster)
    yield site
    await connection.run(["scancel", "-u", USER], check=False)


async def test_a_job_runs_and_its_end_is_known(site: Site) -> None:
    job = await site.submit(
        site.job(), ["sh", "-c", 'echo "$GREETING"; pwd; exit 3'], {"GREETING": "hällo 'x'"}
    )
    assert job.key is not None
    assert job.key.native_id.isdigit()
    status = await site.end(job)
    assert (status.state, status.exit_code) == (JobState.FAILED, 3)
    assert status.node in CPU_NODES
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
    assert await site.submissions(job) == 1


async def test_two_submissions_of_one_job_at_the_same_time_make_one(site: Site) -> None:
    job = site.job()
    keys = await asyncio.gather(*(site.scheduler.submit(job, ["true"], {}) for _ in range(5)))
    assert len({key.native_id for key in keys}) == 1
    assert await site.submissions(job) == 1


async def test_submission_and_poll_are_one_command_each(site: Site) -> None:
    through = Through(site.connection)
    scheduler = SlurmScheduler(cast("Connection", through), SETTINGS, pace=Pace(0, 0))
    jobs = [site.job() for _ in range(4)]
    jobs = [replace(job, key=await scheduler.submit(job, ["true"], {})) for job in jobs]
    assert through.n_commands == len(jobs)
    assert (await scheduler.poll(jobs)).keys() == {job.id for job in jobs}
    assert through.n_commands == len(jobs) + 1


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_submission_whose_command_is_killed_is_found_again(site: Site, moment: str) -> None:
    slow = {"before": 'sleep 2; exec /usr/bin/sbatch "$@"', "after": '/usr/bin/sbatch "$@"; sleep 2'}[moment]
    job = site.job()
    first = site.through(await site.programs(sbatch=slow))
    cut = asyncio.ensure_future(first.submit(job, ["true"], {}))
    await _is_there(site, f"{job.folder}/submission-1.at")
    cut.cancel()
    await asyncio.wait([cut])
    job = await site.submit(job)
    assert (await site.end(job)).state == JobState.COMPLETED
    assert await site.submissions(job) == 1


async def _is_there(site: Site, path: str) -> None:
    await until(
        lambda: site.connection.run(["test", "-s", path], check=False), lambda done: not done.exit_status
    )


async def test_a_job_that_slurm_took_without_saying_so_is_found_by_its_token(site: Site) -> None:
    lost = '/usr/bin/sbatch "$@" >/dev/null; echo "sbatch: error: Socket timed out on send/recv" >&2; exit 1'
    job = site.job()
    job = replace(job, key=await site.through(await site.programs(sbatch=lost)).submit(job, ["true"], {}))
    assert job.key is not None
    assert (await site.end(job)).state == JobState.COMPLETED
    assert await site.submissions(job) == 1


async def test_a_submission_of_which_nothing_is_known_is_not_repeated_blindly(site: Site) -> None:
    silent = "echo 'sbatch: error: Socket timed out on send/recv operation' >&2; exit 1"
    job = site.job()
    for _ in range(2):
        with pytest.raises(SubmissionUnclear, match="not known whether login has taken"):
            await site.through(await site.programs(sbatch=silent)).submit(job, ["true"], {})
    marker = f"{job.folder}/submission-1.owner"
    await site.connection.run(["touch", "-h", "-d", "10 minutes ago", marker])
    job = await site.submit(job)
    assert (await site.end(job)).state == JobState.COMPLETED


async def test_a_job_without_a_key_is_found_in_the_queue(site: Site) -> None:
    job = await site.submit(site.job(), WAIT_FOR_GO)
    status = (await site.scheduler.poll([replace(job, key=None)]))[job.id]
    assert status.state in (JobState.PENDING, JobState.RUNNING)
    assert site.job().id not in await site.scheduler.poll([site.job()])


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"account": "NOBODY-SL2-CPU"}, "Invalid account.*set `account`"),
        ({"partition": "sapphire"}, "[Ii]nvalid partition.*set `partition`"),
        ({"qos": "gold"}, "Invalid qos.*set `qos`"),
        ({"time_limit_s": 100 * 3600}, "time|limit"),
        ({"memory_mb": 10**7}, "ask for less"),
        ({"gpus": 1}, "GPUs only in a partition|ask for less"),
        ({"qos": "-x"}, "cannot be asked for the qos '-x'"),
    ],
)
async def test_a_refusal_says_what_to_do(site: Site, asked: dict[str, Any], sentence: str) -> None:
    job = site.job(**asked)
    with pytest.raises(SchedulerError, match=sentence):
        await site.submit(job)
    with pytest.raises(SchedulerError, match=sentence):
        await site.submit(job)
    assert await site.submissions(job) == 0


async def test_the_second_job_of_a_qos_that_takes_one_is_refused(site: Site) -> None:
    await site.submit(site.job(qos="INTR"), WAIT_FOR_GO)
    with pytest.raises(SchedulerError, match="takes one job at a time"):
        await site.submit(site.job(qos="INTR"))


async def test_a_folder_that_cannot_be_made_is_said(site: Site) -> None:
    with pytest.raises(SchedulerError, match=r"/etc/nothing.*Permission denied"):
        await site.submit(replace(site.job(), folder="/etc/nothing"))


async def test_a_host_without_slurm_is_said(site: Site) -> None:
    gone = await site.programs(sbatch="echo 'sbatch: command not found' >&2; exit 127")
    with pytest.raises(SchedulerError, match="command not found"):
        await site.through(gone).submit(site.job(), ["true"], {})


async def test_names_are_kept_whatever_they_are(site: Site) -> None:
    job = await site.submit(site.job(name="|r| ünï\n'q' \"d\" %j $(x) -\\ \x1b[31m"), WAIT_FOR_GO)
    await site.scheduler.poll([job])
    (entry,) = [entry for entry in site.scheduler.desk.entries if entry.token == f"mw:{job.id}:1"]
    assert entry.name == "|r| ünï 'q' \"d\" %j $(x) -\\ \x1b[31m"


async def test_jobs_that_others_have_started_are_told_of(site: Site) -> None:
    options = ["-A", "MACE-SL3-CPU", "-p", "icelake", "-t", "5", "--hold", "-D", "/tmp"]
    name = "by\nhand |a| mw:x"
    array = ["--array=0-9%2", f"--job-name={name}", "--wrap=true"]
    number = await site.slurm("sbatch", "--parsable", *options, *array)
    await site.scheduler.poll([])
    (entry,) = [entry for entry in site.scheduler.desk.entries if entry.native_id == number]
    assert (entry.name, entry.tasks, entry.token) == (name, "0-9%2", "")
    assert (entry.state, entry.reason, entry.partition, entry.folder) == (
        JobState.PENDING, "JobHeldUser", "icelake", "/tmp",
    )  # fmt: skip


async def test_cancelling_lets_the_run_say_farewell(site: Site) -> None:
    script = "trap 'echo farewell; exit 143' TERM; echo ready; while :; do sleep 0.05; done"
    job = await site.submit(site.job(), ["bash", "-c", script])
    await site.says(job, "ready")
    await site.scheduler.cancel(job)
    status = await site.end(job)
    assert status.state == JobState.CANCELLED
    assert status.reason in ("", "cancelled by user 63123")  # the accounting may lag
    assert "farewell" in await site.log(job)
    await site.scheduler.cancel(job)
    sentinel = json.loads(await site.text(job, "exit.json"))
    assert (sentinel["state"], sentinel["exit_code"]) == ("CANCELLED", 143)


async def test_a_job_that_has_got_the_number_of_ours_is_not_cancelled(site: Site) -> None:
    other = await site.submit(site.job(), WAIT_FOR_GO)
    await site.scheduler.cancel(replace(site.job(), key=other.key))
    await site.reaches(other, JobState.RUNNING)
    assert (await site.scheduler.poll([replace(site.job(), key=other.key)])) == {}


async def test_a_job_that_waits_for_another_says_so(site: Site) -> None:
    first = await site.submit(site.job(), WAIT_FOR_GO)
    assert first.key is not None
    second = await site.submit(site.job(dependency=f"afterok:{first.key.native_id}"))
    status = await site.until(second, lambda status: status.reason != "")
    assert (status.state, status.reason) == (
        JobState.PENDING, "it waits for another job to end (Dependency)",
    )  # fmt: skip


async def test_requeue_keeps_the_number_and_appends(site: Site) -> None:
    job = await site.submit(site.job(), ["sh", "-c", "echo attempt $MACE_WORKBENCH_ATTEMPT"])
    await site.end(job)
    again = replace(job, key=await site.scheduler.requeue(job))
    assert job.key is not None
    assert again.key is not None
    assert again.key.native_id == job.key.native_id
    await site.says(job, "attempt 2")
    assert await site.text(job, "stdout.log") == "attempt 1\nattempt 2\n"
    assert (await site.end(again)).state == JobState.COMPLETED


async def test_requeue_of_a_job_that_slurm_has_forgotten_submits_its_script_again(site: Site) -> None:
    job = await site.submit(site.job(), ["sh", "-c", "echo attempt $MACE_WORKBENCH_ATTEMPT; exit 4"])
    await site.end(job)
    forgetful = site.through(await site.programs(squeue="exit 0"))
    again = replace(job, key=await forgetful.requeue(job))
    assert job.key is not None
    assert again.key is not None
    assert again.key.native_id != job.key.native_id
    status = await site.end(again)
    assert (status.state, status.exit_code) == (JobState.FAILED, 4)
    assert await site.text(job, "stdout.log") == "attempt 1\nattempt 2\n"
    assert json.loads(await site.text(job, "exit.json"))["attempt"] == 2


async def test_a_job_that_had_to_make_way_waits_again(site: Site) -> None:
    low = [await site.submit(site.job(qos="SCAVENGER", cpus=76), WAIT_FOR_GO) for _ in range(2)]
    for job in low:
        await site.reaches(job, JobState.RUNNING)
    high = await site.submit(site.job(cpus=76), WAIT_FOR_GO)
    await site.reaches(high, JobState.RUNNING)
    statuses = (await site.scheduler.poll(low)).values()
    assert JobState.PENDING in {status.state for status in statuses}


async def test_a_job_that_uses_more_memory_than_it_asked_for_says_so(site: Site) -> None:
    hungry = "x = bytearray(200_000_000); import time; time.sleep(60)"
    job = await site.submit(site.job(memory_mb=50), ["python3", "-c", hungry])
    status = await site.end(job)
    assert status.state in (JobState.OUT_OF_MEMORY, JobState.FAILED)  # by how the site enforces it
    assert "ask for more" in status.reason


async def test_a_site_without_accounting_knows_the_end_from_the_folder(site: Site) -> None:
    job = await site.submit(site.job(), ["sh", "-c", "exit 7"])
    await site.end(job)
    bare = site.through(
        await site.programs(squeue="exit 0", sacct="echo 'Slurm accounting storage is disabled' >&2; exit 1")
    )
    status = (await bare.poll([job]))[job.id]
    assert (status.state, status.exit_code) == (JobState.FAILED, 7)
    assert status.node in CPU_NODES


async def test_a_job_that_slurm_has_forgotten_is_known_to_the_accounting(site: Site) -> None:
    job = await site.submit(site.job(), ["sh", "-c", "exit 7"])
    await site.end(job)
    await site.connection.run(["rm", f"{job.folder}/exit.json"])
    site.scheduler = site.through(await site.programs(squeue="exit 0"))
    status = await site.end(job)
    assert (status.state, status.exit_code) == (JobState.FAILED, 7)
    assert status.node in CPU_NODES


async def test_a_job_of_which_nobody_knows_is_lost_after_a_while(site: Site) -> None:
    now = [1e9]
    env = await site.programs(squeue="exit 0", sacct="exit 1")
    scheduler = site.through(env, clock=lambda: now[0])
    job = replace(site.job(), key=JobKey("csd3", "999999", 1e9))
    assert await scheduler.poll([job]) == {}
    now[0] += 1000
    status = (await scheduler.poll([job]))[job.id]
    assert status.state == JobState.LOST
    assert "start it again" in status.reason


async def test_a_queue_that_cannot_be_asked_is_an_error_and_no_end(site: Site) -> None:
    down = "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1"
    scheduler = site.through(await site.programs(squeue=down, sacct="exit 1"))
    job = replace(site.job(), key=JobKey("csd3", "999999", 1e9))
    with pytest.raises(SchedulerError, match="Unable to contact slurm controller"):
        await scheduler.poll([job])


async def test_what_the_user_has_set_for_their_own_use_changes_nothing(site: Site) -> None:
    env = {
        "SQUEUE_FORMAT": "%i",
        "SQUEUE_STATES": "FAILED",
        "SACCT_FORMAT": "jobid",
        "SLURM_TIME_FORMAT": "relative",
        "SBATCH_PARTITION": "nowhere",
        "SBATCH_QOS": "nothing",
        "TZ": "Asia/Tokyo",
        "SLURM_JOB_ID": "1",
    }
    site.scheduler = site.through(env)
    job = await site.submit(site.job(), WAIT_FOR_GO)
    status = await site.reaches(job, JobState.RUNNING)
    assert status.started_at is not None
    assert abs(status.started_at - time.time()) < 60


async def test_when_a_job_would_start_is_known_without_submitting_it(site: Site) -> None:
    job = site.job()
    estimate = await site.scheduler.estimate(job, ["true"], {})
    assert estimate.starts_at is not None
    assert abs(estimate.starts_at - time.time()) < 60
    assert estimate.node.startswith("cpu-q-")
    with pytest.raises(SchedulerError, match="Invalid account"):
        await site.scheduler.estimate(site.job(account="NONE"), ["true"], {})
    assert await site.submissions(job) == 0


async def test_setup_comes_before_the_run_and_its_failure_ends_the_job(site: Site) -> None:
    lines = ('greet() { echo "hello $1"; }', "export PYTHONPATH=/from/a/module", "greet 'the \"world\"'")
    site.scheduler = SlurmScheduler(site.connection, replace(SETTINGS, setup=lines), pace=Pace(0, 0))
    argv = ["sh", "-c", "echo $PYTHONPATH $HOME $USER"]
    job = await site.submit(site.job(), argv, {"PYTHONPATH": "/ours"})
    assert (await site.end(job)).state == JobState.COMPLETED
    assert await site.text(job, "stdout.log") == f'hello the "world"\n/ours {HOME} {USER}\n'
    wrong = replace(SETTINGS, setup=("ls '/no such folder'",))
    site.scheduler = SlurmScheduler(site.connection, wrong, pace=Pace(0, 0))
    job = await site.submit(site.job(), ["echo", "ran"])
    status = await site.end(job)
    assert (status.state, status.exit_code) == (JobState.FAILED, 2)
    log = await site.log(job)
    assert "The profile's setup failed at: ls '/no such folder'" in log
    assert "ran" not in log.splitlines()


async def test_the_warning_reaches_a_run_that_listens_and_spares_one_that_does_not(site: Site) -> None:
    listening = (
        "import signal, sys; signal.signal(signal.SIGUSR1, lambda *_: sys.exit('checkpoint')); "
        "print('ready', flush=True); signal.pause()"
    )
    wait = "import time; print('ready', flush=True); time.sleep(600)"
    deaf = await site.submit(site.job(), ["python3", "-c", wait])
    hears = await site.submit(site.job(), ["python3", "-c", listening])
    for job in (deaf, hears):
        await site.says(job, "ready")
        assert job.key is not None
        await site.slurm("scancel", "--batch", "--signal=USR1", job.key.native_id)
    assert (await site.end(hears)).exit_code == 1
    assert "checkpoint" in await site.log(hears)
    assert (await site.scheduler.poll([deaf]))[deaf.id].state == JobState.RUNNING


async def test_the_script_runs_by_hand_as_well(site: Site) -> None:
    job = await site.submit(site.job(), ["sh", "-c", "echo attempt $MACE_WORKBENCH_ATTEMPT; exit 5"])
    await site.end(job)
    done = await site.connection.run(["bash", f"{job.folder}/run.sh"], check=False)
    assert (done.exit_status, done.stdout) == (5, b"attempt 2\n")
    number = await site.slurm("sh", "-c", 'cd "$0" && sbatch --parsable run.sh', job.folder)
    again = replace(job, key=JobKey("csd3", number, time.time()))
    assert (await site.end(again)).exit_code == 5


async def test_a_job_whose_time_is_up_says_so(site: Site) -> None:
    job = await site.submit(site.job(), WAIT_FOR_GO)
    await site.reaches(job, JobState.RUNNING)
    assert job.key is not None
    site.cluster.master.run("scontrol", "update", f"JobId={job.key.native_id}", "EndTime=now+1")
    status = await site.end(job)
    assert status.state == JobState.TIMEOUT
    assert "ask for more time" in status.reason
    assert json.loads(await site.text(job, "exit.json"))["exit_code"] == 143


async def test_a_job_whose_node_fails_starts_again_elsewhere(site: Site) -> None:
    job = await site.submit(site.job(), ["sh", "-c", "echo attempt $MACE_WORKBENCH_ATTEMPT; sleep 600"])
    node = (await site.reaches(job, JobState.RUNNING)).node
    await site.says(job, "attempt 1")
    site.cluster.hosts[node].stop("slurmd", "KILL")
    try:
        await site.says(job, "attempt 2")
        status = await site.reaches(job, JobState.RUNNING)
        assert status.node != node
        assert len((await site.text(job, "attempts")).splitlines()) == 2
    finally:
        site.cluster.start_slurmd(node)
        await until(
            lambda: site.slurm("sinfo", "-h", "-n", node, "-o", "%t"), lambda said: said in ("idle", "mix")
        )


async def test_a_queue_of_ten_thousand_jobs_is_read(site: Site) -> None:
    row = 'row = format; gsub(/%F/, n, row); gsub(/%T/, "PENDING", row); print row'
    rows = f"BEGIN {{ for (n = 1; n <= 10000; n++) {{ {row} }} }}"
    many = f"while [ $# -gt 1 ]; do shift; done; awk -v format=\"$1\" '{rows}'"
    scheduler = site.through(await site.programs(squeue=many))
    job = replace(site.job(), key=JobKey("csd3", "7777", time.time()))
    statuses = await scheduler.poll([job])
    assert len(scheduler.desk.entries) == 10000
    assert statuses[job.id].state == JobState.PENDING
