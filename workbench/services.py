"""The workbench itself: what the screens and the command line ask for, done.

It names the implementation of the store, as `site` does those of connections and schedulers. It keeps every
known job and run in memory, the store beneath them, and asks the hosts only when it is told to.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import PurePosixPath

from jobs.spec import RunSpec
from jobs.sweep import SweepSpec
from workbench import doctor, sweeps
from workbench.again import Again, again
from workbench.config import LOCAL, Config
from workbench.discovery import JOB_FILE, unknown_jobs
from workbench.environment import Environment, accel_requirements, create
from workbench.errors import (
    ConnectionFailed,
    NotAllowed,
    SchedulerError,
    SubmissionUnclear,
    WorkbenchError,
)
from workbench.ledger import Ledger
from workbench.model.finding import Finding
from workbench.model.job import Job, JobSpec, JobState, JobStatus, Resources
from workbench.model.link import LinkStatus
from workbench.model.record import job_to_json
from workbench.model.run import Run
from workbench.model.sweep import Sweep, is_of_sweep, progress_of, sweep_of
from workbench.outbox import Outbox
from workbench.patience import ASKED_FOR_S, waiting_for_link
from workbench.ports import Connection, FileChunk, Prompter
from workbench.queues import Queues
from workbench.recipes import find_spec, with_absolute_paths
from workbench.remote.asking import NoPrompter
from workbench.run_files import RunFiles
from workbench.scheduler_check import examine_scheduler
from workbench.sessions.book import Book
from workbench.sessions.desk import Desk
from workbench.site import Site, Sites
from workbench.store import Store
from workbench.sweeps import Sweeps

log = logging.getLogger(__name__)

STORE_FILE = "store.sqlite"
_DEMO = "demo"
_SUBMITTED_BY_OTHERS_S = 30.0
"""How long a submission that this program does not make may be one that another program makes."""


@asynccontextmanager
async def open_services(config: Config, prompter: Prompter | None = None) -> AsyncIterator[Services]:
    """The workbench on the user's configuration and store, let go of at the end."""
    services = Services(config, Store(config.state_folder / STORE_FILE), prompter=prompter)
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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._ledger = Ledger(store)
        self._sites = Sites(config, prompter or NoPrompter())
        self.queues = Queues(config, self._sites, self._ledger, self._refresh_queue, clock)
        """The user's jobs on the clusters, whoever has submitted them."""
        self._files = RunFiles(store, self._ledger, self._connected)
        self.desk = Desk(self, self._sites.of, Book(config.state_folder), self._ledger.keep)
        """Interactive sessions, and tunnels."""
        self._sweeps = Sweeps(self._ledger, clock)
        self.outbox = Outbox(store, self._ledger, clock)
        """What waits for a host that cannot be reached."""
        self._submitting = self._sweeps.submitting
        self._searched: set[str] = set()
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

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
        changed = {job.id: job for job in self._ledger.take_in_saved()}
        failures = list(await self._carry_out_waiting())
        for name in self._unsearched():
            try:
                changed |= {job.id: job for job in await self.rediscover(name)}
            except WorkbenchError as error:
                failures.append(error)
        active = dict(self._ledger.active())
        if self.queues.watched is not None:
            active.setdefault(self.queues.watched, [])
        for profile, jobs in active.items():
            try:
                changed |= {job.id: job for job in await self._refresh_profile(profile, jobs)}
            except WorkbenchError as error:  # the other places are asked all the same
                failures.append(error)
        if failures:
            raise failures[0]
        return list(changed.values())

    async def _carry_out_waiting(self) -> Sequence[WorkbenchError]:
        """Do what was asked for while hosts could not be reached; what went wrong."""
        self.outbox.reload()
        failures: list[WorkbenchError] = []
        for profile in dict.fromkeys(request.job.profile for request in self.outbox.requests()):
            try:
                failures += await self.outbox.carry_out(profile, self._submit_waiting, self._cancel_waiting)
            except WorkbenchError as error:  # it goes on waiting
                failures.append(error)
        return failures

    async def _submit_waiting(self, job: Job) -> None:
        """Submit a job by the id under which it was asked for; that it was submitted before is recognised."""
        site = await self._sites.reached(job.profile)
        if job.id not in self._ledger:
            folder = f"{site.work_folder}/runs/{job.id}"
            self._ledger.keep(replace(job, folder=folder, status=JobStatus(JobState.SUBMITTING)))
        if (known := self._ledger[job.id]).key is None and not known.state.is_over:
            await self._submit(site, known)

    async def _cancel_waiting(self, job: Job) -> None:
        """End a job that was to be ended, where it has not ended by itself."""
        site = await self._sites.reached(job.profile)
        known = self._ledger.get(job.id, job)
        if not known.state.is_over:
            await site.scheduler.cancel(known)

    def _unsearched(self) -> Sequence[str]:
        """Profiles of this machine whose runs were not looked for yet: there, looking costs nothing."""
        local = (name for name, described in self._config.profiles.items() if described.connection == "local")
        return [name for name in local if name not in self._searched]

    async def _refresh_queue(self, profile: str) -> None:
        """Ask one scheduler for its queue, and so for our jobs in it."""
        await self._refresh_profile(profile, self._ledger.active().get(profile, []))

    async def _refresh_profile(self, profile: str, jobs: Sequence[Job]) -> Sequence[Job]:
        """Ask one scheduler; the jobs that have changed."""
        changed = {job.id: job for job in await self._submitted_again(profile, jobs)}
        statuses = await (await self._sites.of(profile)).scheduler.poll(jobs)
        for job in jobs:
            status = statuses.get(job.id)
            if status is None or self._ledger[job.id] is not job:
                continue
            heard = replace(job, status=status, as_of=self._clock())
            if self._ledger.heard(heard):
                changed[job.id] = heard
        return list(changed.values())

    async def _submitted_again(self, profile: str, jobs: Sequence[Job]) -> Sequence[Job]:
        """Jobs whose submission was cut short, and is now made or found; the others of them can wait."""
        cut = [
            job
            for job in jobs
            if job.key is None
            and job.id not in self._submitting
            and not self.outbox.holds(job.id)
            and self._clock() - job.created_at > _SUBMITTED_BY_OTHERS_S
            and self._config.profile(profile).scheduler == "slurm"
        ]
        for together in sweeps.by_submission(cut):
            site = await self._sites.of(profile)
            try:
                if together[0].part is not None:
                    await self._sweeps.submit_again(site, together)
                else:
                    await self._submit(site, together[0])
            except SchedulerError as error:
                log.warning("Job %s: %s", together[0].id, error)
        return [self._ledger[job.id] for job in cut]

    async def rediscover(self, profile: str | None = None) -> Sequence[Job]:
        """Find the jobs of a profile by their folders; those that were not known."""
        site = await self._sites.of(profile)
        found = await unknown_jobs(
            site.connection,
            site.work_folder,
            lambda name: name in self._ledger or f"{name}.0" in self._ledger,
        )
        found = [
            job if job.profile in self._config.profiles else replace(job, profile=site.profile.name)
            for job in found
        ]
        self._ledger.keep_all(found)
        self._searched.add(site.profile.name)
        return found

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
        return await self._start(JobSpec(spec, resources), profile)

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
        if spec is None and is_of_sweep(self.job(job_id)):
            return await self.requeue(job_id)
        async with self._to_start_again(job_id) as job:
            for other in self.jobs():
                if other.resubmitted_from == job.id and not other.state.is_over:
                    raise NotAllowed(
                        f"Job {job.id} was resubmitted as {other.id}, which is {other.state.lower()}."
                    )
            return await self._start(spec or job.spec, job.profile, resubmitted_from=job.id)

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
        async with self._to_start_again(job_id) as job:
            site = await self._sites.of(job.profile)
            if is_of_sweep(job):
                await self._sweeps.resubmit(site, job, resources)
                return self.job(job.id)
            if resources is None or resources == job.spec.resources:
                key = await site.scheduler.requeue(job)
            else:
                job = replace(job, spec=replace(job.spec, resources=resources))
                command = await site.command(job.spec.run, f"{job.folder}/spec.json")
                await site.connection.write(f"{job.folder}/{JOB_FILE}", job_to_json(job).encode())
                key = await site.scheduler.requeue(job, *command)
            return self._ledger.keep(replace(job, key=key, status=JobStatus(JobState.PENDING)))

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

    async def _start(self, spec: JobSpec, profile: str | None, *, resubmitted_from: str | None = None) -> Job:
        with waiting_for_link(ASKED_FOR_S):
            site = await self._sites.reached(profile)
        job_id = self._ledger.new_id()
        job = self._ledger.keep(
            Job(
                id=job_id,
                profile=site.profile.name,
                folder=f"{site.work_folder}/runs/{job_id}",
                spec=spec,
                status=JobStatus(JobState.SUBMITTING),
                created_at=self._clock(),
                resubmitted_from=resubmitted_from,
            )
        )
        return await self._submit(site, job)

    async def _submit(self, site: Site, job: Job) -> Job:
        """Have a job's files in its folder, and the job with its scheduler."""
        self._submitting.add(job.id)
        try:
            argv, env = await site.command(job.spec.run, f"{job.folder}/spec.json")
            files = {"spec.json": job.spec.run.to_json(), JOB_FILE: job_to_json(job)}
            await asyncio.gather(  # one round trip
                *(site.connection.write(f"{job.folder}/{name}", files[name].encode()) for name in files)
            )
            key = await site.scheduler.submit(job, argv, env)
        except (ConnectionFailed, SubmissionUnclear):
            raise  # it may be there or not: `refresh` submits it again, which starts nothing twice
        except WorkbenchError as error:
            self._ledger.keep(replace(job, status=JobStatus(JobState.FAILED, reason=str(error))))
            raise
        finally:
            self._submitting.discard(job.id)
        return self._ledger.keep(replace(job, key=key, status=JobStatus(JobState.PENDING)))

    async def _connected(self, job: Job) -> Connection:
        return (await self._sites.of(job.profile)).connection

    def _waiting(self, job_id: str) -> Job:
        job = self.job(job_id)
        if job.state != JobState.PENDING:
            raise NotAllowed(
                f"Job {job.id} does not wait ({job.state.lower()}): only a job that waits can be held."
            )
        return job

    @asynccontextmanager
    async def _to_start_again(self, job_id: str) -> AsyncIterator[Job]:
        """A job that is over by the scheduler's newest word; two key presses come one after the other."""
        named = self.job(job_id)
        async with self._changing[named.part.sweep if named.part else named.id]:
            await self.refresh()
            job = self.job(named.id)
            # Of a sweep the failed members alone start again, whatever the others do.
            if not job.state.is_over and not isinstance(job, Sweep):
                raise NotAllowed(f"Job {job.id} is not over ({job.state.lower()}): cancel it first.")
            yield job
