"""The desk: sessions and tunnels that the user wants, and what is done so that they have them.

Everything here is desired state. `tend` looks at what is wanted and at what there is, and does what lies
between: it listens on the ports, finds out where jobs have come up, moves on to a renewal. It is called
again and again by whatever program is open; what it leaves undone, the next turn does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from workbench.errors import NotAllowed, NotFound, SchedulerError, WorkbenchError
from workbench.model.job import Job, JobState, Resources
from workbench.model.session import Session, SessionKind, SessionView
from workbench.model.tunnel import Tunnel, TunnelStatus
from workbench.ports import Workbench
from workbench.remote.tunnels import WAIT_S
from workbench.sessions import sintr, vscode
from workbench.sessions.attach import argv_of, on_terminal
from workbench.sessions.book import Book
from workbench.sessions.kernels import Kernels, ask
from workbench.sessions.page import page_to
from workbench.sessions.served import Served, SiteOf
from workbench.sessions.starts import Starts, usual_resources
from workbench.sessions.wanted_tunnels import WantedTunnels
from workbench.sessions.way import Site, Way


class Desk:
    """What the user wants, and has."""

    def __init__(
        self,
        workbench: Workbench,
        site_of: SiteOf,
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
        self._served = Served(site_of, book, self._newest_job, wait_s=wait_s, clock=clock)
        self._starts = Starts(workbench, site_of, book, keep_job, clock)
        self._tunnels = WantedTunnels(book, self._served)
        self._kernels = Kernels()
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
        return SessionView(
            session,
            self._job_of(session),
            place=self._served.place(session),
            tunnel=self._served.status(session.id),
            kernels=self._kernels.of(session),
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
        return self._tunnels.all()

    def served_elsewhere(self, name: str) -> int | None:
        """The other process that serves a session or tunnel; None where none does."""
        return None if name in self._served else self._book.server_of(name)

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
        return await self._starts.start(
            kind, profile=profile, page=page, work_folder=work_folder, resources=resources
        )

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
                return await self._starts.renewed(session, job)
            after = await self._starts.after(session, job)
            return after or self._book.keep_session(replace(session, renews=True))

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
        return usual_resources(await self._site_of(profile))

    async def busy_kernels(self, session: Session) -> int:
        """How many of its kernels compute now; 0 where nobody can say."""
        job = self._job_of(session)
        if session.kind is not SessionKind.JUPYTER or job is None or job.state is not JobState.RUNNING:
            return 0
        with suppress(WorkbenchError, TimeoutError):
            return sum(kernel.busy for kernel in await ask(session, self._served.way(session)))
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
        return self._book.write_page(session.id, page_to(session))

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
        return self._served.way(session)

    # -- tunnels ---------------------------------------------------------------------------------

    def open_tunnel(self, target: str, *, profile: str | None = None, local_port: int = 0) -> Tunnel:
        """Want one; the same as before where there is one to that target already.

        Raises:
            NotAllowed: The target cannot be one.
        """
        return self._tunnels.open(target, profile or self._workbench.profiles()[0], local_port)

    async def close_tunnel(self, name: str) -> Tunnel:
        """Want it no more."""
        return await self._tunnels.close(name)

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
                await self._served.listen(tunnel)
            for name in [name for name in self._served.names() if name not in wanted and name not in tunnels]:
                await self._served.let_go(name)

    async def _tend(self, session: Session) -> None:
        job = self._job_of(session)
        if job is None:
            return
        if job.state.is_over:
            session = await self._go_on(session, job)
            job = self._job_of(session)
        if job is None or (job.state.is_over and session.stopped):
            await self._served.let_go(session.id)
            return
        if session.kind is SessionKind.JUPYTER and not await self._served.listen(session):
            return  # another program sees to it
        if session.kind is not SessionKind.SINTR:
            await self._follow(session, job)

    async def _go_on(self, session: Session, job: Job) -> Session:
        """What comes after the end of a job, if anything does."""
        if session.next_job:
            return self._book.keep_session(replace(session, job=session.next_job, next_job=""))
        if session.renews and self._book.claim(session.id):
            try:
                return await self._starts.renewed(session, job)
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
                await self._served.moved(session)
            self._seen[session.id] = start
            self._kernels.forget(session)
        if job.state is not JobState.RUNNING:
            await way.forget()
            if job.state is JobState.PENDING:
                await way.ask_early(job)
            return
        if way.place is None:
            with suppress(NotAllowed):  # it is starting
                await way.find()
        elif session.kind is SessionKind.JUPYTER:
            await self._kernels.look(session, way)

    async def close(self) -> None:
        """Let go of every port; the sessions go on."""
        await self._served.close()

    # -- jobs ------------------------------------------------------------------------------------

    def _job_of(self, session: Session) -> Job | None:
        return self._known(session.job)

    def _known(self, job_id: str) -> Job | None:
        try:
            return self._workbench.job(job_id)
        except NotFound:
            return None

    async def _newest_job(self, session_id: str) -> Job | None:
        with suppress(WorkbenchError):  # what was heard last has to do
            await self._workbench.refresh()
        return self._job_of(self.session(session_id))
