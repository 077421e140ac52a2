"""Served: the ports that this program holds open for sessions and tunnels, and the ways behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from workbench.model.job import Job
from workbench.model.session import Place, Session
from workbench.model.tunnel import Tunnel, TunnelStatus
from workbench.ports import ByteStream
from workbench.remote.tunnels import Forward, Reach
from workbench.sessions.book import Book
from workbench.sessions.way import Site, Way

SiteOf = Callable[[str | None], Awaitable[Site]]


class Served:
    """By the names of the book's entries."""

    def __init__(
        self,
        site_of: SiteOf,
        book: Book,
        newest_job: Callable[[str], Awaitable[Job | None]],
        *,
        wait_s: float,
        clock: Callable[[], float],
    ) -> None:
        """`newest_job` gives the job of a session by the scheduler's newest word."""
        self._site_of, self._book, self._newest_job = site_of, book, newest_job
        self._wait_s, self._clock = wait_s, clock
        self._ways: dict[str, Way] = {}
        self._forwards: dict[str, Forward] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._forwards

    def names(self) -> Sequence[str]:
        """Of the entries that have a port here."""
        return list(self._forwards)

    def status(self, name: str) -> TunnelStatus | None:
        """How the port of an entry does; None where this program has none."""
        forward = self._forwards.get(name)
        return forward.status if forward else None

    def place(self, session: Session) -> Place | None:
        """Where a session is, as far as that is known."""
        way = self._ways.get(session.id)
        return way.place if way else None

    def way(self, session: Session) -> Way:
        """To what a session's job runs."""
        if session.id not in self._ways:
            self._ways[session.id] = Way(self._site_of, lambda: self._newest_job(session.id))
        return self._ways[session.id]

    async def moved(self, session: Session) -> None:
        """A session is in another place: nothing comes from the old one any more."""
        way = self.way(session)
        await way.forget()
        if forward := self._forwards.get(session.id):
            forward.switch(way.channel)

    async def listen(self, entry: Session | Tunnel) -> bool:
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

    async def let_go(self, name: str) -> None:
        """Hold nothing for an entry any more."""
        if forward := self._forwards.pop(name, None):
            await forward.close()
        if way := self._ways.pop(name, None):
            await way.forget()
        self._book.let_go(name)

    async def close(self) -> None:
        """Let go of everything."""
        for name in [*self._forwards, *self._ways]:
            await self.let_go(name)
        self._book.close()

    def _reach(self, tunnel: Tunnel) -> Reach:
        @asynccontextmanager
        async def channel() -> AsyncIterator[ByteStream]:
            site = await self._site_of(tunnel.profile)
            async with site.connection.open_channel(tunnel.host, tunnel.port) as opened:
                yield opened

        return channel
