"""Submissions: runs put with their schedulers, each once whatever is cut short on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from workbench.discovery import JOB_FILE
from workbench.errors import ConnectionFailed, SubmissionUnclear, WorkbenchError
from workbench.ledger import Ledger
from workbench.model.job import Job, JobSpec, JobState, JobStatus
from workbench.model.record import job_to_json
from workbench.patience import ASKED_FOR_S, waiting_for_link
from workbench.site import Site, Sites


@dataclass
class Submissions:
    """Starts runs on their own; `Sweeps` does it with many at once."""

    ledger: Ledger
    sites: Sites
    clock: Callable[[], float]
    under_way: set[str] = field(default_factory=set)
    """Ids of the jobs that are on their way to a scheduler."""

    async def start(self, spec: JobSpec, profile: str | None, *, resubmitted_from: str | None = None) -> Job:
        """Start a new run."""
        with waiting_for_link(ASKED_FOR_S):
            site = await self.sites.reached(profile)
        job_id = self.ledger.new_id()
        job = self.ledger.keep(
            Job(
                id=job_id,
                profile=site.profile.name,
                folder=f"{site.work_folder}/runs/{job_id}",
                spec=spec,
                status=JobStatus(JobState.SUBMITTING),
                created_at=self.clock(),
                resubmitted_from=resubmitted_from,
            )
        )
        return await self.submit(site, job)

    async def submit(self, site: Site, job: Job) -> Job:
        """Have a job's files in its folder, and the job with its scheduler, where it may be already."""
        self.under_way.add(job.id)
        try:
            argv, env = await site.command(job.spec.run, f"{job.folder}/spec.json")
            files = {"spec.json": job.spec.run.to_json(), JOB_FILE: job_to_json(job)}
            await asyncio.gather(  # one round trip
                *(site.connection.write(f"{job.folder}/{name}", files[name].encode()) for name in files)
            )
            key = await site.scheduler.submit(job, argv, env)
        except (ConnectionFailed, SubmissionUnclear):
            raise  # it may be there or not: `Polls` has it submitted again, which starts nothing twice
        except WorkbenchError as error:
            self.ledger.keep(replace(job, status=JobStatus(JobState.FAILED, reason=str(error))))
            raise
        finally:
            self.under_way.discard(job.id)
        return self.ledger.keep(replace(job, key=key, status=JobStatus(JobState.PENDING)))

    # -- what has waited for the link --------------------------------------------------------------

    async def submit_waiting(self, job: Job) -> None:
        """Submit a job by the id under which it was asked for; that it was submitted before is recognised."""
        site = await self.sites.reached(job.profile)
        if job.id not in self.ledger:
            folder = f"{site.work_folder}/runs/{job.id}"
            self.ledger.keep(replace(job, folder=folder, status=JobStatus(JobState.SUBMITTING)))
        if (known := self.ledger[job.id]).key is None and not known.state.is_over:
            await self.submit(site, known)

    async def cancel_waiting(self, job: Job) -> None:
        """End a job that was to be ended, where it has not ended by itself."""
        site = await self.sites.reached(job.profile)
        known = self.ledger.get(job.id, job)
        if not known.state.is_over:
            await site.scheduler.cancel(known)
