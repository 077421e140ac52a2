"""LocalConnection: this machine behind the same protocol as a host that is reached over SSH.

What stands here keeps to what SSH can do: a command that is not there ends with 127 as in a shell,
paths are text, and files arrive whole. Commands run in process groups of their own, so that no key
press in the terminal reaches them, and none outlives the wait for it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

from workbench.errors import CommandFailed, ConnectionFailed, FileFailed, LinkLost
from workbench.ports import ByteStream, Completed, FileChunk, RemoteProcess
from workbench.remote.local_files import put_tree, read_part, reason_of, write_whole

_P = ParamSpec("_P")
_T = TypeVar("_T")

_PIECE = 1 << 16
_NOT_FOUND = 127
_NOT_STARTED = 126
"""What a shell answers for a command that is not there, and for one that cannot be started."""
_DRAIN_S = 2.0
"""How long output is waited for that a process outside the ended group still holds open."""


class LocalConnection:
    """Implements `ports.Connection` on this machine."""

    host = "this machine"

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
        try:
            process = await _start(argv, cwd, env, stdin=bool(stdin), stderr=asyncio.subprocess.PIPE)
        except _NotStarted as error:
            completed = error.completed
        else:
            try:
                stdout, stderr = await process.communicate(stdin or None)
            finally:
                await _end(process)
            completed = Completed(_status(process), stdout, stderr)
        if check and completed.exit_status != 0:
            raise CommandFailed(
                self.host, tuple(argv), completed.exit_status, completed.stderr.decode(errors="replace")
            )
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
        # A file takes any amount of stderr without anybody reading along.
        with tempfile.TemporaryFile() as stderr:
            try:
                process = await _start(argv, cwd, env, stdin=True, stderr=stderr)
            except _NotStarted as error:
                said = error.completed.stderr.decode(errors="replace")
                raise CommandFailed(self.host, tuple(argv), error.completed.exit_status, said) from None
            try:
                yield _LocalProcess(process, stderr)
            finally:
                await _end(process)

    async def read(self, path: str, offset: int = 0, most: int | None = None) -> FileChunk:
        """The file from `offset` on, at most `most` bytes of it."""
        return await self._in_thread(path, read_part, _absolute(path), offset, most)

    async def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Put a file in place whole."""
        await self._in_thread(path, write_whole, _absolute(path), data, mode)

    async def put_tree(self, files: Mapping[str, bytes], folder: str) -> None:
        """Make a folder with these files in it, whole or not at all."""
        for name in files:
            if name.startswith("/") or ".." in name.split("/"):
                raise ValueError(f"{name!r} does not lie inside the folder that is being made.")
        await self._in_thread(folder, put_tree, files, _absolute(folder))

    def open_channel(self, host: str, port: int) -> AbstractAsyncContextManager[ByteStream]:
        """A TCP connection to `host:port`."""
        return self._channel(host, port)

    @asynccontextmanager
    async def _channel(self, host: str, port: int) -> AsyncIterator[ByteStream]:
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            reason = f"nothing answers at {host}:{port} ({error.strerror or error})"
            raise ConnectionFailed(self.host, reason) from error
        try:
            yield _LocalChannel(f"{host}:{port}", reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def close(self) -> None:
        """Nothing is held."""

    async def _in_thread(self, path: str, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Do `work`, which may wait for a disk, without holding up the event loop."""
        try:
            return await asyncio.to_thread(work, *args, **kwargs)
        except OSError as error:
            raise FileFailed(self.host, path, reason_of(error)) from error


class _LocalProcess:
    """A command that is running on this machine."""

    def __init__(self, process: asyncio.subprocess.Process, stderr: IO[bytes]) -> None:
        self._process = process
        self._stderr = stderr

    async def stdout(self) -> AsyncIterator[bytes]:
        """Its output as it comes."""
        assert self._process.stdout is not None
        while piece := await self._process.stdout.read(_PIECE):
            yield piece

    async def write(self, data: bytes) -> None:
        """Send to its standard input; what it does not read any more is dropped."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(data)
            await self._process.stdin.drain()

    async def write_eof(self) -> None:
        """End its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with suppress(BrokenPipeError, ConnectionResetError):
            await self._process.stdin.wait_closed()

    async def wait(self) -> Completed:
        """Its end, with what is left of its stdout."""
        assert self._process.stdout is not None
        rest = await self._process.stdout.read()
        await self._process.wait()
        self._stderr.seek(0)
        return Completed(_status(self._process), rest, await asyncio.to_thread(self._stderr.read))


class _LocalChannel:
    """A TCP connection."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host = host
        self._reader = reader
        self._writer = writer

    async def read(self, most: int) -> bytes:
        """At least one byte and at most `most`; none at the end."""
        with self._losing():
            return await self._reader.read(most)

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is slow."""
        with self._losing():
            self._writer.write(data)
            await self._writer.drain()

    async def write_eof(self) -> None:
        """Say that nothing more will be sent."""
        with self._losing():
            self._writer.write_eof()

    @contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LinkLost(self._host, f"it broke the connection ({error.strerror or error})") from error


class _NotStarted(Exception):
    """A command that could not be started, as a shell would have answered."""

    def __init__(self, exit_status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.completed = Completed(exit_status, b"", f"{sentence}\n".encode(errors="replace"))


async def _start(
    argv: Sequence[str],
    cwd: str | None,
    env: Mapping[str, str] | None,
    *,
    stdin: bool,
    stderr: int | IO[bytes],
) -> asyncio.subprocess.Process:
    """Start a command in a session of its own, in the home folder unless told otherwise."""
    folder = _absolute(cwd or "")
    if not folder.is_dir():
        raise _NotStarted(_NOT_STARTED, f"there is no folder {folder} to run in")
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            cwd=folder,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    except FileNotFoundError:
        raise _NotStarted(_NOT_FOUND, f"{argv[0]}: command not found") from None
    except OSError as error:
        raise _NotStarted(_NOT_STARTED, f"{argv[0]}: {reason_of(error)}") from error


async def _end(process: asyncio.subprocess.Process) -> None:
    """End what is left of a command's process group, and let go of its pipes."""
    assert process.stdout is not None
    if process.returncode is None or not process.stdout.at_eof():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                for output in filter(None, (process.stdout, process.stderr)):
                    while await output.read(_PIECE):
                        pass
        await process.wait()


def _status(process: asyncio.subprocess.Process) -> int:
    assert process.returncode is not None
    return process.returncode


def _absolute(path: str) -> Path:
    return Path.home() / path
