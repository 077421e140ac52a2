"""Polls: what the schedulers say of our jobs, asked together; what was left undone is done on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from workbench import sweeps
from workbench.config import Config
from workbench.discovery import unknown_jobs
from workbench.errors import SchedulerError, WorkbenchError
from workbench.ledger import Ledger
from workbench.model.job import Job
from workbench.outbox import Outbox
from workbench.site import Sites
from workbench.submissions import Submissions
from workbench.sweeps import Sweeps

log = logging.getLogger(__name__)

_SUBMITTED_BY_OTHERS_S = 30.0
"""How long a submission that this program does not make may be one that another program makes."""


@dataclass
class Polls:
    """Asks all places where something is to be known, and tells the ledger."""

    config: Config
    sites: Sites
    ledger: Ledger
    outbox: Outbox
    submissions: Submissions
    sweeps: Sweeps
    clock: Callable[[], float]
    _searched: set[str] = field(default_factory=set)

    async def refresh(self, watched: str | None = None) -> Sequence[Job]:
        """Ask the schedulers, that of the profile `watched` in any case; the jobs that have changed.

        Raises:
            WorkbenchError: One of them could not be asked; the others were.
        """
        changed = {job.id: job for job in self.ledger.take_in_saved()}
        failures = list(await self._carry_out_waiting())
        for name in self._unsearched():
            try:
                changed |= {job.id: job for job in await self.rediscover(name)}
            except WorkbenchError as error:
                failures.append(error)
        active = dict(self.ledger.active())
        if watched is not None:
            active.setdefault(watched, [])
        for profile, jobs in active.items():
            try:
                changed |= {job.id: job for job in await self._ask(profile, jobs)}
            except WorkbenchError as error:  # the other places are asked all the same
                failures.append(error)
        if failures:
            raise failures[0]
        return list(changed.values())

    async def refresh_queue(self, profile: str) -> None:
        """Ask one scheduler for its queue, and so for our jobs in it."""
        await self._ask(profile, self.ledger.active().get(profile, []))

    async def rediscover(self, profile: str | None = None) -> Sequence[Job]:
        """Find the jobs of a profile by their folders; those that were not known. Nothing is submitted."""
        site = await self.sites.of(profile)
        found = await unknown_jobs(
            site.connection,
            site.work_folder,
            lambda name: name in self.ledger or f"{name}.0" in self.ledger,
        )
        if found:
            found = await site.scheduler.recognised([self._placed(job, site.profile.name) for job in found])
        self.ledger.keep_all(found)
        self._searched.add(site.profile.name)
        return found

    def _placed(self, job: Job, profile: str) -> Job:
        """A job that was found by one profile, which may be another one's of the same place."""
        return job if job.profile in self.config.profiles else replace(job, profile=profile)

    # -- inside ----------------------------------------------------------------------------------

    async def _carry_out_waiting(self) -> Sequence[WorkbenchError]:
        """Do what was asked for while hosts could not be reached; what went wrong."""
        self.outbox.reload()
        submit, cancel = self.submissions.submit_waiting, self.submissions.cancel_waiting
        failures: list[WorkbenchError] = []
        for profile in dict.fromkeys(request.job.profile for request in self.outbox.requests()):
            try:
                failures += await self.outbox.carry_out(profile, submit, cancel)
            except WorkbenchError as error:  # it goes on waiting
                failures.append(error)
        return failures

    def _unsearched(self) -> Sequence[str]:
        """Profiles of this machine whose runs were not looked for yet: there, looking costs nothing."""
        local = (name for name, described in self.config.profiles.items() if described.connection == "local")
        return [name for name in local if name not in self._searched]

    async def _ask(self, profile: str, jobs: Sequence[Job]) -> Sequence[Job]:
        """Ask one scheduler; the jobs that have changed."""
        changed = {job.id: job for job in await self._submitted_again(profile, jobs)}
        statuses = await (await self.sites.of(profile)).scheduler.poll(jobs)
        for job in jobs:
            status = statuses.get(job.id)
            if status is None or self.ledger[job.id] is not job:
                continue
            heard = replace(job, status=status, as_of=self.clock())
            if self.ledger.heard(heard):
                changed[job.id] = heard
        return list(changed.values())

    async def _submitted_again(self, profile: str, jobs: Sequence[Job]) -> Sequence[Job]:
        """Jobs whose submission was cut short, and is now made or found; the others of them can wait."""
        cut = [
            job
            for job in jobs
            if job.key is None
            and job.id not in self.submissions.under_way
            and not self.outbox.holds(job.id)
            and self.clock() - job.created_at > _SUBMITTED_BY_OTHERS_S
            and self.config.profile(profile).scheduler == "slurm"
        ]
        for together in sweeps.by_submission(cut):
            site = await self.sites.of(profile)
            try:
                if together[0].part is not None:
                    await self.sweeps.submit_again(site, together)
                else:
                    await self.submissions.submit(site, together[0])
            except SchedulerError as error:
                log.warning("Job %s: %s", together[0].id, error)
        return [self.ledger[job.id] for job in cut]
