"""What goes through a connection of paramiko's: commands, and channels of its own.

paramiko blocks: each stream has one thread that receives and one that sends, so that a slow reader holds up
nobody else, and the event loop never.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from workbench.errors import ConnectionFailed, LinkLost
from workbench.ports import ByteStream
from workbench.remote.agent_connection import NotForwarded

if TYPE_CHECKING:
    import paramiko

_T = TypeVar("_T")

_PIECE = 1 << 18
_PIECES = 4
"""So many of them are held for a reader that is slow."""
_TAIL = 2000
"""Bytes of stderr that are kept for a message."""
_PROHIBITED = 1
"""Why a channel is not opened (RFC 4254)."""


class ParamikoLink:
    """Implements `agent_connection.Link`."""

    def __init__(self, host: str, transports: Sequence[paramiko.Transport]) -> None:
        self._host = host
        self._transports = transports
        self._forwards = True

    async def start(self, shell_command: str) -> _Pipe:
        """Have the login shell run a command."""
        return _Pipe(self._host, await _threaded(self._host, None, self._open, shell_command))

    def _open(self, shell_command: str) -> paramiko.Channel:
        channel = self._transports[-1].open_session()
        channel.exec_command(shell_command)
        return channel

    def channel(self, host: str, port: int) -> AbstractAsyncContextManager[ByteStream] | None:
        """A forwarded channel, unless the server has refused to forward any."""
        return self._channel(host, port) if self._forwards else None

    @asynccontextmanager
    async def _channel(self, host: str, port: int) -> AsyncIterator[ByteStream]:
        import paramiko

        opening = _Opening(self._transports[-1], host, port)
        try:
            stream = _Stream(self._host, await _threaded(self._host, None, opening.open))
        except LinkLost as error:
            refused = error.__cause__
            if not isinstance(refused, paramiko.ChannelException):
                raise
            if refused.code == _PROHIBITED:
                self._forwards = False
                raise NotForwarded from error
            reason = f"nothing answers at {host}:{port} ({refused.text})"
            raise ConnectionFailed(self._host, reason) from error
        except asyncio.CancelledError:
            opening.give_up()
            raise
        try:
            yield stream
        finally:
            stream.close()

    async def close(self) -> None:
        """End it, and the connections that it goes through."""
        await asyncio.to_thread(close, self._transports)


def close(transports: Sequence[paramiko.Transport]) -> None:
    """End connections, each of which goes through those before it."""
    for transport in reversed(transports):
        transport.close()


class _Opening:
    """A channel that is being opened, for as long as anybody waits for it."""

    def __init__(self, transport: paramiko.Transport, host: str, port: int) -> None:
        self._transport = transport
        self._to = (host, port)
        self._given_up = threading.Event()
        self._channel: paramiko.Channel | None = None

    def open(self) -> paramiko.Channel:
        """In a thread."""
        self._channel = channel = self._transport.open_channel("direct-tcpip", self._to, ("127.0.0.1", 0))
        if self._given_up.is_set():
            channel.close()
        return channel

    def give_up(self) -> None:
        """Nobody waits any more."""
        self._given_up.set()
        if self._channel is not None:
            self._channel.close()


class _Received:
    """What comes in, taken from paramiko by a thread of its own."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._room = threading.Semaphore(_PIECES)
        self._closed = False
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self._at_end = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        data = b"-"
        while data:
            self._room.acquire()
            data = b"" if self._closed else self._receive()
            with suppress(RuntimeError):  # the event loop has ended before the connection
                self._loop.call_soon_threadsafe(self._pieces.put_nowait, data)

    async def take(self) -> bytes:
        """The next piece; none at the end, however often."""
        if self._at_end:
            return b""
        data = await self._pieces.get()
        self._room.release()
        self._at_end = not data
        return data

    def close(self) -> None:
        """Nobody takes anything any more."""
        self._closed = True
        self._room.release()


class _Stream:
    """Implements `ports.ByteStream` on a channel."""

    def __init__(self, host: str, channel: paramiko.Channel) -> None:
        self._host = host
        self._channel = channel
        self._sender = ThreadPoolExecutor(1)
        self._received = _Received(lambda: channel.recv(_PIECE))
        self._left = b""

    async def read(self, most: int) -> bytes:
        """At least one byte and at most `most`; none at the end."""
        data = self._left or await self._received.take()
        if not data and not self._channel.eof_received:
            raise self._broken()  # what paramiko takes for an end
        self._left = data[most:]
        return data[:most]

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is slow."""
        try:
            await _threaded(self._host, self._sender, self._channel.sendall, data)
        except LinkLost as error:
            raise self._broken() from error

    async def write_eof(self) -> None:
        """Say that nothing more will be sent."""
        await _threaded(self._host, self._sender, self._channel.shutdown_write)

    def _broken(self) -> ConnectionFailed:
        if self._channel.get_transport().is_active():
            return ConnectionFailed(self._host, "the other side broke the connection")
        return LinkLost(self._host, "the connection was lost")

    def close(self) -> None:
        """Let go of it."""
        self._received.close()
        _close_soon(self._channel)
        self._sender.shutdown(wait=False)


class _Pipe:
    """Implements `agent_session.Pipe`."""

    def __init__(self, host: str, channel: paramiko.Channel) -> None:
        self._host = host
        self._channel = channel
        self._said = bytearray()
        self._overhearing = threading.Thread(target=self._overhear, daemon=True)
        self._overhearing.start()
        self._received = _Received(self._receive)

    def _receive(self) -> bytes:
        data = self._channel.recv(_PIECE)
        if not data:
            self._overhearing.join()  # the end of a channel is that of its stderr as well
        return data

    def _overhear(self) -> None:
        while data := self._channel.recv_stderr(_PIECE):
            self._said = (self._said + data)[-_TAIL:]

    async def read(self) -> bytes:
        """Some of its stdout; none at its end."""
        return await self._received.take()

    async def write(self, data: bytes) -> None:
        """To its stdin, waiting while the other side is slow."""
        await _threaded(self._host, None, self._channel.sendall, data)

    def close(self) -> None:
        """Let go of it."""
        self._received.close()
        _close_soon(self._channel)

    async def wait_closed(self) -> None:
        """Until nothing of it is left on this side: its threads end by themselves."""

    def said(self) -> str:
        """The end of its stderr."""
        return self._said.decode(errors="replace").strip()


def _close_soon(channel: paramiko.Channel) -> None:
    """Closing says so to the host, which on a link that hangs may take for ever."""
    threading.Thread(target=_close, args=[channel], daemon=True).start()


def _close(channel: paramiko.Channel) -> None:
    with suppress(EOFError, OSError):  # the connection has ended before
        channel.close()


async def _threaded(host: str, threads: Executor | None, work: Callable[..., _T], *args: object) -> _T:
    import paramiko

    try:
        return await asyncio.get_running_loop().run_in_executor(threads, work, *args)
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise LinkLost(host, f"the connection was lost ({error or 'it was closed'})") from error
