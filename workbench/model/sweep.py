"""Sweep: many jobs that are one thing to whoever asked for them. Values, no I/O."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from jobs.protocol import Progress
from jobs.sweep import Value
from workbench.model.job import Job, JobSpec, JobState, JobStatus
from workbench.model.run import Run

_NO_RUN = Run()
_UNITS = 1000
"""Into how many steps the progress of each member is divided."""
_SIGNS = (
    ("✓", frozenset({JobState.COMPLETED})),
    ("✗", frozenset(state for state in JobState if state.is_over and state is not JobState.COMPLETED)),
    ("▶", frozenset({JobState.RUNNING, JobState.COMPLETING})),
    ("○", frozenset(state for state in JobState if not state.is_over)),
)
"""The first of these that holds a member's state counts it."""
_FURTHEST = (JobState.RUNNING, JobState.COMPLETING, JobState.SUSPENDED, JobState.UNKNOWN, JobState.PENDING)
"""Of members that go on, the one furthest in this order speaks for all."""


@dataclass(frozen=True, slots=True)
class Sweep(Job):
    """Its members folded into one job: what can be said of a job can be said of it."""

    members: tuple[Job, ...] = ()
    """In the order of the sweep."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many members are done ✓, ended otherwise ✗, run ▶ and wait ○; those there are."""
        counted = Counter(
            next(sign for sign, states in _SIGNS if member.state in states) for member in self.members
        )
        return {sign: counted[sign] for sign, _ in _SIGNS if counted[sign]}

    @property
    def summary(self) -> str:
        """`3✓ 1✗ 2▶ 4○`."""
        return " ".join(f"{count}{sign}" for sign, count in self.counts.items())

    @property
    def over(self) -> Mapping[str, Sequence[Value]]:
        """The values of each axis, as far as members have them."""
        found: defaultdict[str, dict[Value, None]] = defaultdict(dict)
        for member in self.members:
            for key, value in member.part.at.items() if member.part else ():
                found[key][value] = None
        return {key: tuple(values) for key, values in found.items()}

    @property
    def failed(self) -> list[Job]:
        """The members that are over without having completed."""
        return [
            member
            for member in self.members
            if member.state.is_over and member.state is not JobState.COMPLETED
        ]


def sweep_of(members: Iterable[Job]) -> Sweep:
    """The sweep of these jobs, all of which are members of it."""
    inside = tuple(sorted(members, key=lambda job: job.part.index if job.part else 0))
    first = inside[0]
    assert first.part is not None
    started = [job.status.started_at for job in inside if job.status.started_at is not None]
    ended = [job.status.ended_at for job in inside if job.status.ended_at is not None]
    state = _state(inside)
    status = JobStatus(
        state,
        reason=_reason(inside, waits=state not in (JobState.RUNNING, JobState.COMPLETING)),
        started_at=min(started, default=None),
        ended_at=max(ended, default=None) if state.is_over else None,
        node=", ".join(dict.fromkeys(job.status.node for job in inside if job.status.node)),
    )
    known = {item.name: getattr(first, item.name) for item in fields(Job)}
    spec = JobSpec(replace(first.spec.run, name=first.part.title), first.spec.resources)
    changed = {
        "id": first.part.sweep,
        "folder": first.folder.rpartition("/")[0],
        "spec": spec,
        "status": status,
        "key": None,
        "part": None,
        "as_of": min((job.as_of for job in inside if not job.state.is_over), default=0.0),
    }
    return Sweep(**{**known, **changed}, members=inside)


def folded(jobs: Iterable[Job], before: Mapping[str, Sweep] | None = None) -> list[Job]:
    """The jobs, each sweep's members as one; a sweep of `before` whose members are the same is kept."""
    members: defaultdict[str, list[Job]] = defaultdict(list)
    found: list[Job | str] = []
    for job in jobs:
        if job.part is None:
            found.append(job)
            continue
        if job.part.sweep not in members:
            found.append(job.part.sweep)
        members[job.part.sweep].append(job)

    def sweep(sweep_id: str) -> Sweep:
        known = (before or {}).get(sweep_id)
        same = known is not None and len(known.members) == len(members[sweep_id])
        if known is not None and same and {*map(id, known.members)} == {*map(id, members[sweep_id])}:
            return known
        return sweep_of(members[sweep_id])

    return [sweep(item) if isinstance(item, str) else item for item in found]


def is_of_sweep(job: Job) -> bool:
    """Whether it is a sweep or a member of one."""
    return isinstance(job, Sweep) or job.part is not None


def progress_of(sweep: Sweep, runs: Mapping[str, Run]) -> Run:
    """How far a sweep is as a whole, as a run that tells nothing else."""
    done = 0
    for member in sweep.members:
        progress = runs.get(member.id, _NO_RUN).progress
        if member.state is JobState.COMPLETED:
            done += _UNITS
        elif progress is not None and progress.total > 0 and not member.state.is_over:
            done += max(0, min(_UNITS, _UNITS * progress.done // progress.total))
    return Run(progress=Progress(done, _UNITS * len(sweep.members), sweep.summary))


def _state(members: Sequence[Job]) -> JobState:
    """What goes on if anything does; else what went worst. Between two members a sweep goes on, too."""
    states = {job.state for job in members}
    if any(state.is_over for state in states) and not all(state.is_over for state in states):
        return JobState.RUNNING
    for state in _FURTHEST:
        if state in states:
            return state
    if JobState.SUBMITTING in states:
        return JobState.SUBMITTING
    if states == {JobState.COMPLETED}:
        return JobState.COMPLETED
    bad = Counter(job.state for job in members if job.state is not JobState.COMPLETED)
    return bad.most_common(1)[0][0] if len(bad) == 1 else JobState.FAILED


def _reason(members: Sequence[Job], *, waits: bool) -> str:
    """Why the first member failed that says so, else why one waits."""
    said = [job for job in members if job.status.reason and (job.state.is_over or waits)]
    if not said:
        return ""
    first = min(said, key=lambda job: not job.state.is_over)
    return f"{first.id}: {first.status.reason}"
