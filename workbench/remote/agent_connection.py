"""AgentConnection: `ports.Connection` over one channel of an SSH connection.

Everything goes through one small agent on the host (`agent.py`, sent along, nothing installed) and not
through a channel a command, or SFTP, because that is what works everywhere:

- where `MaxSessions` is 1, as at some sites, and never ten at once anywhere;
- where start-up files print or the login shell is not a POSIX one: their noise comes once, before it;
- where there is no SFTP, and alike with asyncssh, OpenSSH and paramiko, of which two hide the signal
  that ended a command, and none can end one for certain;
- in one round trip for a command or a part of a file, where opening a channel first makes it two.

The price is that a host needs some Python 3 (3.6 or later) on the PATH of ssh commands.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Protocol

from workbench.errors import CommandFailed, ConnectionFailed, FileFailed, LinkLost
from workbench.ports import ByteStream, Completed, FileChunk, RemoteProcess
from workbench.remote.agent_session import AgentSession, Pipe, Task, command
from workbench.remote.local_files import reason_of

PING_S = 15.0
"""How often a host has to say something; it is given up when it does not."""
_START = 4
"""So many times longer a host has for its start-up files, before the first command."""


class NotForwarded(Exception):
    """A host does not let channels be forwarded."""


class Link(Protocol):
    """An SSH connection on which the user is logged in."""

    async def start(self, shell_command: str) -> Pipe:
        """Have the login shell run a command.

        Raises:
            ConnectionFailed: The connection is not there any more, or no channel could be had.
        """

    def channel(self, host: str, port: int) -> AbstractAsyncContextManager[ByteStream] | None:
        """A channel of the connection's own; none where it has no such.

        Raises:
            NotForwarded: The host does not allow it; on entering.
            ConnectionFailed: Nothing answers there; on entering.
        """

    async def close(self) -> None:
        """End it."""


class AgentConnection:
    """Implements `ports.Connection` on a host that is reached over SSH."""

    def __init__(self, host: str, link: Link, *, ping_s: float = PING_S) -> None:
        self.host = host
        self.link = link
        self._ping_s = ping_s
        self._starting = asyncio.Lock()
        self._session: AgentSession | None = None
        self._tell: Callable[[], None] = lambda: None

    def when_lost(self, tell: Callable[[], None]) -> None:
        """Have somebody told as soon as the agent is gone."""
        self._tell = tell

    async def beat(self, within_s: float) -> None:
        """Have the host say something; an agent that is not there yet is started first.

        Raises:
            LinkLost: It did not in that time, and the link is given up.
        """
        await (await self._agent()).beat(within_s)

    async def _agent(self) -> AgentSession:
        """The agent; one that was killed is started again, as far as the connection is still there."""
        async with self._starting:
            if self._session is None or not self._session.alive:
                if self._session is not None:
                    await self._session.close()
                self._session = await self._start()
            return self._session

    async def _start(self) -> AgentSession:
        text, token = command()
        limit_s = _START * self._ping_s
        try:
            async with asyncio.timeout(limit_s):
                session = AgentSession(self.host, await self.link.start(text))
                try:
                    await session.begin(token, self._ping_s)
                except BaseException:
                    await session.close()
                    raise
                session.when_lost(lambda: self._tell())
        except TimeoutError:
            raise LinkLost(self.host, f"no command could be started within {limit_s:g} s") from None
        return session

    # -- commands ----------------------------------------------------------------------------------

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> Completed:
        """Run a command to its end, or end its whole process group when the wait is cancelled."""
        agent = await self._agent()
        async with agent.task("run", **_run(argv, cwd, env, stdin=bool(stdin))) as task:
            if stdin:
                await task.write(stdin)
                await task.write_eof()
            completed = _completed(await task.over(), task)
        if check and completed.exit_status != 0:
            said = completed.stderr.decode(errors="replace")
            raise CommandFailed(self.host, tuple(argv), completed.exit_status, said)
        return completed

    def stream(
        self, argv: Sequence[str], *, cwd: str | None = None, env: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[RemoteProcess]:
        """Run a command whose output is read as it comes; leaving ends its whole process group."""
        return self._stream(argv, cwd, env)

    @asynccontextmanager
    async def _stream(
        self, argv: Sequence[str], cwd: str | None, env: Mapping[str, str] | None
    ) -> AsyncIterator[RemoteProcess]:
        agent = await self._agent()
        async with agent.task("run", follows=True, **_run(argv, cwd, env, stdin=True)) as task:
            await task.until(lambda: task.begun)
            if not task.begun and task.result is not None:
                status, said = task.result["status"], task.result["not_started"]
                raise CommandFailed(self.host, tuple(argv), status, said)
            yield _Process(task)

    # -- files -------------------------------------------------------------------------------------

    async def read(self, path: str, offset: int = 0, most: int | None = None) -> FileChunk:
        """The file from `offset` on, at most `most` bytes of it."""
        agent = await self._agent()
        async with agent.task("read", path=path, offset=offset, most=most) as task:
            result = await self._done(task, path)
            return FileChunk(offset, bytes(task.stdout), result["size"])

    async def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Put a file in place whole."""
        agent = await self._agent()
        async with agent.task("write", path=path, mode=mode, part=_part()) as task:
            await task.write(data)
            await task.write_eof()
            await self._done(task, path)

    async def put_tree(self, files: Mapping[str, bytes], folder: str) -> None:
        """Make a folder with these files in it, whole or not at all."""
        for name in files:
            if name.startswith("/") or ".." in name.split("/"):
                raise ValueError(f"{name!r} does not lie inside the folder that is being made.")
        sizes = [len(data) for data in files.values()]
        agent = await self._agent()
        async with agent.task(
            "put_tree", folder=folder, names=list(files), sizes=sizes, part=_part()
        ) as task:
            # Where the folder is there already, its content need not travel.
            await task.until(lambda: task.begun)
            await task.write(b"".join(files.values()))
            await task.write_eof()
            await self._done(task, folder)

    async def _done(self, task: Task, path: str) -> dict[str, Any]:
        """The result of something that is done to a file."""
        result = await task.over()
        if "errno" in result:
            number = getattr(errno, result["errno"], 0)  # the number is the host's own, the name is not
            raise FileFailed(self.host, path, reason_of(OSError(number, result["said"])))
        return result

    # -- channels ----------------------------------------------------------------------------------

    def open_channel(self, host: str, port: int) -> AbstractAsyncContextManager[ByteStream]:
        """A TCP connection made from the host to `host:port`; not through the agent where that is faster."""
        return self._channel(host, port)

    @asynccontextmanager
    async def _channel(self, host: str, port: int) -> AsyncIterator[ByteStream]:
        async with AsyncExitStack() as stack:
            direct = self.link.channel(host, port)
            if direct is not None:
                with suppress(NotForwarded):
                    yield await stack.enter_async_context(direct)
                    return
            yield await stack.enter_async_context(self._channel_of_agent(host, port))

    @asynccontextmanager
    async def _channel_of_agent(self, host: str, port: int) -> AsyncIterator[ByteStream]:
        agent = await self._agent()
        async with agent.task("connect", follows=True, host=host, port=port) as task:
            await task.until(lambda: task.begun)
            if not task.begun and task.result is not None:
                said = task.result["said"]
                raise ConnectionFailed(self.host, f"nothing answers at {host}:{port} ({said})")
            yield _Channel(self.host, task)

    async def close(self) -> None:
        """End the agent, and the connection."""
        if self._session is not None:
            await self._session.close()
        await self.link.close()


class _Process:
    """A command that is running on the host."""

    def __init__(self, task: Task) -> None:
        self._task = task

    async def stdout(self) -> AsyncIterator[bytes]:
        """Its output as it comes."""
        while data := await _take(self._task):
            yield data

    async def write(self, data: bytes) -> None:
        """Send to its standard input; what it does not read any more is dropped."""
        await self._task.write(data)

    async def write_eof(self) -> None:
        """End its standard input."""
        await self._task.write_eof()

    async def wait(self) -> Completed:
        """Its end, with what is left of its stdout."""
        left = bytearray()
        while data := await _take(self._task):
            left += data
        self._task.stdout += left
        return _completed(await self._task.over(), self._task)


class _Channel:
    """A TCP connection from the host."""

    def __init__(self, host: str, task: Task) -> None:
        self._host = host
        self._task = task

    async def read(self, most: int) -> bytes:
        """At least one byte and at most `most`; none at the end."""
        data = await _take(self._task, most)
        if not data and not self._task.output_ended:
            said = (self._task.result or {}).get("said", "it has ended")
            # Of this channel only: the link itself is there.
            raise ConnectionFailed(self._host, f"the other side broke the connection ({said})")
        return data

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is slow."""
        await self._task.write(data)

    async def write_eof(self) -> None:
        """Say that nothing more will be sent."""
        await self._task.write_eof()


async def _take(task: Task, most: int | None = None) -> bytes:
    """Some of the output of a task; none at its end."""
    await task.until(lambda: task.stdout or task.output_ended)
    data = bytes(task.stdout[:most])
    del task.stdout[: len(data)]
    await task.take(len(data))
    return data


def _run(
    argv: Sequence[str], cwd: str | None, env: Mapping[str, str] | None, *, stdin: bool
) -> dict[str, Any]:
    return {"argv": list(argv), "cwd": cwd or "", "env": dict(env or {}), "stdin": stdin}


def _completed(result: Mapping[str, Any], task: Task) -> Completed:
    stderr = bytes(task.stderr)
    if "not_started" in result:
        stderr += os.fsencode(result["not_started"]) + b"\n"
    return Completed(result["status"], bytes(task.stdout), stderr)


def _part() -> str:
    """A name for something until all of it is there."""
    return f".{secrets.token_hex(8)}.part"
