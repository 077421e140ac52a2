"""A cluster's queue, whoever has submitted the jobs in it. All text here comes from outside: never markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workbench.model.job import JobState
from workbench.model.pulse import Pulse

_HOLDERS = {"JobHeldUser": "you", "JobHeldAdmin": "an administrator"}


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """What the queue says of one job at one moment."""

    native_id: str
    """Of the job; of the whole array where it is part of one."""
    tasks: str
    """Which tasks of an array this is about, as the queue writes it (`3`, `0-9%2`); else empty."""
    state: JobState
    said_state: str
    """The state in the scheduler's own word."""
    reason: str
    """Why it waits, in the scheduler's own word; empty where it does not."""
    why: str
    """The same in plain words, with what to do about it; or why it has ended."""
    submitted_at: float | None
    started_at: float | None
    """Or, of a job that waits, when it is expected to start."""
    ended_at: float | None
    """Or, of a job that runs, when its time is up."""
    node: str
    partition: str
    qos: str
    account: str
    n_nodes: int | None
    n_cpus: int | None
    time_limit_s: float | None
    """None for no limit."""
    folder: str
    token: str
    """Its comment: what this program finds its own jobs by."""
    name: str

    @property
    def id(self) -> str:
        """As the scheduler's commands take it: `12`, `12_3`, `12_[0-9]`."""
        tasks = self.tasks.partition("%")[0]
        if not tasks:
            return self.native_id
        return f"{self.native_id}_{tasks}" if tasks.isdecimal() else f"{self.native_id}_[{tasks}]"

    @property
    def waits(self) -> bool:
        """Whether it has not started."""
        return self.state == JobState.PENDING

    @property
    def held_by(self) -> str:
        """Who keeps it from starting: `you`, `an administrator`; empty where nobody does."""
        return held_by(self.reason) if self.waits else ""

    @property
    def run_id(self) -> str:
        """Our own id of the job, or of the sweep, where this program has submitted it."""
        run_id = self.token.split(":")[1] if self.token.startswith("mw:") else ""
        return f"{run_id}.{self.tasks}" if run_id and self.tasks.isdecimal() else run_id

    def elapsed_s(self, now: float) -> float | None:
        """How long it has run, or ran; None before it started."""
        if self.waits or self.started_at is None:
            return None
        end = self.ended_at if self.state.is_over and self.ended_at is not None else now
        return max(0.0, end - self.started_at)

    def left_s(self, now: float) -> float | None:
        """Until its time is up; None where it does not run, or for ever."""
        if self.waits or self.state.is_over or self.ended_at is None:
            return None
        return max(0.0, self.ended_at - now)


@dataclass(frozen=True, slots=True)
class QueueView:
    """The user's part of a cluster's queue, as it was heard of last."""

    profile: str
    entries: Sequence[QueueEntry] = ()
    pulse: Pulse = field(default_factory=Pulse)


@dataclass(frozen=True, slots=True)
class Choices:
    """What is known that a cluster can be asked for; what the profile takes by itself stands first."""

    partition: Sequence[str] = ()
    qos: Sequence[str] = ()
    account: Sequence[str] = ()
    preset: Mapping[str, str] = field(default_factory=dict)
    """What the profile asks for where a run does not say, by the names in `Resources`."""


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """What can be found out of one job in the queue."""

    native_id: str
    """As it was asked for."""
    facts: Sequence[tuple[str, str]]
    """Everything that the scheduler says of it, in its own words and order."""
    log_path: str
    """Of its standard output; empty where it has none."""
    command: str
    """The path of its script; empty where it is not known."""
    folder: str
    """In which it was submitted."""
    submitted_at: float | None = None


def held_by(reason: str) -> str:
    """Who holds a job, by the scheduler's word of why it waits; of an array the first reason counts."""
    return _HOLDERS.get(reason.partition(",")[0], "")
