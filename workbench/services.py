"""The workbench itself: what the screens and the command line ask for, done.

It names the implementation of the store, as `site` does those of connections and schedulers. It keeps every
known job and run in memory, the store beneath them, and asks the hosts only when it is told to.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from jobs.protocol import EventDecoder
from jobs.spec import RunSpec
from workbench import doctor
from workbench.config import LOCAL, Config
from workbench.environment import Environment, accel_requirements, create
from workbench.errors import (
    FileFailed,
    LinkLost,
    NotAllowed,
    NotFound,
    SchedulerError,
    StoreError,
    SubmissionUnclear,
    WorkbenchError,
)
from workbench.model.finding import Finding
from workbench.model.job import Job, JobSpec, JobState, JobStatus, Resources
from workbench.model.record import job_from_json, job_to_json
from workbench.model.run import Run
from workbench.ports import Connection, FileChunk, Prompter
from workbench.recipes import find_spec, with_absolute_paths
from workbench.remote import bundle
from workbench.remote.dialled import NoPrompter
from workbench.scheduler_check import examine_scheduler
from workbench.site import Site, connection_of, open_site
from workbench.store import Store

log = logging.getLogger(__name__)

STORE_FILE = "store.sqlite"
EVENTS_FILE = "events.jsonl"
LOG_FILE = "stdout.log"
RESULTS_FILE = "results.json"
_DEMO = "demo"
_ID_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"
_ID_LENGTH = 6
_SLICE_BYTES = 1 << 17
"""Folded at a time: some ten milliseconds, so that a key press is not kept waiting."""
_SUBMITTED_BY_OTHERS_S = 30.0
"""How long a submission that this program does not make may be one that another program makes."""
_FETCH_S = 0.08
"""How long one fetch goes on through a backlog before what it has is drawn."""


@dataclass
class _Followed:
    """A run's events as far as they are read."""

    run: Run = field(default_factory=Run)
    decoder: EventDecoder = field(default_factory=EventDecoder)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    replayed: bool = False
    ended_attempt: int = 0
    """The last attempt whose end was seen in its events."""


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
        self._prompter = prompter or NoPrompter()
        self._connections: dict[str, Connection] = {}
        self._sites: dict[str, Site] = {}
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._submitting: set[str] = set()
        self._jobs: dict[str, Job] = {}
        self._revision = 0
        self._runs: defaultdict[str, _Followed] = defaultdict(_Followed)
        self._searched = self._store_failed = False
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._take_in_saved()

    # -- what is known ---------------------------------------------------------------------------

    def profiles(self) -> Sequence[str]:
        """Names of the places where jobs can run, the default one first."""
        default = self._config.default_profile
        return [default, *(name for name in self._config.profiles if name != default)]

    def jobs(self) -> Sequence[Job]:
        """All that is known, newest first, without asking anybody."""
        return sorted(self._jobs.values(), key=lambda job: job.created_at, reverse=True)

    def job(self, id_or_prefix: str) -> Job:
        """One job by its id, or by the beginning of its id."""
        if id_or_prefix in self._jobs:
            return self._jobs[id_or_prefix]
        found = [job for job in self._jobs.values() if id_or_prefix and job.id.startswith(id_or_prefix)]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(sorted(job.id for job in found)[:5])
            raise NotFound(f"{id_or_prefix!r} could be any of {len(found)} jobs ({ids}): say more of the id.")
        raise NotFound(f"There is no job {id_or_prefix!r}; `mace-workbench jobs` lists them.")

    def run(self, job_id: str) -> Run:
        """What the events of a job have added up to so far, without asking anybody."""
        return self._runs[job_id].run

    # -- asking ----------------------------------------------------------------------------------

    async def refresh(self) -> Sequence[Job]:
        """Ask the schedulers; the jobs that have changed, here or through another program."""
        changed = {job.id: job for job in self._take_in_saved()}
        if not self._searched:
            self._searched = True
            for name, described in self._config.profiles.items():
                if described.connection == "local":  # where looking costs nothing
                    changed |= {job.id: job for job in await self.rediscover(name)}
        active: defaultdict[str, list[Job]] = defaultdict(list)
        for job in self._jobs.values():
            if not job.state.is_over:
                active[job.profile].append(job)
        failures = []
        for profile, jobs in active.items():
            try:
                changed |= {job.id: job for job in await self._refresh_profile(profile, jobs)}
            except WorkbenchError as error:  # the other places are asked all the same
                failures.append(error)
        if failures:
            raise failures[0]
        return list(changed.values())

    async def _refresh_profile(self, profile: str, jobs: Sequence[Job]) -> Sequence[Job]:
        """Ask one scheduler; the jobs that have changed."""
        changed = {job.id: job for job in await self._submitted_again(profile, jobs)}
        statuses = await (await self._site(profile)).scheduler.poll(jobs)
        for job in jobs:
            status = statuses.get(job.id)
            if status is None or self._jobs[job.id] is not job:
                continue
            heard = replace(job, status=status, as_of=self._clock())
            self._jobs[job.id] = heard
            if status != job.status:
                changed[job.id] = heard
                self._copy(self._store.save, heard)
        return list(changed.values())

    async def _submitted_again(self, profile: str, jobs: Sequence[Job]) -> Sequence[Job]:
        """Jobs whose submission was cut short, and is now made or found; the others of them can wait."""
        cut = [
            job
            for job in jobs
            if job.key is None
            and job.id not in self._submitting
            and self._clock() - job.created_at > _SUBMITTED_BY_OTHERS_S
            and self._config.profile(profile).scheduler == "slurm"
        ]
        for job in cut:
            try:
                await self._submit(await self._site(profile), job)
            except SchedulerError as error:
                log.warning("Job %s: %s", job.id, error)
        return [self._jobs[job.id] for job in cut]

    async def rediscover(self, profile: str | None = None) -> Sequence[Job]:
        """Find the jobs of a profile by their folders; those that were not known."""
        site = await self._site(profile)
        listing = await site.connection.run(
            ["find", f"{site.work_folder}/runs", "-mindepth", "2", "-maxdepth", "2", "-name", "job.json"],
            check=False,  # no runs yet, no folder
        )
        found = []
        for path in listing.stdout.decode(errors="replace").splitlines():
            if Path(path).parent.name in self._jobs:
                continue
            try:
                job = job_from_json((await site.connection.read(path)).data)
            except (StoreError, FileFailed) as error:
                log.warning("%s is left out: %s", path, error)
                continue
            if job.profile not in self._config.profiles:
                job = replace(job, profile=site.profile.name)
            found.append(self._keep(job))
        return found

    async def fetch(self, job_id: str) -> bool:
        """Take in what is new of a run's events; true where anything was."""
        job = self.job(job_id)
        followed = self._runs[job.id]
        deadline = time.monotonic() + _FETCH_S
        changed = False
        async with followed.reading:
            if not followed.replayed:
                for offset, data in await asyncio.to_thread(self._store.pieces, job.id):
                    for start in range(0, len(data), _SLICE_BYTES):
                        piece = data[start : start + _SLICE_BYTES]
                        changed |= followed.run.apply_all(followed.decoder.feed(piece, offset + start))
                        await asyncio.sleep(0)
                followed.replayed = True
            while time.monotonic() < deadline:
                chunk = await self._next_piece(job, followed.decoder.offset)
                if not chunk.data:
                    break
                changed |= followed.run.apply_all(followed.decoder.feed(chunk.data, chunk.offset))
                await asyncio.sleep(0)
        if followed.run.finish and followed.ended_attempt != followed.run.attempt:
            followed.ended_attempt = followed.run.attempt
            if not job.state.is_over:
                (await self._site(job.profile)).scheduler.stir()
        return changed

    async def fetch_all(self, job_id: str) -> Run:
        """Take in all of a run's events that are there now."""
        while await self.fetch(job_id):
            pass
        return self.run(job_id)

    async def _next_piece(self, job: Job, offset: int) -> FileChunk:
        """The next piece of a run's events, kept in the store before it is handed on."""
        try:
            chunk = await (await self._site(job.profile)).connection.read(
                f"{job.folder}/{EVENTS_FILE}", offset, _SLICE_BYTES
            )
        except FileFailed:  # the run has not written yet
            return FileChunk(offset, b"", 0)
        if chunk.data:
            await asyncio.to_thread(self._copy, self._store.append, job.id, chunk.offset, chunk.data)
        return chunk

    async def log(self, job_id: str, *, tail_bytes: int | None = None) -> bytes:
        """The run's standard output and error, or the end of it; empty before it starts."""
        return (await self.log_chunk(job_id, tail_bytes=tail_bytes)).data

    async def log_chunk(self, job_id: str, offset: int = 0, *, tail_bytes: int | None = None) -> FileChunk:
        """The run's standard output and error from `offset` on, or at most its last `tail_bytes`."""
        job = self.job(job_id)
        connection, path = (await self._site(job.profile)).connection, f"{job.folder}/{LOG_FILE}"
        try:
            if tail_bytes is not None:
                offset = max(offset, (await connection.read(path, 0, 0)).size - tail_bytes)
            return await connection.read(path, offset)
        except FileFailed:
            return FileChunk(offset, b"", 0)

    async def results(self, job_id: str) -> Mapping[str, object]:
        """The results file of a finished run."""
        job = self.job(job_id)
        try:
            data = (
                await (await self._site(job.profile)).connection.read(f"{job.folder}/{RESULTS_FILE}")
            ).data
        except FileFailed:
            raise NotAllowed(
                f"Job {job.id} has no results ({job.state.lower()}): `mace-workbench logs {job.id}` says why."
            ) from None
        results = json.loads(data)
        if not isinstance(results, dict):
            raise NotAllowed(f"The results of job {job.id} are not what this program writes.")
        return results

    # -- doing -----------------------------------------------------------------------------------

    async def submit(self, spec: RunSpec, resources: Resources, *, profile: str | None = None) -> Job:
        """Start a run. Files of this machine may be named by relative paths where it is here that it runs."""
        if self._config.profile(profile).connection == "local":
            spec = with_absolute_paths(spec)
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
        """Start a new run of a job that is over, in a new folder, changed by `spec` where it is given."""
        async with self._to_start_again(job_id) as job:
            for other in self._jobs.values():
                if other.resubmitted_from == job.id and not other.state.is_over:
                    raise NotAllowed(
                        f"Job {job.id} was resubmitted as {other.id}, which is {other.state.lower()}."
                    )
            return await self._start(spec or job.spec, job.profile, resubmitted_from=job.id)

    async def requeue(self, job_id: str) -> Job:
        """Start a job that is over once more in its own folder, so that it goes on from there."""
        async with self._to_start_again(job_id) as job:
            key = await (await self._site(job.profile)).scheduler.requeue(job)
            return self._keep(replace(job, key=key, status=JobStatus(JobState.PENDING)))

    async def examine(self, profile: str | None = None) -> Sequence[Finding]:
        """Check that a profile has all that runs need."""
        site = await self._site(profile)
        found = await doctor.examine(
            site.connection,
            site.python,
            site.work_folder,
            await self._code(site),
            site.profile.setup,
            site.profile.gpus,
        )
        return [*found, *await examine_scheduler(site.connection, site.profile, site.work_folder)]

    async def environment(
        self, profile: str | None, folder: str, base: str, requirements: Sequence[str]
    ) -> Environment:
        """A Python environment that could be made where a profile runs its jobs; nothing is made yet."""
        site = await self._site(profile)
        # Below the work folder, as everything of this program.
        path = str(PurePosixPath(site.work_folder, folder or "env"))
        return Environment(path, base, requirements or accel_requirements(), site.profile.setup)

    async def create_environment(
        self, profile: str | None, environment: Environment, hear: Callable[[str], None]
    ) -> None:
        """Make it, handing on what the commands say."""
        await create((await self._site(profile)).connection, environment, hear)

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to end."""
        job = self.job(job_id)
        if job.state.is_over:
            raise NotAllowed(f"Job {job.id} is over already ({job.state.lower()}).")
        await (await self._site(job.profile)).scheduler.cancel(job)
        await self.refresh()
        return self._jobs[job.id]

    async def close(self) -> None:
        """Let go of hosts and store; jobs go on."""
        for connection in self._connections.values():
            await connection.close()
        self._store.close()

    # -- inside ----------------------------------------------------------------------------------

    async def _start(self, spec: JobSpec, profile: str | None, *, resubmitted_from: str | None = None) -> Job:
        site = await self._site(profile)
        job_id = self._new_id()
        job = self._keep(
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
            code = await self._code(site)
            files = {"spec.json": job.spec.run.to_json(), "job.json": job_to_json(job)}
            await asyncio.gather(  # one round trip
                *(site.connection.write(f"{job.folder}/{name}", files[name].encode()) for name in files)
            )
            key = await site.scheduler.submit(job, *self._command(site, code, job))
        except (LinkLost, SubmissionUnclear):
            raise  # it may be there or not: `refresh` submits it again, which starts nothing twice
        except WorkbenchError as error:
            self._keep(replace(job, status=JobStatus(JobState.FAILED, reason=str(error))))
            raise
        finally:
            self._submitting.discard(job.id)
        return self._keep(replace(job, key=key, status=JobStatus(JobState.PENDING)))

    async def _code(self, site: Site) -> str:
        """The folder with the code of new runs, put there first where it is not."""
        now = self._clock()
        if site.code is None or now - site.code_at > bundle.RELIED_ON_S:
            site.code = await bundle.deploy(site.connection, f"{site.work_folder}/code")
            site.code_at = now
        return site.code

    @staticmethod
    def _command(site: Site, code: str, job: Job) -> tuple[list[str], dict[str, str]]:
        """What the scheduler is to run, and its environment."""
        run = job.spec.run
        threads = str(run.threads)
        env = {
            "PYTHONPATH": code,
            "PYTHONUNBUFFERED": "1",
            "MACE_WORKBENCH_CODE": code.rpartition("/")[2],
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "NUMBA_NUM_THREADS": threads,
            **site.profile.env,
        }
        return [site.python, "-m", f"jobs.{run.experiment}", f"{job.folder}/spec.json"], env

    async def _site(self, profile: str | None) -> Site:
        described = self._config.profile(profile)
        async with self._opening[described.name]:
            if described.name not in self._sites:
                # Kept also where the host cannot be reached: it knows that a login was refused.
                if described.name not in self._connections:
                    self._connections[described.name] = connection_of(described, self._prompter)
                self._sites[described.name] = await open_site(
                    described, self._connections[described.name], self._config.data_folder
                )
            return self._sites[described.name]

    @asynccontextmanager
    async def _to_start_again(self, job_id: str) -> AsyncIterator[Job]:
        """A job that is over by the scheduler's newest word; two key presses come one after the other."""
        async with self._changing[self.job(job_id).id]:
            await self.refresh()
            job = self.job(job_id)
            if not job.state.is_over:
                raise NotAllowed(f"Job {job.id} is not over ({job.state.lower()}): cancel it first.")
            yield job

    def _keep(self, job: Job) -> Job:
        self._store.save(job)
        self._jobs[job.id] = job
        return job

    def _copy(self, keep: Callable[..., None], *what: object) -> None:
        """Keep in the store what is safe on the host; what was heard counts also where the store is full."""
        try:
            keep(*what)
        except StoreError as error:
            if not self._store_failed:
                log.warning("%s What is heard is shown, and read again at the next start.", error)
            self._store_failed = True

    def _take_in_saved(self) -> list[Job]:
        """Jobs that were saved since the last look, by this program or another; those that are news."""
        jobs, self._revision = self._store.jobs(self._revision)
        news = []
        for job in jobs:
            known = self._jobs.get(job.id)
            if known is None or replace(known, as_of=job.as_of) != job:
                self._jobs[job.id] = job
                news.append(job)
        return news

    def _new_id(self) -> str:
        while True:
            job_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
            if job_id not in self._jobs:
                return job_id
