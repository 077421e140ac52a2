"""Forward: a port on 127.0.0.1 that stays, whatever happens to the link behind it.

Each connection to it opens a channel. Where that fails (the link is down, the job waits, the server has not
begun to listen) it is tried again for a while, because most outages are short and a browser waits that long;
after that a request is answered with an honest 503 that tries again by itself. What is behind the port can
be changed under way: a job that has moved to another node is found at the same address.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import socket
import struct
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress

from workbench.errors import ConnectionFailed, WorkbenchError
from workbench.model.tunnel import TunnelStatus
from workbench.patience import waiting_for_link
from workbench.ports import ByteStream
from workbench.remote.unreachable_page import is_request, may_become_request, unreachable

log = logging.getLogger(__name__)

Reach = Callable[[], AbstractAsyncContextManager[ByteStream]]
"""Opens a channel to what is behind a port; raises `WorkbenchError` where that cannot be done now."""

WAIT_S = 10.0
"""How long a connection waits for its target before it is told that there is none."""
_RETRY_S = (0.1, 1.0)
"""Between two attempts: at first, and at most."""
_LINK_S = 2.0
"""How long an attempt waits for the link: the moment that it is back, so is what goes through it."""
_REQUEST_S = 2.0
"""How long the first bytes of a client are waited for, to see whether it speaks HTTP."""
_LINGER_S = 2.0
"""How long a client has to take the answer that it is refused with."""
_PIECE = 1 << 18
_PORTS = range(20000, 30000)
"""Below those that systems hand out for outgoing connections, so that a port is free again the next time."""
_ATTEMPTS = 20


class Forward:
    """One port, and what is behind it."""

    def __init__(
        self, name: str, reach: Reach, *, wait_s: float = WAIT_S, clock: Callable[[], float] = time.time
    ) -> None:
        """`name` is what people call the target."""
        self._name = name
        self._reach = reach
        self._wait_s = wait_s
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._through: set[asyncio.Task[None]] = set()
        """Those of them that have a channel."""
        self._down_since: float | None = None
        self._why = ""

    async def listen(self, port: int = 0) -> int:
        """Begin, on this port where it is free and else on another; which it is."""
        wanted = (port,) if port else ()
        others = (secrets.choice(_PORTS) for _ in range(_ATTEMPTS))
        for number in (*wanted, *others, 0):
            try:
                self._server = await asyncio.start_server(self._accept, "127.0.0.1", number, limit=_PIECE)
                break
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
        return self.port

    @property
    def port(self) -> int:
        """Where it is to be found; 0 where it does not listen."""
        sockets = self._server.sockets if self._server is not None else ()
        return int(sockets[0].getsockname()[1]) if sockets else 0

    @property
    def status(self) -> TunnelStatus:
        """How it does."""
        return TunnelStatus(self.port, len(self._through), self._down_since, self._why)

    def switch(self, reach: Reach) -> None:
        """Put another target behind the port; what goes through it to the old one is broken off."""
        self._reach = reach
        for client in self._through:
            client.cancel()

    async def close(self) -> None:
        """Let go of the port, and of all that goes through it."""
        if self._server is not None:
            self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    # -- one client --------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            if not await self._serve(task, reader, writer):
                _break_off(writer)
        except asyncio.CancelledError:
            # By `close` or `switch`. It goes no further: nobody is above this task, and the callback that
            # asyncio's server hangs on it does not expect one that was cancelled.
            _break_off(writer)
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """All that one client wants; whether it ended as it should."""
        try:
            async with AsyncExitStack() as stack:
                channel = await self._reached(stack)
                if channel is None:
                    await self._refuse(reader, writer)
                    return True
                self._through.add(task)
                return await self._pump(channel, reader, writer)
        except (OSError, WorkbenchError) as error:
            log.info("A connection to %s was broken off: %s", self._name, error)
            return False
        finally:
            self._through.discard(task)

    async def _reached(self, stack: AsyncExitStack) -> ByteStream | None:
        """A channel to the target; none where there was none for long."""
        deadline = asyncio.get_running_loop().time() + self._wait_s
        pause_s, most_s = _RETRY_S
        patience_s = 0.0  # at first, so that what stands in the way is known soon
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    try:
                        with waiting_for_link(patience_s):
                            channel = await stack.enter_async_context(self._reach())
                    except WorkbenchError as error:
                        self._note(str(error))
                    else:
                        self._down_since, self._why = None, ""
                        return channel
                    await asyncio.sleep(pause_s)
                    patience_s = _LINK_S
                    pause_s = min(2 * pause_s, most_s)
        except TimeoutError:
            self._note(self._why or f"{self._name} has not answered for {self._wait_s:g} s.")
            return None

    def _note(self, why: str) -> None:
        self._why = why
        if self._down_since is None:
            self._down_since = self._clock()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Tell a client that speaks HTTP why it is not served; hang up on any other."""
        request = bytearray()
        with suppress(TimeoutError):
            async with asyncio.timeout(_REQUEST_S):
                while not request or not _is_whole(request):
                    data = await reader.read(_PIECE)
                    if not data:
                        break
                    request += data
        if is_request(bytes(request)):
            since = self._clock() if self._down_since is None else self._down_since
            writer.write(unreachable(bytes(request), self._name, self._why, since))
            writer.write_eof()
            # Closed while it still sends, it would lose the answer: read on until it has done.
            with suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_S):
                    while await reader.read(_PIECE):
                        pass

    async def _pump(
        self, channel: ByteStream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Both directions, each to its own end; whether both have got there."""
        whole = True
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_outwards(reader, channel))
                both.create_task(_inwards(channel, writer))
        except* (OSError, ConnectionFailed) as errors:
            log.info("A connection to %s was broken off: %s", self._name, errors.exceptions[0])
            whole = False
        return whole


def _break_off(writer: asyncio.StreamWriter) -> None:
    """Reset a connection, so that what was under way is not taken for whole."""
    link = writer.get_extra_info("socket")
    if not writer.is_closing():
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _outwards(reader: asyncio.StreamReader, channel: ByteStream) -> None:
    while data := await reader.read(_PIECE):
        await channel.write(data)
    await channel.write_eof()


async def _inwards(channel: ByteStream, writer: asyncio.StreamWriter) -> None:
    while data := await channel.read(_PIECE):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def _is_whole(request: bytearray) -> bool:
    """Whether the head of a request is there, or it can be seen that it is none."""
    return b"\r\n\r\n" in request or b"\n\n" in request or not may_become_request(bytes(request))
