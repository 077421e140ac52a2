"""QueueEntry: one job of the user's in a cluster's queue, whoever has submitted it."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.model.job import JobState


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """What the queue says of one job at one moment. All text in it comes from outside: never markup."""

    native_id: str
    """Of the job; of the whole array where it is part of one."""
    tasks: str
    """Which tasks of an array this is about, as the queue writes it (`3`, `0-9%2`); else empty."""
    state: JobState
    said_state: str
    """The state in the scheduler's own word."""
    reason: str
    """Why it waits, in the scheduler's own word; empty where it does not."""
    submitted_at: float | None
    started_at: float | None
    """Or, of a job that waits, when it is expected to start."""
    ended_at: float | None
    """Or, of a job that runs, when its time is up."""
    node: str
    partition: str
    qos: str
    account: str
    folder: str
    token: str
    """Its comment: what this program finds its own jobs by."""
    name: str
