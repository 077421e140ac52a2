"""Everything the workbench raises on purpose.

    WorkbenchError
    ├── ConfigError            the configuration cannot be understood
    ├── SpecRefused            what a run was to do cannot be understood
    ├── NotFound               a job, a run or a profile of that name is not known
    ├── NotAllowed             the thing is in a state in which this cannot be done
    ├── StoreError             the local store cannot be read or written
    ├── ConnectionFailed       the host cannot be talked to
    │   ├── Unreachable        … because nothing answers at its address
    │   ├── LinkLost           … any more; what was asked may or may not have happened
    │   ├── LoginBroken        … because the connection ended in the middle of the login
    │   ├── HostKeyRefused     … because it does not show the key that it should
    │   └── LoginRefused       … because it does not let the user in
    ├── CommandFailed          a command on a host ended with an exit status other than 0
    ├── FileFailed             a file on a host cannot be read or written
    └── SchedulerError         the scheduler refused, or cannot be understood
        └── SubmissionUnclear  … and may have taken the job all the same

`str(error)` is a sentence fit for a notification: what failed, on what, and what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class WorkbenchError(Exception):
    """What failed, on what, and what to do next, as one sentence."""


class ConfigError(WorkbenchError):
    """The configuration cannot be understood; names the key and the line."""


class SpecRefused(WorkbenchError):
    """What a run was to do cannot be understood; says which part of it."""


class NotFound(WorkbenchError):
    """A job, a run or a profile of that name is not known."""


class NotAllowed(WorkbenchError):
    """The thing is in a state in which this cannot be done."""


class StoreError(WorkbenchError):
    """The local store cannot be read or written."""


@dataclass
class ConnectionFailed(WorkbenchError):
    """The host cannot be talked to."""

    host: str
    reason: str

    def __str__(self) -> str:
        return f"{self.host}: {self.reason}"


class LinkLost(ConnectionFailed):
    """The connection ended while something was under way, which may or may not have happened."""


class Unreachable(ConnectionFailed):
    """Nothing answers at the host's address: nobody was asked anything, and nothing was sent."""


class LoginBroken(ConnectionFailed):
    """The connection ended in the middle of the login, without a word; a refusal may look like that."""


class HostKeyRefused(ConnectionFailed):
    """The host does not show the key that it should."""


class LoginRefused(ConnectionFailed):
    """The host does not let the user in; nothing retries this by itself."""


@dataclass
class CommandFailed(WorkbenchError):
    """A command on a host ended with an exit status other than 0."""

    host: str
    argv: Sequence[str]
    exit_status: int
    stderr: str

    def __str__(self) -> str:
        said = self.stderr.strip().splitlines()
        ending = f": {said[-1]}" if said else ""
        return f"`{' '.join(self.argv)}` ended with {self.exit_status} on {self.host}{ending}"


@dataclass
class FileFailed(WorkbenchError):
    """A file on a host cannot be read or written."""

    host: str
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} on {self.host}: {self.reason}"


class SchedulerError(WorkbenchError):
    """The scheduler refused, or its answer cannot be understood."""


class SubmissionUnclear(SchedulerError):
    """The scheduler may have taken the job or not; asking again finds that out and submits nothing twice."""
