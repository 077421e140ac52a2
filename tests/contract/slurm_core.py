"""The core of what the Slurm scheduler does, on whatever connection: for `test_slurm_connections`.

It needs nothing but the program, so that it can be run on a login node, as a program of its own.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from jobs.spec import RunSpec
from workbench.errors import FileFailed, SchedulerError
from workbench.model.job import Job, JobSpec, JobState, JobStatus, Resources
from workbench.ports import Connection
from workbench.remote.local import LocalConnection
from workbench.schedulers.slurm import SlurmScheduler, SlurmSettings
from workbench.schedulers.slurm.pace import Pace

_SETTINGS = SlurmSettings(account="MACE-SL3-CPU", partition="icelake")
_PATIENCE_S = 60.0
_LOOK_S = 0.05
_NAME = "|r| ünï 'q' \"d\" %j $(x) -\\ \x1b[31m"


class Core:
    """Scenarios; each of them is one story of a few jobs."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.scheduler = SlurmScheduler(connection, _SETTINGS, pace=Pace(0, 0))

    async def all(self) -> None:
        """All of them at the same time, as jobs of one user are."""
        async with asyncio.TaskGroup() as group:
            for scenario in (
                self.runs,
                self.is_there_once,
                self.is_refused,
                self.is_cancelled,
                self.is_requeued,
            ):
                group.create_task(scenario())

    async def runs(self) -> None:
        """A job gets its environment, writes, ends, and its end is known; its name is as it was given."""
        argv = ["sh", "-c", 'echo "$GREETING"; pwd; until [ -e go ]; do sleep 0.05; done; exit 3']
        job = await self.submit(self.job(_NAME), argv, {"GREETING": "hällo 'x'"})
        await self.until(job, lambda status: status.state == JobState.RUNNING)
        (entry,) = [entry for entry in self.scheduler.desk.entries if entry.token == f"mw:{job.id}:1"]
        assert entry.name == _NAME, entry.name
        await self.connection.write(f"{job.folder}/go", b"")
        status = await self.end(job)
        assert (status.state, status.exit_code) == (JobState.FAILED, 3), status
        assert await self.text(job, "stdout.log") == f"hällo 'x'\n{job.folder}\n"

    async def is_there_once(self) -> None:
        """However often and however quickly it is submitted."""
        job = self.job()
        keys = await asyncio.gather(*(self.scheduler.submit(job, ["true"], {}) for _ in range(3)))
        assert len({key.native_id for key in keys}) == 1, keys
        await self.end(replace(job, key=keys[0]))
        listing = ["squeue", "-h", "-t", "all", "-o", "%k"]
        comments = (await self.connection.run(listing)).stdout.decode().split()
        assert comments.count(f"mw:{job.id}:1") == 1, comments

    async def is_refused(self) -> None:
        """With the words of Slurm, and the way out."""
        job = self.job(account="NOBODY-SL2-CPU")
        said = ""
        try:
            await self.submit(job)
        except SchedulerError as error:
            said = str(error)
        for part in ("`sbatch run.sh`", "Invalid account", "set `account`"):
            assert part in said, said

    async def is_cancelled(self) -> None:
        """And has its last word."""
        script = "trap 'echo farewell; exit 143' TERM; echo ready; while :; do sleep 0.05; done"
        job = await self.submit(self.job(), ["bash", "-c", script])
        await self.says(job, "ready")
        await self.scheduler.cancel(job)
        assert (await self.end(job)).state == JobState.CANCELLED
        assert "farewell" in await self.text(job, "stdout.log")

    async def is_requeued(self) -> None:
        """Under its number, and writes on."""
        job = await self.submit(self.job(), ["sh", "-c", "echo attempt $MACE_WORKBENCH_ATTEMPT"])
        await self.end(job)
        again = replace(job, key=await self.scheduler.requeue(job))
        assert job.key is not None
        assert again.key is not None
        assert again.key.native_id == job.key.native_id
        await self.says(job, "attempt 2")

    # -- what they are made of -------------------------------------------------------------------------

    def job(self, name: str = "a run", **asked: str) -> Job:
        """One that was not submitted yet."""
        job_id = secrets.token_hex(4)
        return Job(
            id=job_id,
            profile="cluster",
            folder=f"/home/mw123/runs/a folder's {job_id}",
            spec=JobSpec(RunSpec(name=name), Resources(time_limit_s=300, **asked)),  # type: ignore[arg-type]
            status=JobStatus(JobState.SUBMITTING),
            created_at=time.time(),
        )

    async def submit(
        self, job: Job, argv: Sequence[str] = ("true",), env: Mapping[str, str] | None = None
    ) -> Job:
        """The job with the key that Slurm has given it."""
        return replace(job, key=await self.scheduler.submit(job, argv, env or {}))

    async def until(self, job: Job, reached: Callable[[JobStatus], bool]) -> JobStatus:
        """Wait for a state."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                status = (await self.scheduler.poll([job])).get(job.id)
                if status is not None and reached(status):
                    return status
                await asyncio.sleep(_LOOK_S)

    async def end(self, job: Job) -> JobStatus:
        """Wait for the end."""
        return await self.until(job, lambda status: status.state.is_over)

    async def says(self, job: Job, text: str) -> None:
        """Wait for the run to have written something."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                if text in await self.text(job, "stdout.log"):
                    return
                await asyncio.sleep(_LOOK_S)

    async def text(self, job: Job, name: str) -> str:
        """A file of the run's folder; nothing where it is not there yet."""
        try:
            return (await self.connection.read(f"{job.folder}/{name}")).data.decode()
        except FileFailed:
            return ""


if __name__ == "__main__":
    asyncio.run(Core(LocalConnection()).all())
