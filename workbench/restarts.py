"""Restarts: jobs that are over, started again in a folder of their own or in the one they had."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from workbench.discovery import JOB_FILE
from workbench.errors import NotAllowed
from workbench.ledger import Ledger
from workbench.model.job import Job, JobSpec, JobState, JobStatus, Resources
from workbench.model.record import job_to_json
from workbench.model.sweep import Sweep, is_of_sweep
from workbench.ports import Workbench
from workbench.site import Sites
from workbench.submissions import Submissions
from workbench.sweeps import Sweeps


@dataclass
class Restarts:
    """What `Services` does with jobs that are over by the scheduler's newest word."""

    workbench: Workbench
    sites: Sites
    ledger: Ledger
    submissions: Submissions
    sweeps: Sweeps
    _changing: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    async def resubmit(self, job_id: str, spec: JobSpec | None) -> Job:
        """Start a new run, changed by `spec` where it is given; what failed of a sweep goes on in its place.

        Raises:
            NotAllowed: The job is not over, or was resubmitted already.
        """
        if spec is None and is_of_sweep(self.workbench.job(job_id)):
            return await self.requeue(job_id, None)
        async with self._to_start_again(job_id) as job:
            for other in self.workbench.jobs():
                if other.resubmitted_from == job.id and not other.state.is_over:
                    raise NotAllowed(
                        f"Job {job.id} was resubmitted as {other.id}, which is {other.state.lower()}."
                    )
            return await self.submissions.start(spec or job.spec, job.profile, resubmitted_from=job.id)

    async def requeue(self, job_id: str, resources: Resources | None) -> Job:
        """Start a job once more in its own folder, with `resources` where they are given.

        Raises:
            NotAllowed: The job is not over.
        """
        async with self._to_start_again(job_id) as job:
            site = await self.sites.of(job.profile)
            if is_of_sweep(job):
                await self.sweeps.resubmit(site, job, resources)
                return self.workbench.job(job.id)
            if resources is None or resources == job.spec.resources:
                key = await site.scheduler.requeue(job)
            else:
                job = replace(job, spec=replace(job.spec, resources=resources))
                command = await site.command(job.spec.run, f"{job.folder}/spec.json")
                await site.connection.write(f"{job.folder}/{JOB_FILE}", job_to_json(job).encode())
                key = await site.scheduler.requeue(job, *command)
            return self.ledger.keep(replace(job, key=key, status=JobStatus(JobState.PENDING)))

    @asynccontextmanager
    async def _to_start_again(self, job_id: str) -> AsyncIterator[Job]:
        """A job that is over by the scheduler's newest word; two key presses come one after the other."""
        named = self.workbench.job(job_id)
        async with self._changing[named.part.sweep if named.part else named.id]:
            await self.workbench.refresh()
            job = self.workbench.job(named.id)
            # Of a sweep the failed members alone start again, whatever the others do.
            if not job.state.is_over and not isinstance(job, Sweep):
                raise NotAllowed(f"Job {job.id} is not over ({job.state.lower()}): cancel it first.")
            yield job
