"""LinkKeeper: makes a connection, notices its end, and makes it again, for as long as somebody wants it.

What may be done when is decided by `model.link`; here it is done. One task of its own dials, and nobody
else does, so that there are never two logins at a time.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from workbench.errors import (
    ConnectionFailed,
    HostKeyRefused,
    LinkLost,
    LoginBroken,
    LoginRefused,
    Unreachable,
)
from workbench.model.link import Link, LinkChange, LinkState, Patience
from workbench.ports import Connection, Prompter
from workbench.remote.asking import WitnessedPrompter
from workbench.remote.wake import local_address, slept

log = logging.getLogger(__name__)

_MOST_CHANGES = 50
_CLOSE_S = 5.0


class Living(Connection, Protocol):
    """A connection whose end can be noticed."""

    def when_lost(self, tell: Callable[[], None]) -> None:
        """Have somebody told when it may be gone."""

    async def beat(self, within_s: float) -> None:
        """Have the host say something; returns as soon as it has.

        Raises:
            LinkLost: It did not in that time; whatever is under way on the connection fails as well.
        """


Dial = Callable[[str, Prompter], Awaitable[Living]]
"""Logs in to a login node, by its name, once."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How closely a link is watched."""

    notice_s: float = 10.0
    """Within this time a dead link is noticed."""
    late_s: float = 2.0
    """An answer that takes longer than this is late."""
    dial_s: float = 20.0
    """The most that a login may take, without the time that the user takes to answer."""
    start_s: float = 60.0
    """The most that a host may take for its start-up files."""
    look_s: float = 1.0
    """How often this machine's clock and address are looked at."""
    patience: Patience = field(default_factory=Patience)

    @property
    def rest_s(self) -> float:
        """Between two answers of the host."""
        return 0.3 * self.notice_s

    @property
    def limit_s(self) -> float:
        """For an answer of the host."""
        return 0.6 * self.notice_s


class LinkKeeper:
    """One link, kept up."""

    def __init__(
        self,
        host: str,
        dial: Dial,
        prompter: Prompter,
        *,
        nodes: Sequence[str] = (),
        pace: Pace = Pace(),
        clock: Callable[[], float] = time.time,
        spread: Callable[[], float] = random.random,
        address: Callable[[], str] = local_address,
    ) -> None:
        """Reach `host` by any of its login `nodes`."""
        self.host = host
        self.link = Link()
        self.history: deque[LinkChange] = deque(maxlen=_MOST_CHANGES)
        self._dial = dial
        self._prompter = prompter
        self._nodes = tuple(nodes) or (host,)
        self._node = 0
        self._pace = pace
        self._clock = clock
        self._spread = spread
        self._address = address
        self._tell: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None
        self._connection: Living | None = None
        self._doubted = False
        self._refusal: ConnectionFailed | None = None
        self._changed = asyncio.Event()
        self._stirred = asyncio.Event()

    # -- what others want ------------------------------------------------------------------------------

    def when_changed(self, tell: Callable[[], None]) -> None:
        """Have somebody told of every change of state."""
        self._tell = tell

    async def connection(self, wait_s: float) -> Living:
        """The connection, made first where this is the first time; otherwise waited for a while.

        Raises:
            ConnectionFailed: There is none.
        """
        self._begin()
        self._take(self.link.wanted(self._clock()))
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_s
        while self._connection is None or self._doubted:
            if self.link.state is LinkState.OFFLINE:
                raise self.trouble()
            soon = self._doubted or self._first_attempt
            left = None if soon else end - loop.time()
            if left is not None and left <= 0:
                raise self.trouble()
            await self._change(None if left == math.inf else left)
        return self._connection

    async def reconnect(self) -> None:
        """The user wants a connection: try now, and once where a login needs them.

        Raises:
            ConnectionFailed: There is none after that.
        """
        self._begin()
        while self._doubted:  # it answers in a moment, or is known to be lost
            await self._change(None)
        attempts = self.link.attempts
        self._take(self.link.pressed(self._clock()))
        self._stirred.set()
        while self._connection is None:
            tried = self.link.attempts > attempts and self.link.state is LinkState.WAITING
            if tried or self.link.state is LinkState.OFFLINE:
                raise self.trouble()
            await self._change(None)

    def doubt(self) -> None:
        """A call was lost: the link has to answer before the next one goes on it."""
        self._doubted = self._connection is not None
        self.hurry()

    def hurry(self) -> None:
        """The link may be dead, or the network there again: find out now."""
        self._take(self.link.hurried(self._clock()))
        self._stirred.set()

    def heard(self) -> None:
        """The host has answered somebody."""
        self.link = replace(self.link, heard_at=self._clock())

    def now(self) -> float:
        """The time by the clock of its history."""
        return self._clock()

    def trouble(self) -> ConnectionFailed:
        """Why there is no connection, as a sentence."""
        if self._refusal is not None:
            return type(self._refusal)(self._refusal.host, self._refusal.reason)
        since = time.strftime("%H:%M", time.localtime(self.link.down_since or self.link.since))
        why = self.link.why or "it is being connected to"
        on = "it is tried again by itself"
        if self.link.needs_user:
            on = "a new login needs you: connect again when you are ready"
        return ConnectionFailed(self.host, f"no connection since {since} ({why}); {on}")

    async def close(self) -> None:
        """Let go of it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._let_go()

    # -- keeping it up ---------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"link to {self.host}")
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What nobody foresaw: those who wait hear of it, and the user may try once more."""
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("The link to %s is not kept up any more", self.host, exc_info=error)
            self._refused(ConnectionFailed(self.host, f"it could not be kept up ({error!r}): see the log"))

    async def _keep(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_around())
            while True:
                await self._until_time()
                connection = await self._attempt()
                if connection is not None:
                    await self._watch(connection)

    async def _until_time(self) -> None:
        while not self.link.may_dial(self._clock()):
            self._stirred.clear()
            next_try_at = self.link.next_try_at
            pause = None if next_try_at is None else max(0.0, next_try_at - self._clock())
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stirred.wait()

    async def _attempt(self) -> Living | None:
        """One login to one node, if it comes to that."""
        node = self._nodes[self._node]
        self._refusal = None
        self._take(self.link.dialling(self._clock(), node))
        asking: WitnessedPrompter | None = None
        try:
            async with asyncio.timeout(self._pace.dial_s) as limit:
                asking = self._witnessed(limit)
                connection = await self._dial(node, asking)
        except TimeoutError:
            self._failed(Unreachable(node, f"no login within {self._pace.dial_s:g} s"))
        except (LoginRefused, HostKeyRefused) as error:
            self._refused(asking.refusal(error) if asking else error)
        except ConnectionFailed as error:
            self._failed(error)
        else:
            return await self._started(connection)
        finally:
            if asking is not None:
                asking.over()
        return None

    def _witnessed(self, limit: asyncio.Timeout) -> WitnessedPrompter:
        """The user, who may take their time."""
        loop = asyncio.get_running_loop()

        def needed(for_login: bool) -> None:
            limit.reschedule(None)
            self._take(self.link.asking(self._clock(), for_login=for_login))

        def free() -> None:
            limit.reschedule(loop.time() + self._pace.dial_s)
            self._take(self.link.answered(self._clock()))

        return WitnessedPrompter(self._prompter, needed, free)

    async def _started(self, connection: Living) -> Living | None:
        """The connection, once the host has answered on it."""
        connection.when_lost(self._stirred.set)
        try:
            async with asyncio.timeout(self._pace.start_s):
                await connection.beat(self._pace.start_s)
        except (ConnectionFailed, TimeoutError) as error:
            await self._close(connection)
            lost = isinstance(error, LinkLost | TimeoutError)
            said = (
                str(getattr(error, "reason", "")) or f"nothing could be started in {self._pace.start_s:g} s"
            )
            self._failed((LinkLost if lost else LoginBroken)(self.host, said))
            return None
        except BaseException:
            await self._close(connection)
            raise
        return connection

    async def _watch(self, connection: Living) -> None:
        """Use a connection until it is lost."""
        self._connection, connected_at = connection, self._clock()
        self._take(self.link.connected(connected_at))
        try:
            while True:
                await self._rest()
                await self._beat(connection)
        except ConnectionFailed as error:
            log.info("The link to %s was lost: %s", self.host, error.reason)
            self._connection, self._doubted = None, False
            now = self._clock()
            steady = now - connected_at >= self._pace.patience.steady_s
            failures = 0 if steady else self.link.failures + 1
            pause = 0.0 if steady else self._pause(reached=True, failures=failures, down_since=now)
            self._take(self.link.lost(now, error.reason, pause, failures))
            await self._close(connection)

    async def _rest(self) -> None:
        """Until the next beat is due, or something has happened."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.rest_s):
                await self._stirred.wait()
        self._stirred.clear()

    async def _beat(self, connection: Living) -> None:
        late_s = min(self._pace.late_s, self._pace.limit_s / 2)

        def late() -> None:
            self._take(self.link.late(self._clock(), f"it takes more than {late_s:g} s to answer"))

        waiting = asyncio.get_running_loop().call_later(late_s, late)
        try:
            await connection.beat(self._pace.limit_s)
        finally:
            waiting.cancel()
        self._take(self.link.heard(self._clock()))
        if self._doubted:
            self._doubted = False
            self._signal()

    async def _look_around(self) -> None:
        """Find out at once where this machine has slept, or is in another network."""
        loop = asyncio.get_running_loop()
        wall, mono, address = self._clock(), loop.time(), self._address()
        while True:
            await asyncio.sleep(self._pace.look_s)
            before = wall, mono, address
            wall, mono, address = self._clock(), loop.time(), self._address()
            if slept(wall - before[0], mono - before[1], self._pace.look_s) or address != before[2]:
                log.info("This machine has slept, or is in another network: %s is tried now", self.host)
                self.hurry()

    # -- states ----------------------------------------------------------------------------------------

    @property
    def _first_attempt(self) -> bool:
        """Whether what comes next, or is under way, is the first attempt since it was wanted or lost."""
        state, attempts = self.link.state, self.link.attempts
        return attempts == 0 if state is LinkState.WAITING else attempts <= 1

    def _failed(self, error: ConnectionFailed) -> None:
        """An attempt came to nothing, and the host has not said no."""
        log.info("No connection to %s: %s", self.link.node, error.reason)
        now, link = self._clock(), self.link
        reached = not isinstance(error, Unreachable)
        pause = self._pause(reached=reached, failures=link.failures, down_since=link.down_since or now)
        if isinstance(error, LoginBroken):
            link = link.broken_off(now, error.reason, pause, self._pace.patience)
        else:
            link = link.unreached(now, error.reason, pause)
        if link.needs_user:
            self._refusal = error
        self._next_node()
        self._take(link)

    def _refused(self, error: ConnectionFailed) -> None:
        log.warning("No connection to %s: %s", self.link.node, error.reason)
        self._refusal = error
        self._take(self.link.refused(self._clock(), error.reason))

    def _next_node(self) -> None:
        self._node = (self._node + 1) % len(self._nodes)

    def _pause(self, *, reached: bool, failures: int, down_since: float) -> float:
        down_s = self._clock() - down_since
        # All of the nodes are tried before it is waited longer.
        return self._pace.patience.pause_s(
            failures // len(self._nodes), down_s, reached=reached, spread=self._spread()
        )

    def _take(self, link: Link) -> None:
        """Be in another state, and say so."""
        before, self.link = self.link, link
        last = self.history[-1] if self.history else None
        again = link.state is LinkState.CONNECTING and link.attempts > 1
        if not again and (last is None or (last.state, last.why) != (link.state, link.why)):
            self.history.append(LinkChange(link.since, link.state, link.why))
        if before != link:
            self._signal()

    def _signal(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        self._tell()

    async def _change(self, within_s: float | None) -> None:
        """Until it is in another state."""
        changed = self._changed
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await changed.wait()

    async def _let_go(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await self._close(connection)

    @staticmethod
    async def _close(connection: Living) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await connection.close()
