"""Channels of a master connection of OpenSSH, asked for by the protocol that `ssh` itself speaks to it.

What `ssh -W HOST:PORT` does, without a process for each channel: the master is handed two ends of our own,
and carries what goes through them. (PROTOCOL.mux of OpenSSH's sources, version 4; in masters since 5.4.)
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from workbench.errors import ConnectionFailed, LinkLost
from workbench.ports import ByteStream
from workbench.remote.agent_connection import NotForwarded

_HELLO, _VERSION = 0x00000001, 4
_ALIVE_CHECK, _ALIVE = 0x10000004, 0x80000005
_STDIO_FORWARD, _OPENED = 0x10000008, 0x80000006
_REQUEST = 1
_ANSWER_S = 5.0
"""For a master to say that it is there, which asks nobody else."""
_PIECE = 1 << 18


def _number(value: int) -> bytes:
    return struct.pack(">I", value)


def _text(value: bytes) -> bytes:
    return _number(len(value)) + value


class _Control:
    """One connection to a master."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()

    async def begin(self, path: str) -> None:
        """Connect, and say hello."""
        await self._loop.sock_connect(self._link, path)
        await self.say(_number(_HELLO) + _number(_VERSION))
        await self.hear()

    async def say(self, message: bytes) -> None:
        """One message."""
        await self._loop.sock_sendall(self._link, _text(message))

    def hand_over(self, end: socket.socket) -> None:
        """Give the master a descriptor; there is always room for that."""
        socket.send_fds(self._link, [b"\0"], [end.fileno()])

    async def hear(self) -> int:
        """The kind of the next message."""
        (size,) = struct.unpack(">I", await self._exactly(4))
        (kind,) = struct.unpack_from(">I", await self._exactly(size))
        return int(kind)

    async def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = await self._loop.sock_recv(self._link, size - len(data))
            if not more:
                raise ConnectionResetError("the master has ended")
            data += more
        return data


@asynccontextmanager
async def _control(path: str) -> AsyncIterator[_Control]:
    with socket.socket(socket.AF_UNIX) as link:
        link.setblocking(False)
        control = _Control(link)
        await control.begin(path)
        yield control


async def answers(path: str) -> bool:
    """Whether there is a master that answers."""
    try:
        async with asyncio.timeout(_ANSWER_S), _control(path) as control:
            await control.say(_number(_ALIVE_CHECK) + _number(_REQUEST))
            return await control.hear() == _ALIVE
    except (OSError, TimeoutError):
        return False


@asynccontextmanager
async def channel(alias: str, path: str, host: str, port: int) -> AsyncIterator[ByteStream]:
    """A TCP connection that the host makes, through its master.

    Raises:
        NotForwarded: The host does not make it: it may not, or nothing answers there.
        LinkLost: The master has ended.
    """
    async with AsyncExitStack() as stack:
        try:
            control = await stack.enter_async_context(_control(path))
            wanted = _text(b"") + _text(host.encode()) + _number(port)
            await control.say(_number(_STDIO_FORWARD) + _number(_REQUEST) + wanted)
            # Two, though each goes both ways: the end of one direction is said by closing what carries it.
            out, far_out = socket.socketpair()
            into, far_into = socket.socketpair()
            with far_out, far_into:
                control.hand_over(far_out)
                control.hand_over(far_into)
            _, writer = await asyncio.open_unix_connection(sock=out)
            stack.callback(writer.transport.abort)
            reader, answering = await asyncio.open_unix_connection(sock=into, limit=_PIECE)
            stack.callback(answering.transport.abort)
            opened = await control.hear() == _OPENED
        except OSError as error:
            raise LinkLost(alias, f"its master connection has ended ({error.strerror or error})") from error
        if not opened:
            raise NotForwarded
        yield _Channel(alias, path, reader, writer)


class _Channel:
    """A forwarded channel."""

    def __init__(
        self, alias: str, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._alias = alias
        self._path = path
        self._reader = reader
        self._writer = writer

    async def read(self, most: int) -> bytes:
        """At least one byte and at most `most`; none at the end."""
        data = b""
        with suppress(OSError):
            data = await self._reader.read(most)
        if not data and not await answers(self._path):
            raise LinkLost(self._alias, "its master connection has ended")  # what looks like an end
        return data

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is slow."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise ConnectionFailed(self._alias, "the other side broke the connection") from error

    async def write_eof(self) -> None:
        """Say that nothing more will be sent."""
        self._writer.close()
