"""WantedTunnels: the tunnels that the user has opened, beside those that sessions have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workbench.errors import NotAllowed, NotFound
from workbench.model.tunnel import Tunnel, TunnelStatus
from workbench.sessions.book import Book
from workbench.sessions.served import Served
from workbench.sessions.starts import new_id


@dataclass
class WantedTunnels:
    """Puts them into the book and takes them out; `Served` holds their ports."""

    book: Book
    served: Served

    def all(self) -> Sequence[tuple[Tunnel, TunnelStatus | None]]:
        """With how they do where it is this program that serves them."""
        return [(tunnel, self.served.status(tunnel.name)) for tunnel in self.book.tunnels()]

    def open(self, target: str, profile: str, local_port: int) -> Tunnel:
        """Want one; the same as before where there is one to that target already.

        Raises:
            NotAllowed: The target cannot be one.
        """
        host, colon, port = target.rpartition(":")
        if not colon or not port.isdigit() or not 0 < int(port) < 1 << 16 or host.startswith("-"):
            raise NotAllowed(
                f"{target!r} is no target of a tunnel: say HOST:PORT, or :PORT for the host itself."
            )
        wanted = Tunnel("", profile, host or "127.0.0.1", int(port), local_port)
        for tunnel in self.book.tunnels():
            if (tunnel.profile, tunnel.target) == (wanted.profile, wanted.target):
                return self.book.keep_tunnel(replace(tunnel, local_port=local_port or tunnel.local_port))
        return self.book.keep_tunnel(replace(wanted, name=new_id()))

    async def close(self, name: str) -> Tunnel:
        """Want it no more.

        Raises:
            NotFound: There is none of that name.
        """
        for tunnel in self.book.tunnels():
            if tunnel.name == name:
                await self.served.let_go(name)
                self.book.forget_tunnel(name)
                return tunnel
        known = ", ".join(tunnel.name for tunnel in self.book.tunnels()) or "none"
        raise NotFound(f"There is no tunnel {name!r}; there are: {known}.")
