"""A chain of jobs: a run that may have its time several times over, against a real Slurm."""

import json
from dataclasses import replace

import pytest

from jobs.spec import MdParameters, RunSpec
from tests.contract.test_slurm_scheduler import Site, connection, site
from tests.waiting import until
from workbench.errors import SchedulerError
from workbench.model.job import Job, JobSpec, JobState, Resources

__all__ = ["connection", "site"]  # fixtures

SAVES = """
trap 'echo warned >>said' USR1
trap 'echo saved >>said; exit 143' TERM
echo "attempt $MACE_WORKBENCH_ATTEMPT"
[ "$MACE_WORKBENCH_ATTEMPT" -lt 2 ] || exit 0
while :; do sleep 0.05; done
"""


def chained(site: Site, links: int, **asked: object) -> Job:
    run = RunSpec(MdParameters(), name="a chain")
    job = site.job()
    return replace(job, spec=JobSpec(run, Resources(time_limit_s=60, links=links, **asked)))  # type: ignore[arg-type]


async def test_a_link_that_has_used_its_time_is_followed_by_the_next(site: Site) -> None:
    job = await site.submit(chained(site, 3), ["bash", "-c", SAVES])
    await site.says(job, "attempt 1")
    assert job.key is not None
    await site.slurm("scancel", "--signal=USR1", "--batch", job.key.native_id)
    await site.says(job, "attempt 2")
    status = await site.end(job)
    assert (status.state, status.exit_code) == (JobState.COMPLETED, 0)
    assert (await site.text(job, "said")).split() == ["warned", "saved"]
    assert (await site.text(job, "link")).strip() == "2"


async def test_the_last_link_is_warned_and_goes_on(site: Site) -> None:
    job = await site.submit(chained(site, 1), ["bash", "-c", SAVES])
    await site.says(job, "attempt 1")
    assert job.key is not None
    await site.slurm("scancel", "--signal=USR1", "--batch", job.key.native_id)

    async def said() -> str:
        return (await site.connection.run(["cat", f"{job.folder}/said"], check=False)).stdout.decode()

    await until(said, lambda text: "warned" in text)
    assert await said() == "warned\n"
    await site.scheduler.cancel(job)
    assert (await site.end(job)).state == JobState.CANCELLED


async def test_a_chain_that_is_cancelled_has_no_next_link(site: Site) -> None:
    job = await site.submit(chained(site, 3), ["bash", "-c", SAVES])
    await site.says(job, "attempt 1")
    await site.scheduler.cancel(job)
    assert (await site.end(job)).state == JobState.CANCELLED
    assert (await site.text(job, "attempts")).count("\n") == 1


async def test_a_link_that_slurm_does_not_take_ends_as_one_whose_time_was_up(site: Site) -> None:
    folder = (await site.programs(scontrol="echo no >&2; exit 1"))["PATH"].partition(":")[0]
    job = await site.submit(chained(site, 2), ["bash", "-c", SAVES], {"PATH": f"{folder}:/usr/bin:/bin"})
    await site.says(job, "attempt 1")
    assert job.key is not None
    await site.slurm("scancel", "--signal=USR1", "--batch", job.key.native_id)
    status = await site.end(job)
    assert status.state in (JobState.TIMEOUT, JobState.FAILED)  # Slurm's own word is that it failed
    sentinel = json.loads(await site.text(job, "exit.json"))
    assert (sentinel["state"], sentinel["exit_code"]) == ("TIMEOUT", 143)


@pytest.mark.parametrize(
    ("change", "why"),
    [({"qos": "INTR"}, "INTR is for tests by hand"), ({"run": RunSpec()}, "begins anew each time")],
)
async def test_what_cannot_be_chained_is_refused(site: Site, change: dict[str, object], why: str) -> None:
    run = change.pop("run", RunSpec(MdParameters()))
    assert isinstance(run, RunSpec)
    job = chained(site, 2, **change)
    with pytest.raises(SchedulerError, match=why):
        await site.submit(replace(job, spec=replace(job.spec, run=run)))


async def test_a_job_goes_on_in_its_folder_with_more_time(site: Site) -> None:
    say = ["sh", "-c", "echo attempt $MACE_WORKBENCH_ATTEMPT; exit 4"]
    job = await site.submit(site.job(), say)
    await site.end(job)
    longer = replace(job, spec=replace(job.spec, resources=replace(job.spec.resources, time_limit_s=7200)))
    again = replace(longer, key=await site.scheduler.requeue(longer, say, {}))
    assert job.key is not None
    assert again.key is not None
    assert again.key.native_id != job.key.native_id
    assert await site.slurm("squeue", "-h", "-t", "all", "-j", again.key.native_id, "-o", "%l") == "2:00:00"
    await site.end(again)
    assert await site.text(job, "stdout.log") == "attempt 1\nattempt 2\n"
