"""Link: where a connection to a host is, and what may be done about it. Values in, values out.

    OFFLINE ──press──► WAITING ──its time──► CONNECTING ◄──► ASKING
       ▲                  ▲                     │
       │ refused,         │ not reached,        ▼
       │ or the user      └ lost ────────── CONNECTED ◄──► DEGRADED
       └ was asked ─────────────────────────────┘

Only a person leads out of OFFLINE, and only WAITING leads to a login. So no clock ever repeats a login
that was refused, or one that the user had to answer something for: a lock-out cannot come about.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class LinkState(StrEnum):
    """Where a connection is."""

    CONNECTING = "connecting"
    """The host is being reached, and logged in to."""
    ASKING = "asking"
    """The user is asked for something."""
    CONNECTED = "connected"
    DEGRADED = "degraded"
    """It answers, and late."""
    WAITING = "waiting"
    """The next attempt comes by itself."""
    OFFLINE = "offline"
    """Nothing is tried before somebody wants it."""

    @property
    def is_up(self) -> bool:
        """Whether commands go through."""
        return self in (LinkState.CONNECTED, LinkState.DEGRADED)


@dataclass(frozen=True, slots=True)
class Patience:
    """How soon the network is tried again."""

    first_s: float = 0.25
    growth: float = 1.5
    lately_s: float = 120.0
    """For so long after a loss, a host that does not answer is tried at least every `lately_most_s`."""
    lately_most_s: float = 1.0
    most_s: float = 45.0
    quick: int = 4
    """So many attempts in a row before the pauses grow."""
    steady_s: float = 1.0
    """A connection that lives so long has not failed."""
    broken_logins: int = 3
    """So many logins in a row that end without an answer count as a refusal."""

    def pause_s(self, failures: int, down_s: float, *, reached: bool, spread: float) -> float:
        """How long to wait before the next attempt.

        Args:
            failures: How many attempts, or short-lived connections, there were in a row.
            down_s: Since when there has been none.
            reached: Whether anything answered at the host's address: then a login costs it something.
            spread: In [0, 1): so that a thousand programs do not come back in the same moment.
        """
        # A power of a large count would not fit a float.
        grown = min(max(0, failures - self.quick), 64)
        pause = min(self.most_s, self.first_s * self.growth**grown)
        if not reached and down_s < self.lately_s:
            pause = min(pause, self.lately_most_s)
        return pause * (0.75 + 0.5 * spread)


@dataclass(frozen=True, slots=True)
class Link:
    """A connection at one moment. All times are seconds since 1970."""

    state: LinkState = LinkState.OFFLINE
    since: float = 0.0
    """Since when it is in this state."""
    heard_at: float | None = None
    """When the host last answered."""
    next_try_at: float | None = None
    """When the next attempt comes by itself."""
    attempts: int = 0
    """Since it was last connected."""
    failures: int = 0
    """In a row, short-lived connections included."""
    broken: int = 0
    """Logins in a row that ended without an answer."""
    down_since: float | None = None
    """Since when there has been no connection, where there was one or was to be one."""
    node: str = ""
    """The login node that is used, or was last."""
    why: str = ""
    """Why it is not connected."""
    asked: bool = False
    """Whether the user had to answer something for the newest login."""
    needs_user: bool = False
    """Whether nothing goes on before the user says so."""

    # -- what somebody wants -------------------------------------------------------------------------

    def wanted(self, now: float) -> Link:
        """Somebody uses it: the first time, that is reason enough to connect."""
        if self.state is LinkState.OFFLINE and not self.needs_user:
            return self._to(LinkState.WAITING, now, next_try_at=now, down_since=now)
        return self

    def pressed(self, now: float) -> Link:
        """The user wants a connection now: one login may be made, and the network is tried at once."""
        if self.state is LinkState.OFFLINE:
            return self._to(
                LinkState.WAITING,
                now,
                next_try_at=now,
                failures=0,
                broken=0,
                needs_user=False,
                down_since=self.down_since if self.down_since is not None else now,
            )
        return self.hurried(now)

    def hurried(self, now: float) -> Link:
        """The network may be there again: what would be tried later is tried now, and nothing else."""
        return replace(self, next_try_at=now) if self.state is LinkState.WAITING else self

    def may_dial(self, now: float) -> bool:
        """Whether the time has come for an attempt."""
        return self.state is LinkState.WAITING and self.next_try_at is not None and now >= self.next_try_at

    # -- an attempt ------------------------------------------------------------------------------------

    def dialling(self, now: float, node: str) -> Link:
        """An attempt begins."""
        return self._to(
            LinkState.CONNECTING, now, node=node, attempts=self.attempts + 1, asked=False, next_try_at=None
        )

    def asking(self, now: float, *, for_login: bool) -> Link:
        """The user is asked for something: to log in, or whether the host is the right one."""
        return self._to(LinkState.ASKING, now, asked=self.asked or for_login)

    def answered(self, now: float) -> Link:
        """They have answered."""
        return self._to(LinkState.CONNECTING, now)

    def connected(self, now: float) -> Link:
        """The host answers."""
        return self._to(LinkState.CONNECTED, now, heard_at=now, attempts=0, broken=0, down_since=None, why="")

    def unreached(self, now: float, why: str, pause_s: float) -> Link:
        """An attempt failed on the network; where the user has answered in it, they are waited for."""
        return self._down(now, why, pause_s, failures=self.failures + 1)

    def broken_off(self, now: float, why: str, pause_s: float, patience: Patience) -> Link:
        """An attempt ended in the middle of the login, without a word: a refusal may look like that."""
        if self.broken + 1 >= patience.broken_logins:
            return self.refused(now, why)
        return replace(self.unreached(now, why, pause_s), broken=self.broken + 1)

    def refused(self, now: float, why: str) -> Link:
        """The host, or the user, has said no: nothing is tried again by itself."""
        return self._to(LinkState.OFFLINE, now, why=why, needs_user=True, next_try_at=None)

    # -- a connection ------------------------------------------------------------------------------------

    def heard(self, now: float) -> Link:
        """The host has answered."""
        if self.state is LinkState.DEGRADED:
            return self._to(LinkState.CONNECTED, now, heard_at=now, why="")
        return replace(self, heard_at=now)

    def late(self, now: float, why: str) -> Link:
        """An answer takes its time."""
        return self._to(LinkState.DEGRADED, now, why=why) if self.state is LinkState.CONNECTED else self

    def lost(self, now: float, why: str, pause_s: float, failures: int) -> Link:
        """The connection is gone, which may have been one more failure in a row."""
        return self._down(now, why, pause_s, failures=failures, down_since=now)

    # -- inside ------------------------------------------------------------------------------------------

    def _down(
        self, now: float, why: str, pause_s: float, *, failures: int, down_since: float | None = None
    ) -> Link:
        state = LinkState.OFFLINE if self.asked else LinkState.WAITING
        return self._to(
            state,
            now,
            why=why,
            failures=failures,
            needs_user=self.asked,
            next_try_at=None if self.asked else now + pause_s,
            down_since=self.down_since if down_since is None else down_since,
        )

    def _to(self, state: LinkState, now: float, **changed: object) -> Link:
        return replace(self, state=state, since=now, **changed)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class LinkChange:
    """A change of state, for the history."""

    at: float
    state: LinkState
    why: str


@dataclass(frozen=True, slots=True)
class LinkCommand:
    """Something that was done on a host."""

    at: float
    text: str
    """As a person would write it."""
    took_s: float
    outcome: str
    """Empty where it went well."""


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """What is to be shown of a profile's connection."""

    profile: str
    host: str
    link: Link
    history: tuple[LinkChange, ...] = ()
    """The last changes of state, oldest first."""
    commands: tuple[LinkCommand, ...] = ()
    """The last things that were done on the host, oldest first."""

    @property
    def in_use(self) -> bool:
        """Whether anybody has wanted it."""
        return self.link.state is not LinkState.OFFLINE or self.link.needs_user
