"""A link that can be cut, stalled and slowed down: a TCP proxy between a laptop and the cluster."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_PIECE = 1 << 14
_HANG_UP = struct.pack("ii", 1, 0)
"""Of SO_LINGER: closing says that the connection is broken, not that it is over."""


class Link:
    """What comes to its port goes on to the host, as far as the link is in order."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._pairs: set[asyncio.Task[None]] = set()
        self._streams: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._dropped: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self.delay_s = 0.0
        """Added to every piece."""
        self.port = 0
        self.n_connected = 0
        """Connections that were made through it."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Link]:
        """Listen, until the context is left."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.mend()
            self._break()
            await asyncio.gather(*self._pairs, return_exceptions=True)

    # -- faults ----------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Break what there is, and refuse what comes."""
        self._is_cut = True
        self._break()

    def stall(self) -> None:
        """Let nothing through, and say nothing of it."""
        self._flowing.clear()

    def drop(self) -> None:
        """Forget the connections that there are without a word to either side; new ones work."""
        self._dropped |= self._streams

    def mend(self) -> None:
        """Let everything through again but what was dropped."""
        self._is_cut = False
        self.delay_s = 0.0
        self._flowing.set()

    def _break(self) -> None:
        for stream in list(self._streams):
            stream.transport.abort()

    # -- what goes through -----------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pairs.add(task)
        try:
            await self._pair(reader, writer)
        finally:
            self._pairs.discard(task)

    async def _pair(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _HANG_UP)
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._to)
        except OSError:
            writer.transport.abort()
            return
        self.n_connected += 1
        pair = {writer, far_writer}
        self._streams |= pair
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._streams -= pair
            for stream in pair:
                stream.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_PIECE):
                await asyncio.sleep(self.delay_s)
                await self._flowing.wait()
                if writer in self._dropped:
                    continue
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
