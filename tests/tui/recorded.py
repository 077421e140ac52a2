"""A workbench in memory, over real event bytes: jobs change only when a test says so."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from jobs.protocol import (
    Accuracy,
    Body,
    Event,
    EventDecoder,
    Failure,
    Finish,
    Json,
    Progress,
    Resource,
    Result,
    Start,
    Timing,
    encode,
)
from jobs.spec import BenchmarkParameters, ProfileParameters, RunSpec
from jobs.sweep import SweepSpec
from tests.tui.moment import NOW
from tests.tui.recorded_queues import RecordedQueues
from tests.tui.recorded_sessions import RecordedDesk
from workbench.again import Again, again
from workbench.errors import NotAllowed, NotFound, WorkbenchError
from workbench.model.job import Job, JobSpec, JobState, JobStatus, Part, Resources
from workbench.model.link import LinkStatus
from workbench.model.run import Run
from workbench.model.sweep import Sweep, progress_of, sweep_of
from workbench.sweeps import again_of

PLANS = ("reference", "reference-fp32", "compile", "exact")
RECIPES = {
    "demo": RunSpec(name="What do fp32 and torch.compile gain, and at what error?"),
    "precision": RunSpec(BenchmarkParameters(plans=PLANS), name="How much accuracy does each plan cost?"),
    "shapes": RunSpec(ProfileParameters(), name="Which shapes and types has each step?"),
}
_MS = {"reference": 41.0, "reference-fp32": 24.5, "compile": 15.2, "exact": 2.1}
_ERROR = {"reference": 0.0, "reference-fp32": 0.0046, "compile": 3.1e-9, "exact": 6.4e-10}
_PROVENANCE: Mapping[str, Json] = {
    "device": "cpu",
    "device_name": "Xeon 8358 @ 2.60GHz",
    "threads": 1,
    "cores": 32,
    "host": "node07",
    "system": "Linux 6.1.0",
    "versions": {"python": "3.11.9", "torch": "2.13.0", "mace-torch": "0.3.16", "e3nn": "0.4.4"},
    "code": "9f3a1c07",
    "load_average": [1.02, 0.9, 0.4],
}


class RecordedOutbox:
    """Implements `ports.Outbox`."""

    def __init__(self, workbench: RecordedWorkbench) -> None:
        self._workbench = workbench

    def submit(self, spec: JobSpec, profile: str, *, resubmitted_from: str | None = None) -> Job:
        self._workbench.asked.append(("submit later", resubmitted_from or ""))
        job = self._workbench._start(spec, profile, resubmitted_from=resubmitted_from)
        self._workbench.known[job.id] = replace(job, status=JobStatus(JobState.WAITS_FOR_LINK))
        return self._workbench.known[job.id]

    def cancel(self, job: Job) -> Job:
        self._workbench.asked.append(("cancel later", job.id))
        return job


class RecordedWorkbench:
    """Implements `ports.Workbench`; `events` of a job are what its `events.jsonl` would hold."""

    def __init__(self, profiles: Sequence[str] = ("local",)) -> None:
        self.known: dict[str, Job] = {}
        self.elsewhere: list[Job] = []
        """Of which only their folders know."""
        self.asked: list[tuple[str, str]] = []
        """What was asked for, by name and job."""
        self.trouble: WorkbenchError | None = None
        """Raised by whatever asks, while it is set."""
        self.logs: dict[str, bytes] = {}
        self.queues = RecordedQueues(self)
        self.outbox = RecordedOutbox(self)
        self.desk = RecordedDesk(self.asked)
        self.known_links: Sequence[LinkStatus] = ()
        self.tell_of_links: Callable[[], None] = lambda: None
        self._profiles = profiles
        self._events: dict[str, bytearray] = {}
        self._runs: dict[str, tuple[Run, EventDecoder]] = {}
        self._seq = 0

    # -- for tests -------------------------------------------------------------------------------

    def add(self, job: Job, bodies: Iterable[Body] = (), *, every_s: float = 0.1) -> Job:
        """Make a job known, with what its run has told."""
        self.known[job.id] = job
        started = job.status.started_at or job.created_at
        self.tell(job.id, bodies, since=started, every_s=every_s)
        return job

    def tell(
        self,
        job_id: str,
        bodies: Iterable[Body],
        *,
        since: float = NOW,
        every_s: float = 0.1,
        attempt: int = 1,
    ) -> None:
        """Append events to a run."""
        written = self._events.setdefault(job_id, bytearray())
        for index, body in enumerate(bodies):
            self._seq += 1
            written += encode(Event(self._seq, attempt, since + index * every_s, body))

    def change(self, job_id: str, state: JobState, **status: object) -> None:
        """Let a job be in another state."""
        job = self.known[job_id]
        self.known[job_id] = replace(job, status=replace(job.status, state=state, **status))  # type: ignore[arg-type]

    def is_told(self, job_id: str) -> bool:
        """Whether somebody has taken in all that a run has told."""
        return self._followed(job_id)[1].offset == len(self._events.get(job_id, b""))

    def add_sweep(self, spec: SweepSpec, profile: str = "local", *, age_s: float = 600.0) -> Job:
        """Make a sweep known whose members wait."""
        sweep_id = f"sweep{len(self.known)}"
        points = spec.points
        for index, (run, at) in enumerate(zip(spec.members(), points, strict=True)):
            member = job(f"{sweep_id}.{index}", JobState.PENDING, age_s=age_s, spec=run, profile=profile)
            part = Part(sweep_id, spec.name, index, len(points), at)
            self.add(replace(member, part=part, folder=f"/home/sam/runs/{sweep_id}/{index}"))
        return self.job(sweep_id)

    def members(self, sweep_id: str) -> list[Job]:
        return [job for job in self.known.values() if job.part is not None and job.part.sweep == sweep_id]

    # -- ports.Workbench -------------------------------------------------------------------------

    def profiles(self) -> Sequence[str]:
        return self._profiles

    def jobs(self) -> Sequence[Job]:
        return sorted(self.known.values(), key=lambda job: job.created_at, reverse=True)

    def job(self, id_or_prefix: str) -> Job:
        if members := self.members(id_or_prefix):
            return sweep_of(members)
        if id_or_prefix not in self.known:
            raise NotFound(f"There is no job {id_or_prefix!r}.")
        return self.known[id_or_prefix]

    def run(self, job_id: str) -> Run:
        if members := self.members(job_id):
            return progress_of(sweep_of(members), {job.id: self.run(job.id) for job in members})
        return self._followed(job_id)[0]

    def links(self) -> Sequence[LinkStatus]:
        return self.known_links

    def when_links_change(self, tell: Callable[[], None]) -> None:
        self.tell_of_links = tell

    async def reconnect(self, profile: str) -> None:
        self._ask("reconnect", profile)

    async def refresh(self) -> Sequence[Job]:
        self._ask("refresh", "")
        return []

    async def rediscover(self, profile: str | None = None) -> Sequence[Job]:
        self._ask("rediscover", profile or "")
        found, self.elsewhere = self.elsewhere, []
        self.known |= {job.id: job for job in found}
        return found

    async def fetch(self, job_id: str) -> bool:
        if members := self.members(job_id):
            return any([await self.fetch(member.id) for member in members])
        self._ask("fetch", job_id)
        run, decoder = self._followed(job_id)
        data = self._events.get(job_id, b"")
        return run.apply_all(decoder.feed(bytes(data[decoder.offset :])))

    async def log(self, job_id: str, *, tail_bytes: int | None = None) -> bytes:
        data = self.logs.get(job_id, b"")
        return data if tail_bytes is None else data[-tail_bytes:]

    async def submit(
        self, spec: RunSpec | SweepSpec, resources: Resources, *, profile: str | None = None
    ) -> Job:
        self._ask("submit", "")
        if isinstance(spec, SweepSpec):
            return self.add_sweep(spec, profile or self._profiles[0])
        return self._start(JobSpec(spec, resources), profile or self._profiles[0])

    async def resubmit(self, job_id: str, *, spec: JobSpec | None = None) -> Job:
        self._ask("resubmit", job_id)
        job = self._over(job_id)
        return self._start(spec or job.spec, job.profile, resubmitted_from=job.id)

    async def again(self, job_id: str) -> Again:
        while await self.fetch(job_id):
            pass
        job = self.job(job_id)
        if isinstance(job, Sweep):
            return again_of(job, {member.id: self.run(member.id) for member in job.members})
        proposal = again(job, self.run(job_id))
        return replace(proposal, in_place=proposal.in_place or job.part is not None)

    async def requeue(self, job_id: str, *, resources: Resources | None = None) -> Job:
        self._ask("requeue", job_id)
        if isinstance(sweep := self.job(job_id), Sweep):
            for member in sweep.failed:
                self.change(member.id, JobState.PENDING)
            return self.job(job_id)
        job = self._over(job_id)
        spec = replace(job.spec, resources=resources or job.spec.resources)
        self.known[job_id] = replace(job, spec=spec, status=JobStatus(JobState.PENDING))
        return self.known[job_id]

    async def cancel(self, job_id: str) -> Job:
        self._ask("cancel", job_id)
        for each in [*self.members(job_id)] or [self.known[job_id]]:
            if not each.state.is_over:
                self.change(each.id, JobState.CANCELLED, ended_at=NOW)
        return self.job(job_id)

    async def hold(self, job_id: str) -> Job:
        self._ask("hold", job_id)
        self.change(job_id, self.known[job_id].state, reason="held by you (JobHeldUser)", held_by="you")
        return self.known[job_id]

    async def release(self, job_id: str) -> Job:
        self._ask("release", job_id)
        self.change(job_id, self.known[job_id].state, reason="", held_by="")
        return self.known[job_id]

    async def results(self, job_id: str) -> Mapping[str, object]:
        raise NotAllowed(f"Job {job_id} has no results.")

    # -- inside ----------------------------------------------------------------------------------

    def _ask(self, what: str, job_id: str) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.asked.append((what, job_id))

    def _followed(self, job_id: str) -> tuple[Run, EventDecoder]:
        return self._runs.setdefault(job_id, (Run(), EventDecoder()))

    def _over(self, job_id: str) -> Job:
        job = self.job(job_id)
        if not job.state.is_over:
            raise NotAllowed(f"Job {job.id} is not over ({job.state.lower()}): cancel it first.")
        return job

    def _start(self, spec: JobSpec, profile: str, *, resubmitted_from: str | None = None) -> Job:
        started = Job(
            id=f"new{len(self.known):03d}",
            profile=profile,
            folder=f"/runs/new{len(self.known):03d}",
            spec=spec,
            status=JobStatus(JobState.PENDING),
            created_at=NOW + len(self.known),
            resubmitted_from=resubmitted_from,
        )
        return self.add(started)


def job(
    job_id: str,
    state: JobState = JobState.RUNNING,
    *,
    name: str = "",
    age_s: float = 600.0,
    ran_s: float | None = 65.0,
    spec: RunSpec | None = None,
    profile: str = "local",
    reason: str = "",
) -> Job:
    """A job that was submitted `age_s` ago and has run for `ran_s`."""
    created = NOW - age_s
    waits = state in (JobState.PENDING, JobState.SUBMITTING)
    over = state.is_over
    started = None if waits or ran_s is None else (created + 4 if over else NOW - ran_s)
    return Job(
        id=job_id,
        profile=profile,
        folder=f"/home/sam/runs/{job_id}",
        spec=JobSpec(spec or RunSpec(BenchmarkParameters(plans=PLANS), name=name)),
        status=JobStatus(
            state, reason, started, started + ran_s if over and started and ran_s else None, node="node07"
        ),
        created_at=created,
        as_of=NOW - 2,
    )


def benchmark(n_rounds: int, *, of_rounds: int = 40, seed: int = 7) -> list[Body]:
    """What a benchmark of two systems tells until it has gone `n_rounds` of `of_rounds`."""
    chance = random.Random(seed)
    bodies: list[Body] = [Start("benchmark", "demo", "node07", 4711, _PROVENANCE)]
    for plan in PLANS:
        bodies.append(
            Accuracy(plan, "reference", "liquid-96", 1, 0.0, _ERROR[plan], 3 * _ERROR[plan], passed=True)
        )
        bodies.append(Accuracy(plan, "labels", "test", 40, 1.9, 38.6 + _ERROR[plan], 310.0))
    cases = (("liquid-96", 96, 1_728), ("liquid-192", 192, 3_480))
    total = of_rounds * len(cases) * len(PLANS)
    done = 0
    for case, n_atoms, n_edges in cases:
        for index in range(of_rounds):
            if done >= n_rounds * len(PLANS):
                return bodies
            for plan in PLANS:
                slow = 1.6 if chance.random() < 0.04 else 1.0
                drift = 1 + 0.05 * math.sin(index / 5)
                ms = _MS[plan] * n_atoms / 96 * slow * drift * chance.gauss(1, 0.03)
                bodies.append(Timing(plan, ms, case, "timed", index, n_atoms, n_edges))
                done += 1
            bodies.append(Resource(cpu_percent=96 + 4 * chance.random(), rss_mb=430 + 2 * index))
            bodies.append(Progress(done, total, f"timing {case}"))
    return bodies


def finished(bodies: Sequence[Body]) -> list[Body]:
    """The same, with its results and its end."""
    rows: list[Json] = [
        [plan, "liquid-96", _MS[plan], _MS["reference"] / _MS[plan], _ERROR[plan], 38.6 + _ERROR[plan]]
        for plan in PLANS
    ]
    summary: Mapping[str, Json] = {
        "columns": ["plan", "system", "ms", "speed-up", "meV/Å to reference", "meV/Å to labels"],
        "rows": rows,
        "measured_on": _PROVENANCE,
    }
    return [*bodies, Result("results.json", summary), Finish("completed", 0, 65.0)]


def failed(sentence: str) -> list[Body]:
    """What a run tells that ends before it has measured anything."""
    return [
        Start("benchmark", "demo", "node07", 4711, _PROVENANCE),
        Failure(sentence),
        Finish("failed", 1, 2.0),
    ]
