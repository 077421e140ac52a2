"""What starts jobs on a host, and the queue that it may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from workbench.model.job import Job, JobKey, JobStatus
from workbench.model.pulse import Pulse
from workbench.model.queue import QueuedJob, QueueEntry


@dataclass(frozen=True, slots=True)
class StartEstimate:
    """When and where a job would start."""

    starts_at: float | None
    """None where the scheduler cannot say."""
    node: str
    partition: str
    said: str
    """In the scheduler's own words."""


class Desk(Protocol):
    """A cluster's queue, in which the user's jobs are whoever has submitted them, by native ids."""

    entries: Sequence[QueueEntry]
    """As of the last poll."""

    async def details(self, native_id: str) -> QueuedJob:
        """Everything that the scheduler says of a job."""

    async def cancel(self, native_id: str) -> None:
        """Ask a job to end."""

    async def hold(self, native_id: str) -> None:
        """Keep a job that waits from starting."""

    async def release(self, native_id: str) -> None:
        """Let a job go that is held."""


class Scheduler(Protocol):
    """What starts jobs on a host and knows what became of them."""

    @property
    def pulse(self) -> Pulse:
        """How often it is asked, and when that was last."""

    @property
    def desk(self) -> Desk | None:
        """The queue with the user's other jobs; none where there are none but ours."""

    async def submit(self, job: Job, argv: Sequence[str], env: Mapping[str, str]) -> JobKey:
        """Have `argv` run in the job's folder, detached from this program.

        Submitting the same job again (same id) gives the key of the first time and starts nothing.

        Raises:
            SchedulerError: It was refused.
        """

    async def submit_sweep(
        self, members: Sequence[Job], argv: Sequence[str], env: Mapping[str, str]
    ) -> Mapping[str, JobKey]:
        """Have `argv` run in the folder of each of these members of one sweep; their keys by job id.

        Submitting them again (same members, same `part.submission`) starts nothing twice; members that
        are over are started once more where their `part.submission` is a later one.

        Raises:
            SchedulerError: It was refused, and none of them will start.
        """

    async def recognised(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Runs whose folders were found, as the scheduler's own jobs that they are; nothing is submitted.

        One that was never submitted is over; one that may be on its way at this moment is left out.
        """

    async def poll(self, jobs: Sequence[Job]) -> Mapping[str, JobStatus]:
        """What is known of these jobs, by their ids; a job that is not in the answer is not known."""

    def stir(self) -> None:
        """Something has happened, so that the next poll is worth its cost even if it comes early."""

    def attend(self, looking: bool) -> None:
        """Whether anybody looks at what polls say: they may be rarer where nobody does."""

    async def hold(self, job: Job) -> None:
        """Keep a job that waits from starting.

        Raises:
            SchedulerError: It has started, or is over.
        """

    async def release(self, job: Job) -> None:
        """Let a job go that is held.

        Raises:
            SchedulerError: Somebody else holds it, or it is over.
        """

    async def estimate(self, job: Job, argv: Sequence[str], env: Mapping[str, str]) -> StartEstimate:
        """When a job would start if it were submitted now; nothing is submitted.

        Raises:
            SchedulerError: It would be refused.
        """

    async def cancel(self, job: Job) -> None:
        """Ask a job to end; that it has ended shows in a later poll."""

    async def cancel_sweep(self, members: Sequence[Job]) -> None:
        """Ask several members of one sweep to end."""

    async def requeue(
        self, job: Job, argv: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> JobKey:
        """Start a job that is over once more, in the same folder: its next attempt.

        With `argv` it is submitted anew, for it asks for something else than before.

        Raises:
            SchedulerError: It is not over.
        """
