"""LocalConnection: this machine behind the same protocol as a host that is reached over SSH.

What stands here keeps to what SSH can do: a command that is not there ends with 127 as in a shell,
paths are text, and files arrive whole. Commands run in process groups of their own, so that no key
press in the terminal reaches them, and none outlives the wait for it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
import signal
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

from workbench.errors import CommandFailed, ConnectionFailed, FileFailed
from workbench.ports import ByteStream, Completed, FileChunk, RemoteProcess

_P = ParamSpec("_P")
_T = TypeVar("_T")

_PIECE = 1 << 16
_NOT_FOUND = 127
_NOT_STARTED = 126
"""What a shell answers for a command that is not there, and for one that cannot be started."""
_DRAIN_S = 2.0
"""How long output is waited for that a process outside the ended group still holds open."""
_REASONS = {
    errno.ENOENT: "there is no such file or folder",
    errno.EACCES: "permission denied; change the permissions or choose another folder",
    errno.EPERM: "permission denied; change the permissions or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOSPC: "no space left on the disk; make room there and try again",
    errno.EDQUOT: "the disk quota is used up; make room there and try again",
    errno.EFBIG: "the file would be larger than the limit for files (see `ulimit -f`)",
    errno.EISDIR: "it is a folder, not a file",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.ENAMETOOLONG: "the name is too long",
}


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
        return await self._in_thread(path, _read, _absolute(path), offset, most)

    async def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Put a file in place whole."""
        await self._in_thread(path, _write, _absolute(path), data, mode)

    async def put_tree(self, files: Mapping[str, bytes], folder: str) -> None:
        """Make a folder with these files in it, whole or not at all."""
        for name in files:
            if name.startswith("/") or ".." in name.split("/"):
                raise ValueError(f"{name!r} does not lie inside the folder that is being made.")
        await self._in_thread(folder, _put_tree, files, _absolute(folder))

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
            yield _LocalChannel(reader, writer)
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


def reason_of(error: OSError) -> str:
    """What went wrong with a file, and the way out."""
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


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

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, most: int) -> bytes:
        """At least one byte and at most `most`; none at the end."""
        return await self._reader.read(most)

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is slow."""
        self._writer.write(data)
        await self._writer.drain()

    async def write_eof(self) -> None:
        """Say that nothing more will be sent."""
        self._writer.write_eof()


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
                while await process.stdout.read(_PIECE):
                    pass
        await process.wait()


def _status(process: asyncio.subprocess.Process) -> int:
    assert process.returncode is not None
    return process.returncode


def _absolute(path: str) -> Path:
    return Path.home() / path


def _read(path: Path, offset: int, most: int | None) -> FileChunk:
    # Not to wait for a writer, where the path is a named pipe.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb", buffering=0) as file:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        wanted = max(0, status.st_size - offset)
        wanted = wanted if most is None else min(wanted, most)
        data = b""
        if wanted:
            file.seek(offset)
            data = file.read(wanted)  # a regular file gives all of it at once, or its end
        return FileChunk(offset, data, file.seek(0, os.SEEK_END))


def _write(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        _write_new(part, data, mode)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """A new file, on the disk when this returns."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(fd, mode)  # whatever the umask
        os.fsync(fd)


def _put_tree(files: Mapping[str, bytes], folder: Path) -> None:
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{secrets.token_hex(8)}.part")
    with _removed_afterwards(part):
        part.mkdir()
        for name, data in files.items():
            path = part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_new(path, data, 0o644)
        try:
            part.rename(folder)
        except OSError as error:
            # Another has put the same folder there in the meantime.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    _sync_folder(folder.parent)


@contextmanager
def _removed_afterwards(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
