"""Messages: what the screens ask of the app. Intents only; data comes down to them as attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from textual.message import Message

from jobs.sweep import Value
from workbench.model.job import JobSpec, Resources
from workbench.model.session import SessionKind


@dataclass
class OpenRun(Message):
    """Show the run of a job."""

    job_id: str


@dataclass
class NewRun(Message):
    """Ask what to run, beginning from `spec` where it is given."""

    spec: JobSpec | None = None
    resubmitted_from: str | None = None
    over: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    """What it is swept over."""


@dataclass
class Submit(Message):
    """Start a run, or a sweep."""

    spec: JobSpec
    profile: str | None = None
    resubmitted_from: str | None = None
    """The job of which it is a changed copy."""
    over: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    """What it is swept over; nothing for one run."""


@dataclass
class Resubmit(Message):
    """Start the run of a job that is over again: from where it was, or in a new folder."""

    job_id: str


@dataclass
class Requeue(Message):
    """Start a job that is over again in its own folder."""

    job_id: str
    resources: Resources | None = None
    """What to ask for this time, where it is not what it was."""


@dataclass
class AskEstimate(Message):
    """Ask when a run would start if it were submitted now."""

    spec: JobSpec
    profile: str | None = None


@dataclass
class Hold(Message):
    """Keep a job that waits from starting, or let it go where it is held."""

    job_id: str


@dataclass
class ShowQueue(Message):
    """Show all jobs in a cluster's queue."""


@dataclass
class WatchQueue(Message):
    """Show the queue of another cluster."""

    profile: str


@dataclass
class AskNow(Message):
    """Ask the schedulers without waiting for their turn."""


@dataclass
class OpenQueued(Message):
    """Show what is known of a job in a queue, and follow its output."""

    profile: str
    native_id: str


@dataclass
class ActOnQueued(Message):
    """Have something done to a job in a queue: `adopt`, `hold`, `release`, `cancel`."""

    what: str
    profile: str
    native_id: str


@dataclass
class Cancel(Message):
    """End a job, if the person says so again."""

    job_id: str


@dataclass
class StartSession(Message):
    """Start a shell or a notebook on a node."""

    kind: SessionKind


@dataclass
class ActOnSession(Message):
    """Do something with a session: `browse`, `attach`, `renew`, `stop`, `vscode`, `forget` or `copy_url`."""

    doing: str
    session_id: str
