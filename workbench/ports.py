"""The seams of the local side: what a connection, a scheduler and the workbench itself can do.

Whatever talks to the outside stands behind one of these protocols, `services` alone chooses which,
and nothing that draws knows more than this module.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from jobs.spec import RunSpec
from jobs.sweep import SweepSpec
from workbench.again import Again
from workbench.model.job import Job, JobKey, JobSpec, JobStatus, Resources
from workbench.model.link import LinkStatus
from workbench.model.pulse import Pulse
from workbench.model.queue import Choices, QueuedJob, QueueEntry, QueueView
from workbench.model.run import Run
from workbench.model.session import Session, SessionKind, SessionView


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command left behind."""

    exit_status: int
    """Its exit status; -n where signal n ended it."""
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class FileChunk:
    """Part of a file."""

    offset: int
    """Of its first byte."""
    data: bytes
    size: int
    """Of the whole file at that moment."""


class ByteStream(Protocol):
    """A two-way stream of bytes: a forwarded channel."""

    async def read(self, most: int) -> bytes:
        """At least one byte and at most `most`; none at the end."""

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is slow."""

    async def write_eof(self) -> None:
        """Say that nothing more will be sent."""


class RemoteProcess(Protocol):
    """A command that is running."""

    def stdout(self) -> AsyncIterator[bytes]:
        """Its output as it comes."""

    async def write(self, data: bytes) -> None:
        """Send to its standard input."""

    async def write_eof(self) -> None:
        """End its standard input."""

    async def wait(self) -> Completed:
        """Its end; stdout that was taken from `stdout()` is not in it again."""


class Connection(Protocol):
    """A host on which commands can be run and files read: over SSH, or this machine itself.

    Commands are argument lists; no shell ever reads them. Paths are absolute or relative to the home
    folder. Everything raises `ConnectionFailed` where the host cannot be talked to, `LinkLost` where
    that happened half-way. Time limits belong to the caller.
    """

    host: str
    """For people and messages."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> Completed:
        """Run a command to its end; `env` is added to the host's own.

        Raises:
            CommandFailed: It ended with an exit status other than 0, and `check` is set.
        """

    def stream(
        self, argv: Sequence[str], *, cwd: str | None = None, env: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[RemoteProcess]:
        """Run a command whose output is read as it comes; leaving the context ends it."""

    async def read(self, path: str, offset: int = 0, most: int | None = None) -> FileChunk:
        """The file from `offset` on, at most `most` bytes of it.

        Raises:
            FileFailed: It is not there or cannot be read.
        """

    async def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Put a file in place whole: under a temporary name first, then moved. Makes its folder.

        Raises:
            FileFailed: It cannot be written (no room, no permission); what was there before stays.
        """

    async def put_tree(self, files: Mapping[str, bytes], folder: str) -> None:
        """Make a folder with these files in it, by relative path, whole or not at all.

        Does nothing where the folder is already there.
        """

    def open_channel(self, host: str, port: int) -> AbstractAsyncContextManager[ByteStream]:
        """A TCP connection made from the host to `host:port`."""

    async def close(self) -> None:
        """Let go of it; what runs on the host goes on."""


@dataclass(frozen=True, slots=True)
class Question:
    """Something that only the user can answer."""

    host: str
    text: str
    """As the host, or the program that holds the key, has put it."""
    secret: bool
    """Whether the answer is not to be shown."""
    note: str = ""
    """What this program has to say to it."""
    ready_at: float | None = None
    """When the answer can be known at the earliest, in seconds since 1970: a new code has to come first."""


class Prompter(Protocol):
    """Asks the user what a connection needs. None and False are what a user says who gives up."""

    async def ask(self, question: Question) -> str | None:
        """A password, a passphrase, a one-time code; never written down anywhere."""

    async def trust(self, host: str, kind: str, fingerprint: str) -> bool:
        """Whether a host that was never seen before is the right one."""


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
