"""Sweeps as arrays of a real Slurm, over a real SSH connection."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import pytest

from jobs.spec import RunSpec
from tests.cluster.cluster import Cluster
from tests.contract.test_slurm_scheduler import HOME, SETTINGS, USER, Site, Through, connect
from tests.waiting import until
from workbench.errors import SchedulerError, SubmissionUnclear
from workbench.model.job import Job, JobSpec, JobState, JobStatus, Part, Resources
from workbench.ports import Connection
from workbench.schedulers.slurm import SlurmScheduler
from workbench.schedulers.slurm.pace import Pace

ALL_WAIT = ["sh", "-c", "echo ready; until [ -e go ]; do sleep 0.05; done; echo went"]
ODD_FAIL = ["sh", "-c", 'echo attempt $MACE_WORKBENCH_ATTEMPT; [ -e mended ] || ! [ "${PWD##*/}" = 1 ]']


class SweepSite(Site):
    """What tests do with sweeps there."""

    async def sweep(self, n_members: int = 3, **asked: object) -> list[Job]:
        sweep_id = secrets.token_hex(4)
        folder = f"{HOME}/runs/a sweep's {sweep_id}"
        await self.connection.put_tree({f"{index}/spec.json": b"{}" for index in range(n_members)}, folder)
        return [
            Job(
                id=f"{sweep_id}.{index}",
                profile="cluster",
                folder=f"{folder}/{index}",
                spec=JobSpec(RunSpec(name=f"seed={index}"), Resources(**{"time_limit_s": 300, **asked})),  # type: ignore[arg-type]
                status=JobStatus(JobState.SUBMITTING),
                created_at=time.time(),
                part=Part(sweep_id, "a sweep", index, n_members, {"seed": index}),
            )
            for index in range(n_members)
        ]

    async def submit_sweep(
        self, members: Sequence[Job], argv: Sequence[str] = ("true",), scheduler: SlurmScheduler | None = None
    ) -> list[Job]:
        keys = await (scheduler or self.scheduler).submit_sweep(members, argv, {})
        return [replace(member, key=keys[member.id]) for member in members]

    async def all_until(
        self, members: Sequence[Job], reached: Callable[[Mapping[str, JobStatus]], bool]
    ) -> list[JobStatus]:
        async def ask() -> Mapping[str, JobStatus]:
            return await self.scheduler.poll(members)

        statuses = await until(ask, lambda said: len(said) == len(members) and reached(said))
        return [statuses[member.id] for member in members]

    async def all_end(self, members: Sequence[Job]) -> list[JobStatus]:
        return await self.all_until(
            members, lambda said: all(status.state.is_over for status in said.values())
        )

    async def all_run(self, members: Sequence[Job]) -> None:
        """Wait until the queue says so, and their commands do."""
        await self.all_until(members, lambda said: {s.state for s in said.values()} == {JobState.RUNNING})
        for member in members:
            await self.says(member, "ready")

    async def go(self, members: Sequence[Job]) -> None:
        for member in members:
            await self.connection.write(f"{member.folder}/go", b"")

    async def arrays(self, members: Sequence[Job]) -> set[str]:
        """Numbers of the arrays that Slurm has of a sweep."""
        assert members[0].part is not None
        said = await self.slurm("squeue", "-h", "-t", "all", "-o", "%F %k")
        rows = [line.split() for line in said.splitlines()]
        return {row[0] for row in rows if row[1].startswith(f"mw:{members[0].part.sweep}:")}


@pytest.fixture
async def site(cluster: Cluster) -> AsyncIterator[SweepSite]:
    connection = await connect(cluster)
    yield SweepSite(connection, SlurmScheduler(connection, SETTINGS, pace=Pace(0, 0)), cluster)
    await connection.run(["scancel", "-u", USER], check=False)
    await connection.close()


def numbered(members: Sequence[Job], number: int) -> list[Job]:
    """The members as they are submitted once more."""
    return [
        replace(member, key=None, part=replace(member.part, submission=number))
        for member in members
        if member.part is not None
    ]


def tasks(members: Sequence[Job]) -> list[str]:
    return [member.key.native_id for member in members if member.key is not None]


async def test_members_run_as_one_array_each_in_its_folder(site: SweepSite) -> None:
    members = await site.submit_sweep(await site.sweep(), ODD_FAIL)
    number = tasks(members)[0].partition("_")[0]
    assert tasks(members) == [f"{number}_0", f"{number}_1", f"{number}_2"]
    assert await site.arrays(members) == {number}
    statuses = await site.all_end(members)
    assert [(status.state, status.exit_code) for status in statuses] == [
        (JobState.COMPLETED, 0),
        (JobState.FAILED, 1),
        (JobState.COMPLETED, 0),
    ]
    for member, task in zip(members, tasks(members), strict=True):
        assert await site.text(member, "stdout.log") == "attempt 1\n"
        assert json.loads(await site.text(member, "exit.json"))["job"] == task


async def test_failed_members_alone_are_submitted_again_and_go_on_in_their_folders(site: SweepSite) -> None:
    members = await site.submit_sweep(await site.sweep(), ODD_FAIL)
    await site.all_end(members)
    await site.connection.write(f"{members[1].folder}/mended", b"")
    (again,) = await site.submit_sweep(numbered(members[1:2], 2), ODD_FAIL)
    assert tasks([again])[0].endswith("_1")
    assert tasks([again]) != tasks(members[1:2])
    assert len(await site.arrays(members)) == 2
    assert (await site.end(again)).state == JobState.COMPLETED
    assert await site.text(again, "stdout.log") == "attempt 1\nattempt 2\n"
    assert await site.text(members[0], "stdout.log") == "attempt 1\n"


async def test_submitting_a_sweep_again_or_at_the_same_time_gives_the_same_keys(site: SweepSite) -> None:
    members = await site.sweep()
    together = await asyncio.gather(*(site.submit_sweep(members) for _ in range(3)))
    assert len({tuple(tasks(submitted)) for submitted in together}) == 1
    assert len(await site.arrays(members)) == 1


async def test_an_array_that_slurm_took_without_saying_so_is_found_by_its_token(site: SweepSite) -> None:
    lost = '/usr/bin/sbatch "$@" >/dev/null; echo "sbatch: error: Socket timed out on send/recv" >&2; exit 1'
    forgetful = site.through(await site.programs(sbatch=lost))
    members = await site.submit_sweep(await site.sweep(), scheduler=forgetful)
    assert {task.partition("_")[0] for task in tasks(members)} == await site.arrays(members)
    assert {status.state for status in await site.all_end(members)} == {JobState.COMPLETED}


async def test_an_array_is_found_in_the_accounts_where_the_queue_has_forgotten_it(site: SweepSite) -> None:
    members = await site.sweep()
    silent = "/usr/bin/sbatch \"$@\" >/dev/null; echo 'sbatch: error: Socket timed out' >&2; exit 1"
    env = await site.programs(sbatch=silent, squeue="exit 0")

    async def ask() -> list[Job]:
        try:
            return await site.submit_sweep(members, scheduler=site.through(env))
        except SubmissionUnclear:  # the accounting lags
            return []

    submitted = await until(ask)
    assert {task.partition("_")[0] for task in tasks(submitted)} == await site.arrays(members)


async def test_a_sweep_without_keys_is_found_in_the_queue_by_task(site: SweepSite) -> None:
    members = await site.sweep()
    await site.submit_sweep(members, ALL_WAIT)
    await site.all_run(members)
    await site.go(members[:1])
    submitted = await site.submit_sweep(members)
    statuses = await site.all_until(submitted, lambda said: said[members[0].id].state.is_over)
    assert [status.state for status in statuses[1:]] == [JobState.RUNNING] * 2
    assert await site.scheduler.poll(numbered(members, 7)) == {}


async def test_one_task_is_cancelled_and_the_others_go_on(site: SweepSite) -> None:
    members = await site.submit_sweep(await site.sweep(), ALL_WAIT)
    await site.all_run(members)
    await site.scheduler.cancel(members[1])
    assert (await site.end(members[1])).state == JobState.CANCELLED
    assert json.loads(await site.text(members[1], "exit.json"))["state"] == "CANCELLED"
    await site.go(members)
    states = [status.state for status in await site.all_end(members)]
    assert states == [JobState.COMPLETED, JobState.CANCELLED, JobState.COMPLETED]
    await site.scheduler.cancel(members[1])


async def test_a_whole_sweep_is_cancelled_with_those_that_never_started(site: SweepSite) -> None:
    site.scheduler = SlurmScheduler(site.connection, replace(SETTINGS, members_at_once=2), pace=Pace(0, 0))
    members = await site.submit_sweep(await site.sweep(6), ALL_WAIT)
    running = {JobState.RUNNING: 2, JobState.PENDING: 4}

    def counted(said: Mapping[str, JobStatus]) -> bool:
        states = [status.state for status in said.values()]
        return {state: states.count(state) for state in states} == running

    statuses = await site.all_until(members, counted)
    assert "JobArrayTaskLimit" in statuses[-1].reason
    await site.go(members[:1])
    await site.all_until(members, lambda said: said[members[0].id].state.is_over)
    await site.scheduler.cancel_sweep(members[1:])
    states = [status.state for status in await site.all_end(members)]
    assert states == [JobState.COMPLETED, *[JobState.CANCELLED] * 5]
    forgotten = site.through(await site.programs(squeue="exit 0"))

    async def accounts() -> Mapping[str, JobStatus]:
        return await forgotten.poll(members)

    said = await until(accounts, lambda said: all(status.state.is_over for status in said.values()))
    assert len(said) == 6
    assert said[members[5].id].state == JobState.CANCELLED
    assert said[members[5].id].started_at is None
    await site.scheduler.cancel_sweep(members)


async def test_a_task_that_waits_for_what_never_comes_says_so_and_can_be_cancelled(site: SweepSite) -> None:
    blocker = await site.submit(site.job(), ["sh", "-c", "exit 1"])
    assert blocker.key is not None
    await site.end(blocker)
    members = await site.submit_sweep(await site.sweep(dependency=f"afterok:{blocker.key.native_id}"))
    statuses = await site.all_until(
        members, lambda said: all("DependencyNeverSatisfied" in status.reason for status in said.values())
    )
    assert {status.state for status in statuses} == {JobState.PENDING}
    await site.scheduler.cancel_sweep(members)
    assert {status.state for status in await site.all_end(members)} == {JobState.CANCELLED}


async def test_submission_and_poll_of_a_large_sweep_are_one_command_each(site: SweepSite) -> None:
    through = Through(site.connection)
    settings = replace(SETTINGS, members_at_once=1)
    scheduler = SlurmScheduler(cast("Connection", through), settings, pace=Pace(0, 0))
    members = await site.submit_sweep(await site.sweep(200), ALL_WAIT, scheduler)
    assert through.n_commands == 1
    statuses = await scheduler.poll(members)
    assert through.n_commands == 2
    assert statuses.keys() == {member.id for member in members}
    await scheduler.cancel_sweep(members)
    assert through.n_commands == 3


async def test_a_sweep_that_slurm_does_not_take_says_why_and_none_of_it_is_there(site: SweepSite) -> None:
    members = await site.sweep(partition="sapphire")
    with pytest.raises(SchedulerError, match=r"[Ii]nvalid partition"):
        await site.submit_sweep(members)
    assert await site.arrays(members) == set()


async def test_tasks_of_another_sweep_with_our_number_are_not_ours(site: SweepSite) -> None:
    others = await site.submit_sweep(await site.sweep(), ALL_WAIT)
    mine = await site.sweep()
    confused = [replace(job, key=other.key) for job, other in zip(mine, others, strict=True)]
    assert await site.scheduler.poll(confused) == {}
    await site.scheduler.cancel_sweep(confused)
    await site.all_run(others)


async def test_a_requeued_task_keeps_its_number_and_counts_its_attempts(site: SweepSite) -> None:
    members = await site.submit_sweep(await site.sweep(2), ODD_FAIL)
    await site.all_end(members)
    await site.connection.write(f"{members[1].folder}/mended", b"")
    await site.slurm("scontrol", "requeue", tasks(members)[1])
    await site.says(members[1], "attempt 2")
    assert {status.state for status in await site.all_end(members)} == {JobState.COMPLETED}
    sentinel = json.loads(await site.text(members[1], "exit.json"))
    assert (sentinel["job"], sentinel["attempt"]) == (tasks(members)[1], 2)
