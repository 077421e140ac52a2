"""A relay between a client and a server: it counts, holds up and cuts what goes through it.

The link of a laptop, as far as a test can lay a hand on it. Its pieces are the messages of SSH where the
server takes no cipher but `SPLITTABLE`, of which the lengths can be read; else whatever comes in at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum

SPLITTABLE = "aes128-gcm@openssh.com"
_PIECE = 1 << 18
_TAG = 16
_TICK_S = 1e-6
_NEWKEYS = 21


class Way(Enum):
    """In which direction bytes go."""

    UP = "to the server"
    DOWN = "to the client"


@dataclass
class Cut:
    """Where a link is to be cut."""

    way: Way
    after: int
    """So many pieces go through, counted from when this was asked for."""
    half: bool
    """Half of the next piece goes through as well."""
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Messages:
    """Splits one direction of an SSH connection into its messages (RFC 4253, and 5647 for `SPLITTABLE`)."""

    def __init__(self) -> None:
        self._held = b""
        self._greeted = False
        self._tag = 0

    def split(self, data: bytes) -> list[bytes]:
        """The messages that are whole by now."""
        self._held += data
        whole = []
        while (size := self._size()) and len(self._held) >= size:
            message, self._held = self._held[:size], self._held[size:]
            if not self._greeted:
                self._greeted = message.startswith(b"SSH-")
            elif not self._tag and message[5] == _NEWKEYS:
                self._tag = _TAG
            whole.append(message)
        return whole

    def _size(self) -> int:
        """Of the next message; 0 where that is not known yet."""
        if not self._greeted:
            return self._held.find(b"\n") + 1
        return 4 + int.from_bytes(self._held[:4], "big") + self._tag if len(self._held) >= 4 else 0


class Relay:
    """A port of this machine that leads to a server somewhere else."""

    def __init__(self, host: str, port: int, *, messages: bool = False) -> None:
        """Lead to `host:port`, in whole messages where that is asked for."""
        self.port = 0
        self.delay_s = 0.0
        """By which everything is held up, in each direction."""
        self.pieces = dict.fromkeys(Way, 0)
        """That have gone through since the last `count`."""
        self._to = (host, port)
        self._accepted: set[asyncio.Task[None]] = set()
        self._messages = messages
        self._cut: Cut | None = None
        self._due = 0.0

    def count(self, cut: Cut | None = None) -> None:
        """Count from nought, and cut there."""
        self.pieces = dict.fromkeys(Way, 0)
        self._cut = cut

    async def accept(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Relay one connection, until either side, a cut or `close` ends it."""
        task = asyncio.current_task()
        assert task is not None
        self._accepted.add(task)
        ends = [back]
        try:
            server, forth = await asyncio.open_connection(*self._to)
            ends.append(forth)
            both = (back, forth)
            await asyncio.gather(self._pump(Way.UP, client, both), self._pump(Way.DOWN, server, both))
        except OSError:
            pass
        except asyncio.CancelledError:  # by `close`, which is all that waits for it
            for end in ends:
                end.transport.abort()
        finally:
            for end in ends:
                self._later(end.close)
            self._accepted.discard(task)

    async def close(self) -> None:
        """Leave no connection to the garbage collector, which would complain of it in another test."""
        for task in self._accepted:
            task.cancel()
        await asyncio.gather(*self._accepted)
        await asyncio.sleep(0)  # in which what was broken off is closed

    async def _pump(
        self, way: Way, source: asyncio.StreamReader, ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    ) -> None:
        sink, messages = ends[way is Way.UP], Messages()
        with suppress(OSError):
            while data := await source.read(_PIECE):
                pieces = messages.split(data) if self._messages else [data]
                if not all(self._pass(way, piece, sink) for piece in pieces):
                    break
        for end in ends:
            self._later(end.close)

    def _pass(self, way: Way, piece: bytes, sink: asyncio.StreamWriter) -> bool:
        """Hand a piece on; false where the link is to be cut before its end."""
        cut = self._cut
        if cut is not None and cut.way is way and self.pieces[way] >= cut.after:
            self._cut = None
            if cut.half:
                self._later(sink.write, piece[: len(piece) // 2])
            cut.done.set()
            return False
        self.pieces[way] += 1
        self._later(sink.write, piece)
        return True

    def _later(self, do: Callable[..., object], *what: object) -> None:
        """Do it when its time has come, and never before what came earlier."""
        loop = asyncio.get_running_loop()
        self._due = max(loop.time() + self.delay_s, self._due + _TICK_S)
        loop.call_at(self._due, do, *what)


@asynccontextmanager
async def relayed(host: str, port: int, *, messages: bool = False) -> AsyncIterator[Relay]:
    """A relay that listens."""
    relay = Relay(host, port, messages=messages)
    server = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        await relay.close()
