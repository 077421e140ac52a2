"""The workbench itself: what the screens and the command line ask for, done.

It names the implementation of the store, as `site` does those of connections and schedulers. It keeps every
known job and run in memory, the store beneath them, and asks the hosts only when it is told to.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import PurePosixPath

from jobs.spec import RunSpec
from jobs.sweep import SweepSpec
from workbench import doctor, sweeps
from workbench.again import Again, again
from workbench.config import LOCAL, Config
from workbench.environment import Environment, accel_requirements, create
from workbench.errors import (
    NotAllowed,
)
from workbench.ledger import Ledger
from workbench.model.finding import Finding
from workbench.model.job import Job, JobSpec, JobState, Resources
from workbench.model.link import LinkStatus
from workbench.model.run import Run
from workbench.model.sweep import Sweep, progress_of, sweep_of
from workbench.outbox import Outbox
from workbench.patience import ASKED_FOR_S, waiting_for_link
from workbench.polls import Polls
from workbench.ports import Connection, FileChunk, Prompter
from workbench.queues import Queues
from workbench.recipes import find_spec, with_absolute_paths
from workbench.remote.asking import NoPrompter
from workbench.restarts import Restarts
from workbench.run_files import RunFiles
from workbench.scheduler_check import examine_scheduler
from workbench.sessions.book import Book
from workbench.sessions.desk import Desk
from workbench.site import Sites
from workbench.store import Store
from workbench.submissions import Submissions
from workbench.sweeps import Sweeps
from workbench.turns import Turns

STORE_FILE = "store.sqlite"
_DEMO = "demo"


@asynccontextmanager
async def open_services(
    config: Config, prompter: Prompter | None = None, turns: Turns | None = None
) -> AsyncIterator[Services]:
    """The workbench on the user's configuration and store, let go of at the end."""
    services = Services(config, Store(config.state_folder / STORE_FILE), prompter=prompter, turns=turns)
    try:
        yield services
    finally:
        await services.close()


class Services:
    """Implements `ports.Workbench` on the user's configuration and store."""

    def __init__(
        self,
        config: Config,
        store: Store,
        *,
        prompter: Prompter | None = None,
        turns: Turns | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._store = store
        self._ledger = Ledger(store)
        self._sites = Sites(config, prompter or NoPrompter())
        self._files = RunFiles(store, self._ledger, self._connected, turns or Turns())
        self.outbox = Outbox(store, self._ledger, clock)
        """What waits for a host that cannot be reached."""
        self._submissions = Submissions(self._ledger, self._sites, clock)
        self._sweeps = Sweeps(self._ledger, clock, self._submissions.under_way)
        self._polls = Polls(
            config, self._sites, self._ledger, self.outbox, self._submissions, self._sweeps, clock
        )
        self._restarts = Restarts(self, self._sites, self._ledger, self._submissions, self._sweeps)
        self.queues = Queues(config, self._sites, self._ledger, self._polls.refresh_queue, clock)
        """The user's jobs on the clusters, whoever has submitted them."""
        self.desk = Desk(self, self._sites.of, Book(config.state_folder), self._ledger.keep)
        """Interactive sessions, and tunnels."""

    # -- what is known ---------------------------------------------------------------------------

    def profiles(self) -> Sequence[str]:
        """Names of the places where jobs can run, the default one first."""
        default = self._config.default_profile
        return [default, *(name for name in self._config.profiles if name != default)]

    def jobs(self) -> Sequence[Job]:
        """All that is known, newest first, without asking anybody."""
        return self.outbox.with_waiting(self._ledger.newest_first())

    def job(self, id_or_prefix: str) -> Job:
        """One job by its id, or by the beginning of its id."""
        return self.outbox.job(id_or_prefix) or self._ledger.find(id_or_prefix)

    def run(self, job_id: str) -> Run:
        """What the events of a job have added up to so far, of a sweep how far it is; asks nobody."""
        if members := self._ledger.members(job_id):
            return progress_of(sweep_of(members), {job.id: self._files.run(job.id) for job in members})
        return self._files.run(job_id)

    # -- links -----------------------------------------------------------------------------------

    def links(self) -> Sequence[LinkStatus]:
        """The connections to all hosts but this machine."""
        return self._sites.links()

    def when_links_change(self, tell: Callable[[], None]) -> None:
        """Have somebody told of every change of any link."""
        self._sites.when_links_change(tell)

    async def reconnect(self, profile: str) -> None:
        """The user wants a link now, and may be asked for what a login needs, once."""
        await self._sites.reconnect(profile)

    # -- asking ----------------------------------------------------------------------------------

    async def refresh(self) -> Sequence[Job]:
        """Ask the schedulers; the jobs that have changed, here or through another program."""
        return await self._polls.refresh(self.queues.watched)

    async def rediscover(self, profile: str | None = None) -> Sequence[Job]:
        """Find the jobs of a profile by their folders; those that were not known. Nothing is submitted."""
        return await self._polls.rediscover(profile)

    async def fetch(self, job_id: str) -> bool:
        """Take in what is new of a run's events; true where anything was."""
        job = self.job(job_id)
        if isinstance(job, Sweep):
            return await self._sweeps.fetch(job, self.fetch)
        if job.state is JobState.WAITS_FOR_LINK:
            return False
        changed = await self._files.fetch(job)
        if self._files.ended_anew(job.id) and not job.state.is_over:
            (await self._sites.of(job.profile)).scheduler.stir()
        return changed

    async def fetch_all(self, job_id: str) -> Run:
        """Take in all of a run's events that are there now."""
        while await self.fetch(job_id):
            pass
        return self.run(job_id)

    async def log(self, job_id: str, *, tail_bytes: int | None = None) -> bytes:
        """The run's standard output and error, or the end of it; empty before it starts."""
        return (await self.log_chunk(job_id, tail_bytes=tail_bytes)).data

    async def log_chunk(self, job_id: str, offset: int = 0, *, tail_bytes: int | None = None) -> FileChunk:
        """The run's standard output and error from `offset` on, or at most its last `tail_bytes`."""
        return await self._files.log_chunk(self._single(job_id), offset, tail_bytes=tail_bytes)

    async def results(self, job_id: str) -> Mapping[str, object]:
        """The results file of a finished run."""
        return await self._files.results(self._single(job_id))

    # -- doing -----------------------------------------------------------------------------------

    async def submit(
        self, spec: RunSpec | SweepSpec, resources: Resources, *, profile: str | None = None
    ) -> Job:
        """Start a run or a sweep.

        Files of this machine may be named by relative paths where it is here that it runs.
        """
        if self._config.profile(profile).connection == "local":
            spec = with_absolute_paths(spec)
        if isinstance(spec, SweepSpec):
            return await self._sweeps.submit(await self._sites.of(profile), spec, resources)
        return await self._submissions.start(JobSpec(spec, resources), profile)

    async def start_demo(self) -> Job:
        """Start the demonstration on this machine; where it is going already, that one."""
        spec = find_spec(_DEMO)
        await self.refresh()
        for job in self.jobs():
            if job.spec.run == spec and not job.state.is_over:
                return job
        return await self.submit(spec, Resources(), profile=LOCAL)

    async def resubmit(self, job_id: str, *, spec: JobSpec | None = None) -> Job:
        """Start a new run of a job that is over, in a new folder, changed by `spec` where it is given.

        A member of a sweep, and the failed ones of a whole sweep, go on in their own folders.
        """
        return await self._restarts.resubmit(job_id, spec)

    async def again(self, job_id: str) -> Again:
        """How a job that is over is best started again, by all that its run has told."""
        job = self.job(job_id)
        run = await self.fetch_all(job.id)
        most_minutes = self._config.profile(job.profile).time_limit_minutes
        if isinstance(job, Sweep):
            runs = {member.id: self.run(member.id) for member in job.members}
            return sweeps.again_of(job, runs, most_minutes)
        proposal = again(job, run, most_minutes)
        return replace(proposal, in_place=proposal.in_place or job.part is not None)

    async def requeue(self, job_id: str, *, resources: Resources | None = None) -> Job:
        """Start a job that is over once more in its own folder, so that it goes on from there."""
        return await self._restarts.requeue(job_id, resources)

    async def examine(self, profile: str | None = None) -> Sequence[Finding]:
        """Check that a profile has all that runs need."""
        site = await self._sites.of(profile)
        found = await doctor.examine(
            site.connection,
            site.python,
            site.work_folder,
            await site.code.folder(),
            site.profile.setup,
            site.profile.gpus,
        )
        return [*found, *await examine_scheduler(site.connection, site.profile, site.work_folder)]

    async def environment(
        self, profile: str | None, folder: str, base: str, requirements: Sequence[str]
    ) -> Environment:
        """A Python environment that could be made where a profile runs its jobs; nothing is made yet."""
        site = await self._sites.of(profile)
        # Below the work folder, as everything of this program.
        path = str(PurePosixPath(site.work_folder, folder or "env"))
        return Environment(path, base, requirements or accel_requirements(), site.profile.setup)

    async def create_environment(
        self, profile: str | None, environment: Environment, hear: Callable[[str], None]
    ) -> None:
        """Make it, handing on what the commands say."""
        await create((await self._sites.of(profile)).connection, environment, hear)

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to end."""
        job = self.job(job_id)
        if job.state.is_over:
            raise NotAllowed(f"Job {job.id} is over already ({job.state.lower()}).")
        if self.outbox.holds(job.id) and job.id not in self._ledger:
            return self.outbox.cancel(job)
        with waiting_for_link(ASKED_FOR_S):
            site = await self._sites.reached(job.profile)
        if isinstance(job, Sweep):
            await self._sweeps.cancel(site, job)
        else:
            await site.scheduler.cancel(job)
        await self.refresh()
        return self.job(job.id)

    async def hold(self, job_id: str) -> Job:
        """Keep a job that waits from starting."""
        job = self._waiting(job_id)
        await (await self._sites.of(job.profile)).scheduler.hold(job)
        await self.refresh()
        return self._ledger[job.id]

    async def release(self, job_id: str) -> Job:
        """Let a job go that is held."""
        job = self._waiting(job_id)
        await (await self._sites.of(job.profile)).scheduler.release(job)
        await self.refresh()
        return self._ledger[job.id]

    async def close(self) -> None:
        """Let go of hosts and store; jobs go on."""
        await self.desk.close()
        await self._sites.close()
        self._store.close()

    # -- inside ----------------------------------------------------------------------------------

    def _single(self, job_id: str) -> Job:
        """A job that has a log and results of its own."""
        job = self.job(job_id)
        if isinstance(job, Sweep):
            raise NotAllowed(
                f"{job.id} is a sweep of {len(job.members)} runs, each with its own: name one, as {job.id}.0."
            )
        if job.state is JobState.WAITS_FOR_LINK:
            raise NotAllowed(f"{job.id} waits for the link to {job.profile}: nothing has run yet.")
        return job

    async def _connected(self, job: Job) -> Connection:
        return (await self._sites.of(job.profile)).connection

    def _waiting(self, job_id: str) -> Job:
        job = self.job(job_id)
        if job.state != JobState.PENDING:
            raise NotAllowed(
                f"Job {job.id} does not wait ({job.state.lower()}): only a job that waits can be held."
            )
        return job
