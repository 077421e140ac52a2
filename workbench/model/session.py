"""Session: a shell or a notebook on a node, as a wish that outlives the jobs that hold it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from workbench.model.job import Job, JobState
from workbench.model.tunnel import TunnelStatus

WARNINGS_S = (600.0, 120.0)
"""So long before its end a session is warned of, the first time and the last."""


class SessionKind(StrEnum):
    """What a session is for."""

    JUPYTER = "jupyter"
    """A Jupyter server, and a shell beside it."""
    SHELL = "shell"
    SINTR = "sintr"
    """The site's own command for interactive sessions, kept alive off the terminal."""


@dataclass(frozen=True, slots=True)
class Session:
    """What the user wants to have, and what is the same through all of its jobs."""

    id: str
    kind: SessionKind
    profile: str
    created_at: float
    job: str = ""
    """The newest of its jobs that was submitted to run at once."""
    next_job: str = ""
    """One that waits for the end of that one."""
    token: str = field(default="", repr=False)
    """Jupyter's."""
    page: str = "lab"
    local_port: int = 0
    work_folder: str = ""
    """Where shell and notebooks begin; empty for the home folder."""
    held_at: str = ""
    """Of `sintr`: the login node, what keeps it alive there, and where that is."""
    renews: bool = False
    """Whether a new job is to be submitted when this one ends: once, for one press of a key."""
    stopped: bool = False
    """Whether the user does not want it any more."""

    @property
    def url(self) -> str:
        """Where a browser finds it, as long as the tunnel listens."""
        return f"http://127.0.0.1:{self.local_port}/{self.page}?token={self.token}"

    def to_json(self) -> str:
        """All of it, for a file that nobody else can read."""
        return json.dumps({"v": 1, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Session:
        """The session in `text`.

        Raises:
            ValueError: It is none, or one of a newer program.
        """
        record = json.loads(text)
        if not isinstance(record, dict) or record.pop("v", None) != 1:
            raise ValueError("it is no session, or one of a newer program")
        try:
            session = cls(**record)
            return replace(session, kind=SessionKind(session.kind))
        except TypeError as error:
            raise ValueError(str(error)) from error


_CLOCKS_S = 3.0
"""By how much those of two hosts of a cluster may differ; no job starts anew so soon."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session's programs are, as its job says."""

    node: str
    shell: str
    """`tmux`, `screen` or `none`."""
    socket: str
    work_folder: str
    attempt: int
    address: str = ""
    """That Jupyter listens on; empty where there is none."""
    port: int = 0
    base_url: str = "/"
    ends_at: float | None = None
    since: float | None = None
    """When it came up, by the clock of its host."""

    def is_left_by(self, node: str, started_at: float | None) -> bool:
        """Whether its job has since started on another node: one that dies leaves behind what it said.

        That the names differ is not enough, for a host may call itself other than the scheduler does.
        """
        if not node or started_at is None or self.since is None:
            return False
        return self.node.partition(".")[0] != node.partition(".")[0] and self.since < started_at - _CLOCKS_S

    @classmethod
    def from_json(cls, text: bytes) -> Place:
        """What a job has written of itself.

        Raises:
            ValueError: It cannot be understood.
        """
        record: Mapping[str, Any] = json.loads(text)
        try:
            return cls(
                node=str(record["node"]),
                shell=str(record["shell"]),
                socket=str(record["socket"]),
                work_folder=str(record["work_folder"]),
                attempt=int(record["attempt"]),
                address=str(record.get("address", "")),
                port=int(record.get("port", 0)),
                base_url=str(record.get("base_url", "/")),
                ends_at=None if record["ends_at"] is None else float(record["ends_at"]),
                since=float(record["since"]) if "since" in record else None,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"it lacks {error}") from error


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel of a Jupyter server. Its name comes from outside: never markup."""

    id: str
    name: str
    busy: bool
    connections: int
    last_activity: str


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session at one moment: what is drawn and printed."""

    session: Session
    job: Job | None
    place: Place | None = None
    tunnel: TunnelStatus | None = None
    """None where nobody listens."""
    kernels: tuple[Kernel, ...] | None = None
    """None where they were not asked for, or cannot be."""
    trouble: str = ""

    @property
    def ends_at(self) -> float | None:
        """When its time is up; known without asking anybody, once it has started."""
        if self.job is None or self.job.state.is_over:
            return None
        if self.place is not None and self.place.ends_at is not None:
            return self.place.ends_at
        began = self.job.status.started_at
        return None if began is None else began + self.job.spec.resources.time_limit_s

    def left_s(self, now: float) -> float | None:
        """How much time it has; None where it has not started or is over."""
        return None if self.ends_at is None else max(0.0, self.ends_at - now)

    @property
    def state(self) -> str:
        """In one word: what a person waits for, or has."""
        if self.job is None:
            return "lost"
        if self.job.state.is_over:
            return "stopped" if self.session.stopped else "ended"
        if self.job.state is not JobState.RUNNING:
            return "waiting"
        known = self.place is not None or self.session.kind is SessionKind.SINTR
        return "ready" if known else "starting"

    @property
    def busy_kernels(self) -> int:
        """How many compute at the moment."""
        return sum(kernel.busy for kernel in self.kernels or ())


def warning_due(left_s: float | None, told_s: float | None) -> float | None:
    """Which of the warnings is to be given now; None for none.

    Args:
        left_s: How much time a session has.
        told_s: The warning that was given last; None for none.
    """
    if left_s is None:
        return None
    due = min((each for each in WARNINGS_S if left_s <= each), default=None)
    return due if due is not None and (told_s is None or due < told_s) else None


def left_text(left_s: float | None) -> str:
    """How much time is left, as a countdown shows it."""
    if left_s is None:
        return ""
    hours, rest = divmod(int(left_s), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def computing(n_kernels: int) -> str:
    """`2 kernels compute`."""
    return "1 kernel computes" if n_kernels == 1 else f"{n_kernels} kernels compute"
