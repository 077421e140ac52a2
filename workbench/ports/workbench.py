"""Everything that the screens and the command line can ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from jobs.spec import RunSpec
from jobs.sweep import SweepSpec
from workbench.again import Again
from workbench.model.job import Job, JobSpec, Resources
from workbench.model.link import LinkStatus
from workbench.model.queue import Choices, QueuedJob, QueueView
from workbench.model.run import Run
from workbench.model.session import Session, SessionKind, SessionView
from workbench.ports.scheduler import StartEstimate


@dataclass(frozen=True, slots=True)
class RunView:
    """A job with what its events have added up to: what the screens draw."""

    job: Job
    run: Run


class Queues(Protocol):
    """The queues of the clusters: the user's jobs in them, whoever has submitted those."""

    def profiles(self) -> Sequence[str]:
        """Of the places that have a queue, the default one first."""

    def view(self, profile: str) -> QueueView:
        """What was heard last, without asking anybody."""

    def choices(self, profile: str) -> Choices:
        """What is known that this cluster can be asked for, without asking anybody."""

    def watch(self, profile: str | None) -> None:
        """Which one is looked at, and so asked with every refresh; none for none."""

    def attend(self, looking: bool) -> None:
        """Whether anybody looks at the screens at all."""

    def stir(self) -> None:
        """Let the next refresh ask everywhere."""

    async def details(self, profile: str, native_id: str) -> QueuedJob:
        """Everything that the scheduler says of a job.

        Raises:
            SchedulerError: It does not know the job.
        """

    async def log(self, profile: str, job: QueuedJob, *, tail_bytes: int) -> bytes:
        """The end of a job's standard output; empty before it has begun."""

    async def adopt(self, profile: str, native_id: str) -> Job:
        """Make a job whose folder holds a run of ours one of our own.

        Raises:
            NotAllowed: There is no such run in its folder, or another job does it.
        """

    async def cancel(self, profile: str, native_id: str) -> None:
        """Ask a job to end."""

    async def hold(self, profile: str, native_id: str) -> None:
        """Keep a job that waits from starting."""

    async def release(self, profile: str, native_id: str) -> None:
        """Let a job go that is held."""

    async def estimate(self, spec: JobSpec, profile: str | None) -> StartEstimate:
        """When a run would start if it were submitted now; nothing is submitted."""


class Outbox(Protocol):
    """What waits for a host that cannot be reached, and is done as soon as it can."""

    def submit(self, spec: JobSpec, profile: str, *, resubmitted_from: str | None = None) -> Job:
        """Have a run started then."""

    def cancel(self, job: Job) -> Job:
        """Have a job ended then; one that waits there itself is forgotten at once.

        Raises:
            NotAllowed: The job is over already.
        """


class SessionDesk(Protocol):
    """Interactive sessions and tunnels: what the user wants, and has. Implemented in `sessions.desk`."""

    def sessions(self) -> Sequence[SessionView]:
        """All sessions, newest first, without asking anybody."""

    async def tend(self) -> None:
        """Do what lies between what is wanted and what there is; to be called again and again."""

    async def start(self, kind: SessionKind = ..., *, profile: str | None = None) -> Session:
        """Submit a session."""

    async def renew(self, session_id: str) -> Session:
        """Have one go on in another job: at once where it is over, else when it is."""

    async def stop(self, session_id: str) -> Session:
        """End one."""

    def forget(self, session_id: str) -> None:
        """Take one that is over off the list."""

    async def browse(self, session_id: str) -> None:
        """Show one in the user's browser."""

    async def attach(self, session_id: str) -> int:
        """Give this program's terminal to one's shell, until the user leaves it; the shell's exit status."""

    async def vscode(self, session_id: str) -> str:
        """Write an ssh configuration for one's node; a sentence that says how it is used."""


class Workbench(Protocol):
    """Everything that the screens and the command line can ask for. Implemented in `services`."""

    @property
    def queues(self) -> Queues:
        """The queues of the clusters."""

    @property
    def outbox(self) -> Outbox:
        """What waits for a host that cannot be reached."""

    @property
    def desk(self) -> SessionDesk:
        """Interactive sessions."""

    def profiles(self) -> Sequence[str]:
        """Names of the places where jobs can run, the default one first."""

    def jobs(self) -> Sequence[Job]:
        """All that is known, newest first, without asking anybody."""

    def job(self, id_or_prefix: str) -> Job:
        """One job, or a `Sweep`, by its id, or by the beginning of its id.

        Raises:
            NotFound: There is none, or more than one.
        """

    def run(self, job_id: str) -> Run:
        """What the events of a job have added up to so far, without asking anybody."""

    def links(self) -> Sequence[LinkStatus]:
        """The connections to all hosts but this machine, without asking anybody."""

    def when_links_change(self, tell: Callable[[], None]) -> None:
        """Have somebody told of every change of any link."""

    async def reconnect(self, profile: str) -> None:
        """The user wants a link now: the network is tried at once, and a login is made, once.

        Raises:
            ConnectionFailed: There is none after that.
        """

    async def refresh(self) -> Sequence[Job]:
        """Ask the schedulers; the jobs that have changed."""

    async def rediscover(self, profile: str | None = None) -> Sequence[Job]:
        """Find the runs of a profile by their folders; those that were not known. Nothing is submitted."""

    async def fetch(self, job_id: str) -> bool:
        """Take in what is new of a run's events; true where anything was."""

    async def log(self, job_id: str, *, tail_bytes: int | None = None) -> bytes:
        """The run's standard output and error, or the end of it."""

    async def submit(
        self, spec: RunSpec | SweepSpec, resources: Resources, *, profile: str | None = None
    ) -> Job:
        """Start a run, or a sweep of runs."""

    async def resubmit(self, job_id: str, *, spec: JobSpec | None = None) -> Job:
        """Start a new run of a job that is over, in a new folder, changed by `spec` where it is given.

        Of a sweep the failed members alone are started again, each in its own folder, and a member alone.

        Raises:
            NotAllowed: The job is not over.
        """

    async def again(self, job_id: str) -> Again:
        """How a job that is over is best started again, by all that its run has told."""

    async def requeue(self, job_id: str, *, resources: Resources | None = None) -> Job:
        """Start a job that is over once more in its own folder, so that it goes on from there.

        Raises:
            NotAllowed: The job is not over.
        """

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to end.

        Raises:
            NotAllowed: The job is over already.
        """

    async def hold(self, job_id: str) -> Job:
        """Keep a job that waits from starting.

        Raises:
            NotAllowed: It does not wait.
        """

    async def release(self, job_id: str) -> Job:
        """Let a job go that is held.

        Raises:
            NotAllowed: It does not wait.
        """

    async def results(self, job_id: str) -> Mapping[str, object]:
        """The results file of a finished run.

        Raises:
            NotAllowed: There is none yet.
        """
