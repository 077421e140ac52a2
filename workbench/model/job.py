"""Jobs: what the scheduler was asked to run, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from jobs.spec import RunSpec
from jobs.sweep import Value


class JobState(StrEnum):
    """Where a job is. What is not known to be over is not over."""

    WAITS_FOR_LINK = "WAITS_FOR_LINK"
    """Asked for while the host could not be reached: it is not submitted yet."""
    SUBMITTING = "SUBMITTING"
    """Asked for; the scheduler's answer is not here yet."""
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    COMPLETING = "COMPLETING"
    UNKNOWN = "UNKNOWN"
    """The scheduler says something that this program does not know, or nothing."""
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    NODE_FAIL = "NODE_FAIL"
    PREEMPTED = "PREEMPTED"
    LOST = "LOST"
    """Its processes are gone and left no exit status behind: killed, or the host went down."""

    @property
    def is_over(self) -> bool:
        """Whether the job will not change any more unless somebody starts it again."""
        return self in _OVER


_OVER = frozenset(
    {
        JobState.COMPLETED,
        JobState.FAILED,
        JobState.TIMEOUT,
        JobState.CANCELLED,
        JobState.OUT_OF_MEMORY,
        JobState.NODE_FAIL,
        JobState.PREEMPTED,
        JobState.LOST,
    }
)


@dataclass(frozen=True, slots=True)
class Resources:
    """What a job asks of the scheduler. None leaves the choice to the profile or the site."""

    time_limit_s: int = 3600
    cpus: int = 1
    gpus: int | None = None
    memory_mb: int | None = None
    partition: str | None = None
    qos: str | None = None
    account: str | None = None
    dependency: str | None = None
    """On other jobs, as `sbatch --dependency` takes it: `afterok:123`."""
    links: int = 1
    """How many times over the job may have its time, one after the other, if its run can go on."""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One run and what it needs."""

    run: RunSpec
    resources: Resources = field(default_factory=Resources)

    @property
    def name(self) -> str:
        """For people: the run's own name, or what it does."""
        return self.run.name or self.run.experiment


@dataclass(frozen=True, slots=True)
class JobKey:
    """What the scheduler calls a job. Ids wrap and get reset, so the submit time is part of it."""

    cluster: str
    native_id: str
    submitted_at: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What the scheduler says of a job at one moment."""

    state: JobState
    reason: str = ""
    """Why it waits, or why it ended, in the scheduler's words."""
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    """Of the job's script; 128 + n where signal n ended it."""
    node: str = ""
    expected_start_at: float | None = None
    """When the scheduler thinks that a job that waits will start."""
    held_by: str = ""
    """Who keeps a job that waits from starting: `you`, `an administrator`; empty where nobody does."""


@dataclass(frozen=True, slots=True)
class Part:
    """The place of a job that is a member of a sweep."""

    sweep: str
    """The sweep's id; the member's own is `SWEEP.INDEX`, and its folder `INDEX` in the sweep's."""
    title: str
    """The sweep's name."""
    index: int
    size: int
    """How many members there are."""
    at: Mapping[str, Value]
    """The member's values of what the sweep goes over."""
    submission: int = 1
    """Which submission of the sweep the member was last part of: above 1 where it was started again."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the program knows it."""

    id: str
    """The program's own name for it: short, unique in the store, also the name of its folder."""
    profile: str
    folder: str
    """The run's folder on the host: the truth about the run."""
    spec: JobSpec
    status: JobStatus
    created_at: float
    key: JobKey | None = None
    """None until the scheduler has answered."""
    resubmitted_from: str | None = None
    as_of: float = 0.0
    """When the status was last heard from the scheduler; 0 for never."""
    part: Part | None = None
    """Of which sweep it is a member; None for a job on its own."""

    @property
    def state(self) -> JobState:
        """Where it is."""
        return self.status.state

    def elapsed_s(self, now: float) -> float | None:
        """How long it has run, or ran; None before it started."""
        if self.status.started_at is None:
            return None
        return max(0.0, (self.status.ended_at or now) - self.status.started_at)
