"""What a host can be asked for, over SSH or on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command left behind."""

    exit_status: int
    """Its exit status; -n where signal n ended it."""
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class FileChunk:
    """Part of a file."""

    offset: int
    """Of its first byte."""
    data: bytes
    size: int
    """Of the whole file at that moment."""


class ByteStream(Protocol):
    """A two-way stream of bytes: a forwarded channel."""

    async def read(self, most: int) -> bytes:
        """At least one byte and at most `most`; none at the end."""

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is slow."""

    async def write_eof(self) -> None:
        """Say that nothing more will be sent."""


class RemoteProcess(Protocol):
    """A command that is running."""

    def stdout(self) -> AsyncIterator[bytes]:
        """Its output as it comes."""

    async def write(self, data: bytes) -> None:
        """Send to its standard input."""

    async def write_eof(self) -> None:
        """End its standard input."""

    async def wait(self) -> Completed:
        """Its end; stdout that was taken from `stdout()` is not in it again."""


class Connection(Protocol):
    """A host on which commands can be run and files read: over SSH, or this machine itself.

    Commands are argument lists; no shell ever reads them. Paths are absolute or relative to the home
    folder. Everything raises `ConnectionFailed` where the host cannot be talked to, `LinkLost` where
    that happened half-way. Time limits belong to the caller.
    """

    host: str
    """For people and messages."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> Completed:
        """Run a command to its end; `env` is added to the host's own.

        Raises:
            CommandFailed: It ended with an exit status other than 0, and `check` is set.
        """

    def stream(
        self, argv: Sequence[str], *, cwd: str | None = None, env: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[RemoteProcess]:
        """Run a command whose output is read as it comes; leaving the context ends it."""

    async def read(self, path: str, offset: int = 0, most: int | None = None) -> FileChunk:
        """The file from `offset` on, at most `most` bytes of it.

        Raises:
            FileFailed: It is not there or cannot be read.
        """

    async def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Put a file in place whole: under a temporary name first, then moved. Makes its folder.

        Raises:
            FileFailed: It cannot be written (no room, no permission); what was there before stays.
        """

    async def put_tree(self, files: Mapping[str, bytes], folder: str) -> None:
        """Make a folder with these files in it, by relative path, whole or not at all.

        Does nothing where the folder is already there.
        """

    def open_channel(self, host: str, port: int) -> AbstractAsyncContextManager[ByteStream]:
        """A TCP connection made from the host to `host:port`."""

    async def close(self) -> None:
        """Let go of it; what runs on the host goes on."""
