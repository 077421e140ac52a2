"""SupervisedConnection: a connection that comes back by itself.

The program starts without a network, and a profile that nobody uses is never logged in to. From its first
use on, `LinkKeeper` keeps the link up. What is under way when it dies raises `LinkLost`: it may or may
not have happened, and the caller knows what to do about that. What comes while it is down fails at once,
unless the caller would rather wait (`patience.waiting_for_link`).
"""

from __future__ import annotations

import asyncio
import shlex
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from workbench.errors import LinkLost, WorkbenchError
from workbench.model.link import LinkCommand, LinkStatus
from workbench.patience import link_patience_s
from workbench.ports import ByteStream, Completed, Connection, FileChunk, RemoteProcess
from workbench.remote.link_keeper import LinkKeeper

_MOST_COMMANDS = 30
_MOST_LETTERS = 400


class SupervisedConnection:
    """Implements `ports.Connection` by one that is made, and made again, by a keeper."""

    def __init__(self, keeper: LinkKeeper) -> None:
        self.host = keeper.host
        self.keeper = keeper
        self._commands: deque[LinkCommand] = deque(maxlen=_MOST_COMMANDS)

    def status(self, profile: str) -> LinkStatus:
        """What is to be shown of it."""
        keeper = self.keeper
        return LinkStatus(profile, self.host, keeper.link, tuple(keeper.history), tuple(self._commands))

    async def ready(self) -> None:
        """Be connected, which may be waited for as for a call.

        Raises:
            ConnectionFailed: It is not.
        """
        await self.keeper.connection(link_patience_s())

    async def reconnect(self) -> None:
        """The user wants a connection.

        Raises:
            ConnectionFailed: It could not be made.
        """
        await self.keeper.reconnect()

    @asynccontextmanager
    async def _using(self, doing: str = "") -> AsyncIterator[Connection]:
        """The connection for one call; `doing` is what stands in the list of commands."""
        connection = await self.keeper.connection(link_patience_s())
        began, outcome = self.keeper.now(), ""
        try:
            yield connection
            self.keeper.heard()
        except LinkLost:
            outcome = "the link was lost"
            self.keeper.doubt()
            raise
        except WorkbenchError as error:
            outcome = str(error)
            raise
        except asyncio.CancelledError:
            outcome = "nobody waited for it any more"
            raise
        finally:
            if doing:
                took_s = self.keeper.now() - began
                self._commands.append(LinkCommand(began, doing[:_MOST_LETTERS], took_s, outcome))

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> Completed:
        """Run a command to its end."""
        async with self._using(shlex.join(argv)) as connection:
            return await connection.run(argv, stdin=stdin, cwd=cwd, env=env, check=check)

    def stream(
        self, argv: Sequence[str], *, cwd: str | None = None, env: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[RemoteProcess]:
        """Run a command whose output is read as it comes."""
        return self._stream(argv, cwd, env)

    @asynccontextmanager
    async def _stream(
        self, argv: Sequence[str], cwd: str | None, env: Mapping[str, str] | None
    ) -> AsyncIterator[RemoteProcess]:
        async with (
            self._using(shlex.join(argv)) as connection,
            connection.stream(argv, cwd=cwd, env=env) as process,
        ):
            yield process

    async def read(self, path: str, offset: int = 0, most: int | None = None) -> FileChunk:
        """The file from `offset` on."""
        async with self._using() as connection:
            return await connection.read(path, offset, most)

    async def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Put a file in place whole."""
        async with self._using(f"write {shlex.quote(path)}") as connection:
            await connection.write(path, data, mode=mode)

    async def put_tree(self, files: Mapping[str, bytes], folder: str) -> None:
        """Make a folder with these files in it, whole or not at all."""
        async with self._using(f"write {shlex.quote(folder)}/ ({len(files)} files)") as connection:
            await connection.put_tree(files, folder)

    def open_channel(self, host: str, port: int) -> AbstractAsyncContextManager[ByteStream]:
        """A TCP connection made from the host."""
        return self._channel(host, port)

    @asynccontextmanager
    async def _channel(self, host: str, port: int) -> AsyncIterator[ByteStream]:
        async with self._using() as connection, connection.open_channel(host, port) as channel:
            yield channel

    async def close(self) -> None:
        """Let go of it."""
        await self.keeper.close()
