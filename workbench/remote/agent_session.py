"""AgentSession: the near end of the agent, `agent.py`, over any two-way stream of bytes.

The stream may begin with whatever a login shell's start-up files print: everything before the agent's
token is dropped, once, so that no command's output is ever mixed with it.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import json
import logging
import secrets
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

from workbench.errors import ConnectionFailed, LinkLost
from workbench.remote.agent import HEADER, PIECE, WINDOW

log = logging.getLogger(__name__)

_NOISE = 1 << 20
"""Bytes that start-up files may print before the agent is given up."""
_SEARCH = (
    "for p in python3 /usr/libexec/platform-python; do command -v $p >/dev/null 2>&1 && "
    'exec $p -ISu -c "{boot}" {size} {token}; done; echo {token} none'
)
_BOOT = "import sys; exec(sys.stdin.buffer.read(int(sys.argv[1]))); main(sys.argv[2])"


class Pipe(Protocol):
    """A command on the host: its two streams, and what it has said last on its stderr."""

    async def read(self) -> bytes:
        """Some of its stdout; none at its end, however often, and by then all of its stderr is there."""

    async def write(self, data: bytes) -> None:
        """To its stdin, waiting while the other side is slow."""

    def close(self) -> None:
        """Let go of it."""

    async def wait_closed(self) -> None:
        """Until nothing of it is left on this side."""

    def said(self) -> str:
        """The end of its stderr."""


class Task:
    """One thing that the agent has been asked for."""

    def __init__(self, session: AgentSession, number: int, *, follows: bool) -> None:
        self._session = session
        self._number = number
        self._follows = follows
        self._room = WINDOW
        self._taken = 0
        self._news = asyncio.Event()
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.begun = False
        self.output_ended = False
        self.result: dict[str, Any] | None = None

    # -- what comes in -----------------------------------------------------------------------------

    async def hear(self, kind: bytes, data: bytes) -> None:
        """One frame."""
        if kind == b"O":
            self.stdout += data
            self.output_ended |= not data
            if not self._follows:
                await self.take(len(data))
        elif kind == b"e":
            self.stderr += data
            await self.take(len(data))
        elif kind == b"S":
            self.begun = True
        elif kind == b"T":
            self._room += int(data)
        elif kind == b"X":
            self.result = json.loads(data)
        self._news.set()

    def wake(self) -> None:
        """Have those who wait look again."""
        self._news.set()

    async def until(self, ready: Callable[[], object]) -> None:
        """Wait until it has come that far, or is over."""
        while not ready() and self.result is None:
            self._session.check()
            self._news.clear()
            await self._news.wait()

    async def over(self) -> dict[str, Any]:
        """Its result."""
        await self.until(lambda: False)
        assert self.result is not None
        return self.result

    # -- what goes out -----------------------------------------------------------------------------

    async def take(self, size: int) -> None:
        """Make room for so much more output; said now and then only."""
        self._taken += size
        if self._taken >= WINDOW // 4 and self.result is None:
            taken, self._taken = self._taken, 0
            await self._session.send(b"C", self._number, str(taken).encode())

    async def write(self, data: bytes) -> None:
        """Send input, as far as it has not ended, waiting while there is no room."""
        for start in range(0, len(data), PIECE):
            await self.until(lambda: self._room > 0)
            if self.result is not None:
                return
            piece = data[start : start + PIECE]
            self._room -= len(piece)
            await self._session.send(b"I", self._number, piece)

    async def write_eof(self) -> None:
        """End its input."""
        if self.result is None:
            await self._session.send(b"E", self._number, b"")


class AgentSession:
    """An agent that runs at the other end of a pipe."""

    def __init__(self, host: str, pipe: Pipe) -> None:
        self._host = host
        self._pipe = pipe
        self._tasks: dict[int, Task] = {}
        self._last = 0
        self._sending = asyncio.Lock()
        self._received = bytearray()
        self._heard = 0
        self._hearing = asyncio.Event()
        self._lost: str | None = None
        self._tell: Callable[[], None] = lambda: None
        self._background: list[asyncio.Task[None]] = []

    @property
    def alive(self) -> bool:
        """Whether anything can be asked of it."""
        return self._lost is None

    def check(self) -> None:
        """Raise where it is gone.

        Raises:
            LinkLost: It is.
        """
        if self._lost is not None:
            raise LinkLost(self._host, self._lost)

    async def begin(self, token: str, ping_s: float) -> None:
        """Send the agent over, and wait until it answers."""
        try:
            await self._pipe.write(_source())
        except LinkLost:
            # A shell that ends at once takes nothing: what it said before that is the better reason.
            while len(self._received) <= _NOISE and (data := await self._pipe.read()):
                self._received += data
            if token.encode() not in self._received and not _last_words(self._pipe):
                raise
        said = await self._after(f"{token} ".encode())
        if said != b"here":
            reason = "there is no Python 3 on it that could be found; have it on the PATH of ssh commands"
            raise ConnectionFailed(self._host, reason)
        self._background = [asyncio.create_task(self._listen()), asyncio.create_task(self._watch(ping_s))]

    async def _after(self, token: bytes) -> bytes:
        """What follows the token on its line."""
        while True:
            _, found, rest = self._received.partition(token)
            line, ended, after = rest.partition(b"\n")
            if found and ended:
                self._received = after
                return bytes(line)
            data = await self._pipe.read()
            if not data or len(self._received) > _NOISE:
                said = _last_words(self._pipe) or "it said nothing"
                raise ConnectionFailed(self._host, f"commands cannot be run there ({said}); try `ssh` to it")
            self._received += data

    @asynccontextmanager
    async def task(self, what: str, *, follows: bool = False, **asked: object) -> AsyncIterator[Task]:
        """Ask for something; leaving before it is over ends it there.

        With `follows` somebody takes its output as it comes.
        """
        self._last += 1
        number = self._last
        task = self._tasks[number] = Task(self, number, follows=follows)
        try:
            await self.send(b"Q", number, json.dumps({"do": what, **asked}).encode())
            yield task
        finally:
            del self._tasks[number]
            if task.result is None and self.alive:
                with suppress(ConnectionFailed):
                    await self.send(b"K", number, b"")

    async def send(self, kind: bytes, number: int, data: bytes) -> None:
        """Send one frame."""
        async with self._sending:
            self.check()
            try:
                await self._pipe.write(HEADER.pack(kind, number, len(data)) + data)
            except ConnectionFailed as error:
                self._lose(error.reason)
                raise

    def when_lost(self, tell: Callable[[], None]) -> None:
        """Have somebody told as soon as it is gone."""
        self._tell = tell

    async def beat(self, within_s: float) -> None:
        """Have it say something.

        Raises:
            LinkLost: It did not in that time, and is given up.
        """
        heard = self._heard
        try:
            async with asyncio.timeout(within_s):
                await self.send(b"P", 0, b"")
                while self._heard == heard:
                    self.check()
                    self._hearing.clear()
                    await self._hearing.wait()
        except TimeoutError:
            self._lose(f"it has not answered for {within_s:g} s")
            self.check()

    async def close(self) -> None:
        """Let go of it; it ends, with everything that it does."""
        self._lose("the connection was closed")
        self._pipe.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._pipe.wait_closed()

    # -- listening ---------------------------------------------------------------------------------

    async def _listen(self) -> None:
        try:
            while True:
                kind, number, length = HEADER.unpack(await self._exactly(HEADER.size))
                data = await self._exactly(length)
                if number in self._tasks:
                    await self._tasks[number].hear(kind, data)
        except ConnectionFailed as error:
            self._lose(error.reason)

    async def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            data = await self._pipe.read()
            if not data:
                raise LinkLost(self._host, _last_words(self._pipe) or "the connection has ended")
            self._heard += 1
            self._hearing.set()
            self._received += data
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    async def _watch(self, ping_s: float) -> None:
        """Notice a link that has died without saying so."""
        with suppress(ConnectionFailed):
            while True:
                await self.beat(ping_s)
                await asyncio.sleep(ping_s)

    def _lose(self, reason: str) -> None:
        if self._lost is None:
            self._lost = reason
            self._pipe.close()
            for task in self._tasks.values():
                task.wake()
            self._hearing.set()
            self._tell()


def command() -> tuple[str, str]:
    """What to have the host's shell run, and the token that the agent will show.

    It reads the same in sh, csh and fish: one word in single quotes, without the few characters that
    they disagree on.
    """
    token = secrets.token_hex(8)
    search = _SEARCH.format(boot=_BOOT, size=len(_source()), token=token)
    return f"exec /bin/sh -c {shlex.quote(search)}", token


def _last_words(pipe: Pipe) -> str:
    """The last line of its stderr, of what can be printed."""
    lines = [line for line in pipe.said().splitlines() if line.strip()]
    return "".join(letter for letter in lines[-1] if letter.isprintable()).strip() if lines else ""


def _source() -> bytes:
    return importlib.resources.files("workbench.remote").joinpath("agent.py").read_bytes()
