"""The desk: sessions and tunnels that the user wants, and what is done so that they have them.

Everything here is desired state. `tend` looks at what is wanted and at what there is, and does what lies
between: it listens on the ports, finds out where jobs have come up, moves on to a renewal. It is called
again and again by whatever program is open; what it leaves undone, the next turn does.
"""

from __future__ import annotations

import asyncio
import html
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from jobs.spec import RunSpec, SessionParameters
from workbench.errors import (
    LinkLost,
    NotAllowed,
    NotFound,
    SchedulerError,
    SubmissionUnclear,
    WorkbenchError,
)
from workbench.model.job import Job, JobState, Resources
from workbench.model.session import Kernel, Session, SessionKind, SessionView
from workbench.model.tunnel import Tunnel, TunnelStatus
from workbench.ports import ByteStream, Workbench
from workbench.remote.tunnels import WAIT_S, Forward, Reach
from workbench.sessions import sintr, vscode
from workbench.sessions.attach import argv_of, on_terminal
from workbench.sessions.book import Book
from workbench.sessions.kernels import kernels
from workbench.sessions.way import Site, Way

log = logging.getLogger(__name__)

_ID_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"
_ID_LENGTH = 4
_KERNELS_EVERY_S = 10.0
_KERNELS_S = 10.0
"""How long Jupyter has to say which kernels there are."""
_TOKEN_BYTES = 32
_PAGE = """\
<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={url}">
<title>{title}</title>
<a href="{url}">{title}</a>
"""


@asynccontextmanager
async def _channel(
    site_of: Callable[[str | None], Awaitable[Site]], tunnel: Tunnel
) -> AsyncIterator[ByteStream]:
    site = await site_of(tunnel.profile)
    async with site.connection.open_channel(tunnel.host, tunnel.port) as channel:
        yield channel


def _private_folder(site: Site, session: Session) -> str:
    return f"{site.work_folder}/sessions/{session.id}"


def _resources(site: Site) -> Resources:
    """What a session asks for where the user says nothing."""
    profile = site.profile
    return Resources(time_limit_s=60 * profile.interactive_minutes, qos=profile.interactive_qos or None)


def _may_wait(site: Site, session: Session, job: Job) -> bool:
    """Whether a second job may be in the queue beside this one."""
    resources, alone = job.spec.resources, site.profile.interactive_qos
    return (
        site.profile.scheduler == "slurm" and job.key is not None and not (alone and resources.qos == alone)
    )


class Desk:
    """What the user wants, and has."""

    def __init__(
        self,
        workbench: Workbench,
        site_of: Callable[[str | None], Awaitable[Site]],
        book: Book,
        keep_job: Callable[[Job], Job],
        *,
        wait_s: float = WAIT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`keep_job` is for jobs that others submit; for `wait_s` a request waits for an outage's end."""
        self._workbench = workbench
        self._site_of = site_of
        self._book = book
        self._keep_job = keep_job
        self._wait_s = wait_s
        self._clock = clock
        self._ways: dict[str, Way] = {}
        self._forwards: dict[str, Forward] = {}
        self._kernels: dict[str, tuple[float, tuple[Kernel, ...]]] = {}
        self._troubles: dict[str, str] = {}
        self._seen: dict[str, tuple[str, str, float | None]] = {}
        """Of each session, the job and the start of it that its way was found for."""
        self._tending = asyncio.Lock()

    # -- what is known ---------------------------------------------------------------------------

    def sessions(self) -> Sequence[SessionView]:
        """All of them, newest first, without asking anybody."""
        return [self.view(session) for session in self._book.sessions()]

    def view(self, session: Session) -> SessionView:
        """One of them as it is now, without asking anybody."""
        forward, way = self._forwards.get(session.id), self._ways.get(session.id)
        asked = self._kernels.get(session.id)
        return SessionView(
            session,
            self._job_of(session),
            place=way.place if way else None,
            tunnel=forward.status if forward else None,
            kernels=asked[1] if asked else None,
            trouble=self._troubles.get(session.id, ""),
        )

    def session(self, id_or_prefix: str) -> Session:
        """One by its id, or by the beginning of its id.

        Raises:
            NotFound: There is none, or more than one.
        """
        known = self._book.sessions()
        found = [one for one in known if one.id == id_or_prefix] or [
            one for one in known if id_or_prefix and one.id.startswith(id_or_prefix)
        ]
        if len(found) != 1:
            names = ", ".join(one.id for one in found or known) or "none"
            raise NotFound(f"There is no one session {id_or_prefix!r}; there are: {names}.")
        return found[0]

    def tunnels(self) -> Sequence[tuple[Tunnel, TunnelStatus | None]]:
        """All that the user has opened, with how they do where it is this program that serves them."""
        found = []
        for tunnel in self._book.tunnels():
            forward = self._forwards.get(tunnel.name)
            found.append((tunnel, forward.status if forward else None))
        return found

    def served_elsewhere(self, name: str) -> int | None:
        """The other process that serves a session or tunnel; None where none does."""
        return None if name in self._forwards else self._book.server_of(name)

    # -- sessions --------------------------------------------------------------------------------

    async def start(
        self,
        kind: SessionKind = SessionKind.JUPYTER,
        *,
        profile: str | None = None,
        page: str = "lab",
        work_folder: str = "",
        resources: Resources | None = None,
    ) -> Session:
        """Submit a session; where it is found is settled at once, and will not change.

        Raises:
            WorkbenchError: It was refused.
        """
        site = await self._site_of(profile)
        session = Session(
            id="".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH)),
            kind=kind,
            profile=site.profile.name,
            created_at=self._clock(),
            token=secrets.token_urlsafe(_TOKEN_BYTES) if kind is SessionKind.JUPYTER else "",
            page=page if kind is SessionKind.JUPYTER else "",
            work_folder=work_folder,
        )
        if session.token:
            # Before anything runs that wants it; in nothing but these two files, which are the user's own.
            await site.connection.write(
                f"{_private_folder(site, session)}/token", session.token.encode(), mode=0o600
            )
        return await self._submitted(site, session, resources or _resources(site))

    async def _submitted(self, site: Site, session: Session, resources: Resources) -> Session:
        """The session with a job."""
        if session.kind is SessionKind.SINTR:
            held, job = await sintr.start(site, session, resources)
            self._keep_job(job)
            return self._book.keep_session(held)
        parameters = SessionParameters(
            page=session.page,
            work_folder=session.work_folder,
            private_folder=_private_folder(site, session),
            reach="hostname" if site.profile.notebook_reach == "hostname" else "127.0.0.1",
        )
        spec = RunSpec(parameters, name=f"{session.kind} session {session.id}")
        try:
            job = await self._workbench.submit(spec, resources, profile=session.profile)
        except (LinkLost, SubmissionUnclear):
            # It is finished by a later `refresh`: what follows must find the session to it.
            job = next(job for job in self._workbench.jobs() if job.spec.run == spec)
            self._book.keep_session(replace(session, job=job.id))
            raise
        return self._book.keep_session(replace(session, job=job.id))

    async def renew(self, session_id: str) -> Session:
        """Have it go on: at once where it has ended, else in a job that waits for the end of this one.

        Where only one job a user may be submitted, as with INTR, a new one is submitted when this one has
        ended, by whatever program is open then: once, for it takes a key press each time.
        """
        async with self._tending:
            await self._workbench.refresh()
            session = self.session(session_id)
            job = self._job_of(session)
            if job is None:
                raise NotAllowed(f"The job of session {session.id} is not known: start another session.")
            if session.next_job or session.renews:
                raise NotAllowed(f"Session {session.id} is renewed already: it goes on when its job ends.")
            if job.state.is_over:
                return await self._renewed(session, job)
            site = await self._site_of(session.profile)
            if not _may_wait(site, session, job):
                return self._book.keep_session(replace(session, renews=True))
            assert job.key is not None
            after = replace(job.spec.resources, dependency=f"afterany:{job.key.native_id}")
            new = await self._submitted(site, session, after)
            return self._book.keep_session(replace(new, job=session.job, next_job=new.job))

    async def _renewed(self, session: Session, job: Job) -> Session:
        """The session in a new job that runs as soon as it may."""
        site = await self._site_of(session.profile)
        resources = replace(job.spec.resources, dependency=None)
        return await self._submitted(site, replace(session, renews=False, stopped=False), resources)

    async def stop(self, session_id: str) -> Session:
        """End it, and what was to follow it."""
        async with self._tending:
            session = self.session(session_id)
            stopped = replace(session, stopped=True, renews=False, next_job="")
            self._book.keep_session(stopped)
            for job_id in filter(None, (session.next_job, session.job)):
                job = self._known(job_id)
                if job is not None and not job.state.is_over:
                    await self._workbench.cancel(job_id)
        return stopped

    async def site(self, profile: str | None) -> Site:
        """The place where a session runs."""
        return await self._site_of(profile)

    async def usual(self, profile: str | None) -> Resources:
        """What a session there asks for where the user says nothing."""
        return _resources(await self._site_of(profile))

    async def busy_kernels(self, session: Session) -> int:
        """How many of its kernels compute now; 0 where nobody can say."""
        job = self._job_of(session)
        if session.kind is not SessionKind.JUPYTER or job is None or job.state is not JobState.RUNNING:
            return 0
        with suppress(WorkbenchError, TimeoutError):
            way = self.way(session)
            async with asyncio.timeout(_KERNELS_S), way.channel() as channel:
                assert way.place is not None
                return sum(one.busy for one in await kernels(channel, way.place.base_url, session.token))
        return 0

    def forget(self, session_id: str) -> None:
        """Take one that is over off the list.

        Raises:
            NotAllowed: It is not over.
        """
        session = self.session(session_id)
        job = self._job_of(session)
        if job is not None and not job.state.is_over:
            raise NotAllowed(f"Session {session.id} is not over: stop it first.")
        self._book.forget_session(session.id)

    def page(self, session: Session) -> Path:
        """A file for a browser that leads to the session; its path may be on a command line, its URL not."""
        url = html.escape(session.url, quote=True)
        return self._book.write_page(session.id, _PAGE.format(url=url, title=f"Session {session.id}"))

    async def browse(self, session_id: str) -> None:
        """Show one in the user's browser, its token on no command line.

        Raises:
            NotAllowed: It has no page.
        """
        session = self.session(session_id)
        if session.kind is not SessionKind.JUPYTER or not session.local_port:
            raise NotAllowed(f"Session {session.id} has no page for a browser.")
        import webbrowser  # late: hardly any command needs it

        await asyncio.to_thread(webbrowser.open, self.page(session).as_uri())

    async def attach(self, session_id: str) -> int:
        """Give this program's terminal to one's shell, until the user leaves it; the shell's exit status."""
        session = self.session(session_id)
        if session.kind is SessionKind.SINTR:
            connection = (await self._site_of(session.profile)).connection
            return await on_terminal(connection, sintr.attach_argv(session))
        place, node = await self.way(session).node()
        return await on_terminal(node, argv_of(place))

    async def vscode(self, session_id: str) -> str:
        """Write an ssh configuration for one's node; a sentence that says how it is used."""
        session = self.session(session_id)
        place = await self.way(session).find()
        return vscode.write(place, (await self._site_of(session.profile)).profile).sentence

    def way(self, session: Session) -> Way:
        """To what its job runs."""
        if session.id not in self._ways:

            async def job() -> Job | None:
                with suppress(WorkbenchError):  # what was heard last has to do
                    await self._workbench.refresh()
                return self._job_of(self.session(session.id))

            self._ways[session.id] = Way(self._site_of, job)
        return self._ways[session.id]

    # -- tunnels ---------------------------------------------------------------------------------

    def open_tunnel(self, target: str, *, profile: str | None = None, local_port: int = 0) -> Tunnel:
        """Want one; the same as before where there is one to that target already.

        Raises:
            NotAllowed: The target cannot be one.
        """
        host, colon, port = target.rpartition(":")
        if not colon or not port.isdigit() or not 0 < int(port) < 1 << 16 or host.startswith("-"):
            raise NotAllowed(
                f"{target!r} is no target of a tunnel: say HOST:PORT, or :PORT for the host itself."
            )
        wanted = Tunnel(
            "", profile or self._workbench.profiles()[0], host or "127.0.0.1", int(port), local_port
        )
        for tunnel in self._book.tunnels():
            if (tunnel.profile, tunnel.target) == (wanted.profile, wanted.target):
                return self._book.keep_tunnel(replace(tunnel, local_port=local_port or tunnel.local_port))
        name = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
        return self._book.keep_tunnel(replace(wanted, name=name))

    async def close_tunnel(self, name: str) -> Tunnel:
        """Want it no more."""
        for tunnel in self._book.tunnels():
            if tunnel.name == name:
                await self._let_go(name)
                self._book.forget_tunnel(name)
                return tunnel
        known = ", ".join(tunnel.name for tunnel in self._book.tunnels()) or "none"
        raise NotFound(f"There is no tunnel {name!r}; there are: {known}.")

    # -- the turn --------------------------------------------------------------------------------

    async def tend(self, only: Collection[str] | None = None) -> None:
        """Do what lies between what is wanted and what there is; `only` for these entries."""
        async with self._tending:
            wanted = {one.id: one for one in self._book.sessions() if only is None or one.id in only}
            for session in wanted.values():
                try:
                    await self._tend(session)
                    self._troubles.pop(session.id, None)
                except WorkbenchError as error:  # the others are seen to all the same
                    self._troubles[session.id] = str(error)
            tunnels = {one.name: one for one in self._book.tunnels() if only is None or one.name in only}
            for tunnel in tunnels.values():
                await self._listen(tunnel)
            for name in [name for name in self._forwards if name not in wanted and name not in tunnels]:
                await self._let_go(name)

    async def _tend(self, session: Session) -> None:
        job = self._job_of(session)
        if job is None:
            return
        if job.state.is_over:
            session = await self._go_on(session, job)
            job = self._job_of(session)
        if job is None or (job.state.is_over and session.stopped):
            await self._let_go(session.id)
            return
        if session.kind is SessionKind.JUPYTER and not await self._listen(session):
            return  # another program sees to it
        if session.kind is not SessionKind.SINTR:
            await self._follow(session, job)

    async def _go_on(self, session: Session, job: Job) -> Session:
        """What comes after the end of a job, if anything does."""
        if session.next_job:
            return self._book.keep_session(replace(session, job=session.next_job, next_job=""))
        if session.renews and self._book.claim(session.id):
            try:
                return await self._renewed(session, job)
            except SchedulerError:
                # Asked for once, and refused: it is for the user to try again.
                self._book.keep_session(replace(self.session(session.id), renews=False))
                raise
        return session

    async def _follow(self, session: Session, job: Job) -> None:
        """Know where the job is, and what its kernels do."""
        way = self.way(session)
        start = (job.id, job.status.node, job.status.started_at)
        if self._seen.get(session.id) != start:
            if session.id in self._seen:
                await way.forget()
                if forward := self._forwards.get(session.id):
                    forward.switch(way.channel)  # nothing comes from the old one any more
            self._seen[session.id] = start
            self._kernels.pop(session.id, None)
        if job.state is not JobState.RUNNING:
            await way.forget()
            return
        if way.place is None:
            with suppress(NotAllowed):  # it is starting
                await way.find()
        elif session.kind is SessionKind.JUPYTER:
            await self._look_at_kernels(session, way)

    async def _look_at_kernels(self, session: Session, way: Way) -> None:
        now = asyncio.get_running_loop().time()
        asked = self._kernels.get(session.id)
        if asked is None or now - asked[0] >= _KERNELS_EVERY_S:
            found: tuple[Kernel, ...] = ()
            with suppress(TimeoutError):
                async with asyncio.timeout(_KERNELS_S), way.channel() as channel:
                    assert way.place is not None
                    found = await kernels(channel, way.place.base_url, session.token)
            self._kernels[session.id] = (now, found)

    async def _listen(self, entry: Session | Tunnel) -> bool:
        """Have the port of an entry open; false where another program has."""
        name = entry.id if isinstance(entry, Session) else entry.name
        if name in self._forwards:
            return True
        if not self._book.claim(name):
            return False
        label = f"Jupyter session {name}" if isinstance(entry, Session) else f"{entry.target}"
        reach = self.way(entry).channel if isinstance(entry, Session) else self._reach(entry)
        forward = Forward(label, reach, wait_s=self._wait_s, clock=self._clock)
        port = await forward.listen(entry.local_port)
        self._forwards[name] = forward
        if port != entry.local_port:
            if isinstance(entry, Session):
                self._book.keep_session(replace(entry, local_port=port))
            else:
                self._book.keep_tunnel(replace(entry, local_port=port))
        return True

    def _reach(self, tunnel: Tunnel) -> Reach:
        def reach() -> AbstractAsyncContextManager[ByteStream]:
            return _channel(self._site_of, tunnel)

        return reach

    async def _let_go(self, name: str) -> None:
        if forward := self._forwards.pop(name, None):
            await forward.close()
        if way := self._ways.pop(name, None):
            await way.forget()
        self._book.let_go(name)

    async def close(self) -> None:
        """Let go of every port; the sessions go on."""
        for name in [*self._forwards, *self._ways]:
            await self._let_go(name)
        self._book.close()

    # -- jobs ------------------------------------------------------------------------------------

    def _job_of(self, session: Session) -> Job | None:
        return self._known(session.job)

    def _known(self, job_id: str) -> Job | None:
        try:
            return self._workbench.job(job_id)
        except NotFound:
            return None
