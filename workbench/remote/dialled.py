"""DialledConnection: a connection that is made when it is first used.

The program starts without a network, and a profile that nobody uses is never logged in to. There is one
login at a time, so that no timer starts a second one. A connection that was lost is made again at the next
use, unless the user had to answer something for it: then, and after a refusal, nothing is tried again
until `redial` says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from workbench.errors import ConnectionFailed, HostKeyRefused, LinkLost, LoginRefused
from workbench.ports import ByteStream, Completed, Connection, FileChunk, Prompter, Question, RemoteProcess

Dial = Callable[[Prompter], Awaitable[Connection]]


class NoPrompter:
    """Implements `ports.Prompter` where nobody is there to be asked."""

    async def ask(self, question: Question) -> str | None:
        """No answer."""
        return None

    async def trust(self, host: str, kind: str, fingerprint: str) -> bool:
        """No."""
        return False


class DialledConnection:
    """Implements `ports.Connection` by another one, which is made by `dial`."""

    def __init__(self, host: str, dial: Dial, prompter: Prompter) -> None:
        self.host = host
        self._dial = dial
        self._prompter = prompter
        self._dialling = asyncio.Lock()
        self._made: Connection | None = None
        self._asked = False
        self._refusal: ConnectionFailed | None = None

    def redial(self) -> None:
        """Let the next use log in again: the user is there."""
        self._refusal = None

    async def _connected(self) -> Connection:
        async with self._dialling:
            if self._refusal is not None:
                raise self._refusal
            if self._made is None:
                asking = _Counting(self._prompter)
                try:
                    self._made = await self._dial(asking)
                except (LoginRefused, HostKeyRefused) as error:
                    self._refusal = asking.refusal(error)
                    raise self._refusal from error
                self._asked = asking.asked
            return self._made

    async def _lost(self, connection: Connection) -> None:
        """Let go of a connection that is of no use any more."""
        if self._made is connection:
            self._made = None
            if self._asked:
                self._refusal = ConnectionFailed(
                    self.host, "the connection was lost, and a new login needs you: connect again when ready"
                )
            await connection.close()

    @asynccontextmanager
    async def _using(self) -> AsyncIterator[Connection]:
        connection = await self._connected()
        try:
            yield connection
        except LinkLost:
            await self._lost(connection)
            raise

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
        async with self._using() as connection:
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
        async with self._using() as connection, connection.stream(argv, cwd=cwd, env=env) as process:
            yield process

    async def read(self, path: str, offset: int = 0, most: int | None = None) -> FileChunk:
        """The file from `offset` on."""
        async with self._using() as connection:
            return await connection.read(path, offset, most)

    async def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Put a file in place whole."""
        async with self._using() as connection:
            await connection.write(path, data, mode=mode)

    async def put_tree(self, files: Mapping[str, bytes], folder: str) -> None:
        """Make a folder with these files in it, whole or not at all."""
        async with self._using() as connection:
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
        if self._made is not None:
            made, self._made = self._made, None
            await made.close()


class _Counting:
    """A prompter that notes whether it was needed, and whether it could answer."""

    def __init__(self, prompter: Prompter) -> None:
        self._prompter = prompter
        self._unanswered: Question | None = None
        self.asked = False

    def refusal(self, error: ConnectionFailed) -> ConnectionFailed:
        """Why there is no login, where it may have been for want of an answer."""
        if self._unanswered is None:
            return error
        return LoginRefused(
            self._unanswered.host,
            f"it asks for {self._unanswered.text!r} and got no answer: log in where you can give one, or use "
            '`connection = "openssh"` and log in with `ssh` in another terminal',
        )

    async def ask(self, question: Question) -> str | None:
        self.asked = True
        answer = await self._prompter.ask(question)
        if answer is None:
            self._unanswered = question
        return answer

    async def trust(self, host: str, kind: str, fingerprint: str) -> bool:
        return await self._prompter.trust(host, kind, fingerprint)
