"""A desk in memory: sessions change only when a test says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jobs.spec import RunSpec, SessionParameters
from workbench.errors import WorkbenchError
from workbench.model.job import Job, JobSpec, JobState, JobStatus, Resources
from workbench.model.session import Kernel, Place, Session, SessionKind, SessionView
from workbench.model.tunnel import TunnelStatus


class RecordedDesk:
    """Implements `ports.SessionDesk`."""

    def __init__(self, asked: list[tuple[str, str]]) -> None:
        self.views: list[SessionView] = []
        self.refusal: WorkbenchError | None = None
        self._asked = asked

    def sessions(self) -> Sequence[SessionView]:
        return self.views

    async def tend(self) -> None:
        pass

    async def start(self, kind: SessionKind = SessionKind.JUPYTER, *, profile: str | None = None) -> Session:
        self._note("start session", kind.value)
        return Session("new1", kind, profile or "csd3", 0.0, job="j1")

    async def renew(self, session_id: str) -> Session:
        self._note("renew", session_id)
        return replace(self._of(session_id), renews=True)

    async def stop(self, session_id: str) -> Session:
        self._note("stop", session_id)
        return self._of(session_id)

    def forget(self, session_id: str) -> None:
        self._note("forget", session_id)

    async def browse(self, session_id: str) -> None:
        self._note("browse", session_id)

    async def attach(self, session_id: str) -> int:
        self._note("attach", session_id)
        return 0

    async def vscode(self, session_id: str) -> str:
        self._note("vscode", session_id)
        return "A file is written."

    def _note(self, doing: str, session_id: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self._asked.append((doing, session_id))

    def _of(self, session_id: str) -> Session:
        return next(view.session for view in self.views if view.session.id == session_id)


def view(
    session_id: str,
    now: float,
    *,
    kind: SessionKind = SessionKind.JUPYTER,
    state: JobState = JobState.RUNNING,
    left_s: float = 1800.0,
    node: str = "gpu-q-17",
    kernels: tuple[Kernel, ...] | None = (),
    reason: str = "",
    down: str = "",
    renews: bool = False,
) -> SessionView:
    """A session that ends in `left_s`."""
    began = now + left_s - 3600.0
    spec = JobSpec(RunSpec(SessionParameters()), Resources(time_limit_s=3600, qos="INTR"))
    running = state is JobState.RUNNING
    status = JobStatus(state, reason, began if running else None, node=node if running else "")
    job = Job(f"job{session_id}", "csd3", "/home/mw123/runs", spec, status, now - 4000)
    port = 27182 if kind is SessionKind.JUPYTER else 0
    session = Session(session_id, kind, "csd3", now, job.id, token="secret", local_port=port, renews=renews)
    place = Place(node, "tmux", "/tmp/x", "/home/mw123", 1, "127.0.0.1", 40000) if running else None
    tunnel = TunnelStatus(port, 3, now - 5 if down else None, down) if port else None
    return SessionView(session, job, place, tunnel, kernels if running and port else None)
