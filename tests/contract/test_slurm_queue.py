"""The queue of a real Slurm over a real SSH connection: jobs that this program has not started."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import site
from tests.cluster.cluster import Cluster
from tests.waiting import until
from workbench.config import load_config
from workbench.errors import NotAllowed, SchedulerError
from workbench.model.job import Job, JobSpec, JobState, Resources
from workbench.model.queue import QueueEntry
from workbench.recipes import find_spec
from workbench.services import STORE_FILE, Services
from workbench.store import Store

USER = site.USER.name
PROFILE = "cluster"
AWKWARD = 'it\'s |a| "name"\n   StdOut=/etc/passwd %j $HOME'
TINY = find_spec(
    "demo",
    [
        'parameters.plans=["reference"]',
        "parameters.sizes=[3]",
        "parameters.repeats=3",
        "parameters.n_labelled=2",
    ],
)


@dataclass
class Desk:
    """The test cluster, the services on it, and what tests do with both."""

    cluster: Cluster
    services: Services

    def slurm(self, *argv: str, stdin: str = "") -> str:
        """What the user types on the login node."""
        return self.cluster.login.run(*argv, user=USER, stdin=stdin).stdout.strip()

    def sbatch(self, *options: str, folder: str = "/tmp", script: str = "sleep 100") -> str:
        """Submit a job by hand; its number."""
        given = ["sbatch", "--parsable", "-A", "MACE-SL3-CPU", "-D", folder, "-t", "10", *options]
        return self.slurm(*given, f"--wrap={script}")

    async def entries(self) -> list[QueueEntry]:
        self.services.queues.stir()
        return list((await self.services.queues.ask(PROFILE)).entries)

    async def entry(self, native_id: str) -> QueueEntry:
        found = await until(self.entries, lambda entries: native_id in {entry.id for entry in entries})
        return next(entry for entry in found if entry.id == native_id)

    async def reaches(self, native_id: str, state: JobState) -> QueueEntry:
        return await until(lambda: self.entry(native_id), lambda entry: entry.state == state)

    async def log(self, native_id: str) -> str:
        queues = self.services.queues
        job = await queues.details(PROFILE, native_id)
        return (await queues.log(PROFILE, job, tail_bytes=1 << 16)).decode()

    async def ended(self, job: Job) -> Job:
        async def ask() -> Job:
            await self.services.refresh()
            return self.services.job(job.id)

        return await until(ask, lambda job: job.state.is_over)


@pytest.fixture
async def desk(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Desk]:
    env: Mapping[str, str] = {
        "HOME": str(tmp_path), "PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(cluster.client)
    }  # fmt: skip
    config = load_config(env)
    services = Services(config, Store(config.state_folder / STORE_FILE))
    desk = Desk(cluster, services)
    yield desk
    desk.slurm("scancel", "-u", USER)
    await services.close()


async def test_a_job_of_somebody_elses_making_is_in_the_queue(desk: Desk) -> None:
    assert desk.services.queues.profiles() == [PROFILE]
    number = desk.sbatch("-J", AWKWARD, "-c", "3")
    entry = await desk.reaches(number, JobState.RUNNING)
    assert entry.name == AWKWARD
    assert (entry.partition, entry.qos, entry.n_nodes, entry.n_cpus) == ("icelake", "normal", 1, 3)
    assert (entry.time_limit_s, entry.run_id, entry.folder) == (600.0, "", "/tmp")
    left = entry.left_s(time.time())
    assert left is not None
    assert 500 < left <= 600
    view = desk.services.queues.view(PROFILE)
    assert view.pulse.n_polls >= 1
    assert view.pulse.took_s > 0
    assert view.pulse.asked_at is not None


async def test_its_output_is_found_where_slurm_writes_it(desk: Desk) -> None:
    place = f"/home/{USER}/it's a %% place"
    desk.slurm("mkdir", "-p", place.replace("%%", "%"))
    number = desk.sbatch("-J", "x y", "-o", f"{place}/%x-%j-%A.out", script="echo 'hällo there'; sleep 100")
    await desk.reaches(number, JobState.RUNNING)
    assert await until(lambda: desk.log(number)) == "hällo there\n"
    job = await desk.services.queues.details(PROFILE, number)
    assert dict(job.facts)["JobName"] == "x y"
    assert (job.folder, job.log_path) == ("/tmp", f"{place.replace('%%', '%')}/x y-{number}-{number}.out")


async def test_the_tasks_of_an_array_are_watched_and_held_each_by_itself(desk: Desk) -> None:
    script = "echo task $SLURM_ARRAY_TASK_ID; sleep 100"
    number = desk.sbatch("--array=0-5%1", "-o", f"/home/{USER}/arr-%A_%a.out", script=script)
    await desk.reaches(f"{number}_0", JobState.RUNNING)
    assert await until(lambda: desk.log(f"{number}_0")) == "task 0\n"
    waiting = await desk.entry(f"{number}_[1-5]")
    assert waiting.waits
    await desk.services.queues.details(PROFILE, waiting.id)
    await desk.services.queues.hold(PROFILE, waiting.id)
    assert (await desk.entry(waiting.id)).held_by == "you"
    await desk.services.queues.cancel(PROFILE, f"{number}_0")
    await desk.reaches(f"{number}_0", JobState.CANCELLED)
    await desk.services.queues.release(PROFILE, waiting.id)
    await desk.reaches(f"{number}_1", JobState.RUNNING)
    await desk.services.queues.cancel(PROFILE, f"{number}_[2-5]")
    await until(desk.entries, lambda entries: not any(entry.waits for entry in entries))


async def test_a_job_is_held_and_released_and_says_who_holds_it(desk: Desk) -> None:
    number = desk.sbatch("-b", "now+1hour")
    await desk.services.queues.hold(PROFILE, number)
    entry = await desk.entry(number)
    assert (entry.held_by, entry.why) == (
        "you", "held by you: `mace-workbench release` lets it go (JobHeldUser)",
    )  # fmt: skip
    await desk.services.queues.release(PROFILE, number)
    assert (await desk.entry(number)).held_by == ""
    desk.cluster.master.run("scontrol", "hold", number)
    entry = await desk.entry(number)
    assert (entry.held_by, entry.why) == (
        "an administrator", "held by an administrator: ask them, nobody else can let it go (JobHeldAdmin)",
    )  # fmt: skip
    with pytest.raises(SchedulerError, match=r"could not be released .*: an administrator holds it"):
        await desk.services.queues.release(PROFILE, number)


async def test_what_has_started_or_is_gone_cannot_be_held(desk: Desk) -> None:
    number = desk.sbatch(script="sleep 100")
    await desk.reaches(number, JobState.RUNNING)
    with pytest.raises(NotAllowed, match=r"does not wait .running."):
        await desk.services.queues.hold(PROFILE, number)
    await desk.services.queues.cancel(PROFILE, number)
    await desk.reaches(number, JobState.CANCELLED)
    with pytest.raises(NotAllowed, match=r"does not wait .cancelled."):
        await desk.services.queues.hold(PROFILE, number)
    with pytest.raises(SchedulerError, match="Slurm does not know it any more, or never did"):
        await desk.services.queues.hold(PROFILE, "987654")
    with pytest.raises(SchedulerError, match="Job 987654 could not be shown"):
        await desk.services.queues.details(PROFILE, "987654")


async def test_a_run_of_ours_is_held_and_released(desk: Desk) -> None:
    services = desk.services
    # All of both nodes, so that it has to wait.
    for _ in range(2):
        desk.sbatch("-c", "76")
    job = await services.submit(TINY, Resources(time_limit_s=600, cpus=76))
    await services.hold(job.id)
    assert services.job(job.id).status.held_by == "you"
    await services.release(job.id)
    assert services.job(job.id).status.held_by == ""
    await services.cancel(job.id)
    await desk.ended(job)
    with pytest.raises(NotAllowed, match="does not wait"):
        await services.hold(job.id)


async def test_a_run_that_is_submitted_by_hand_is_adopted(desk: Desk) -> None:
    services = desk.services
    job = await services.submit(TINY, Resources(time_limit_s=600))
    await services.cancel(job.id)
    job = await desk.ended(job)
    number = desk.slurm("sh", "-c", 'cd "$0" && sbatch --parsable run.sh', job.folder)
    again = await services.queues.adopt(PROFILE, number)
    assert (again.id, again.key and again.key.native_id, again.state) == (job.id, number, JobState.PENDING)
    with pytest.raises(NotAllowed, match=f"Job {number} is the run {job.id} already"):
        await services.queues.adopt(PROFILE, number)
    third = desk.slurm("sh", "-c", 'cd "$0" && sbatch --parsable --hold run.sh', job.folder)
    with pytest.raises(NotAllowed, match="two runs in one folder spoil each other"):
        await services.queues.adopt(PROFILE, third)
    assert (await desk.ended(again)).state == JobState.COMPLETED, await services.log(job.id)
    assert (await services.fetch_all(job.id)).finish is not None


async def test_a_run_of_which_only_its_folder_knows_is_adopted(desk: Desk) -> None:
    services = desk.services
    folder = f"/home/{USER}/a run's place"
    desk.slurm("sh", "-c", 'rm -rf "$0"; mkdir "$0"; cat > "$0/spec.json"', folder, stdin=TINY.to_json())
    number = desk.sbatch("-o", "stdout.log", folder=folder, script="echo hello; sleep 100")
    adopted = await services.queues.adopt(PROFILE, number)
    assert (adopted.folder, adopted.spec.run) == (folder, TINY)
    await desk.reaches(number, JobState.RUNNING)
    assert await until(lambda: services.log(adopted.id)) == b"hello\n"
    await services.cancel(adopted.id)
    assert (await desk.ended(adopted)).state == JobState.CANCELLED


async def test_what_holds_no_run_is_not_adopted(desk: Desk) -> None:
    number = desk.sbatch()
    with pytest.raises(NotAllowed, match=r"no run of this program: there is no spec.json .* in /tmp"):
        await desk.services.queues.adopt(PROFILE, number)
    array = desk.sbatch("--array=0-1", "--hold")
    with pytest.raises(NotAllowed, match="part of an array"):
        await desk.services.queues.adopt(PROFILE, f"{array}_[0-1]")


async def test_when_a_run_would_start_is_said_and_nothing_is_submitted(desk: Desk) -> None:
    for _ in range(2):
        desk.sbatch("-c", "76")
    await until(desk.entries, lambda entries: sum(entry.state == JobState.RUNNING for entry in entries) == 2)
    spec = JobSpec(TINY, Resources(time_limit_s=600, cpus=76))
    found = await desk.services.queues.estimate(spec, PROFILE)
    assert found.starts_at is not None
    assert 300 < found.starts_at - time.time() < 700
    assert found.partition == "icelake"
    wrong = JobSpec(TINY, Resources(account="NOBODY"))
    with pytest.raises(SchedulerError, match=r"would not take this job .*: set `account`"):
        await desk.services.queues.estimate(wrong, PROFILE)
    with pytest.raises(SchedulerError, match="leave a slot free"):
        await desk.services.queues.estimate(spec, "local")
    assert len([entry for entry in await desk.entries() if not entry.state.is_over]) == 2
