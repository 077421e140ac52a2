"""Pace: how often a cluster's queue is asked for.

Squeue(1) warns of loops, and sites slow down users who ask too often. So an answer holds for a while:
shortly after something has changed or was done, longer and longer while nothing happens, and longest
while nobody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic

FASTEST_S = 2.0
SLOWEST_S = 15.0
IDLE_S = 600.0
"""Without a change, after which nobody waits for one."""
_GROWTH = 1.5
_IDLE_FACTOR = 2.0
_AWAY_FACTOR = 4.0


class Pace:
    """Says whether it is time to ask again."""

    def __init__(
        self,
        fastest_s: float = FASTEST_S,
        slowest_s: float = SLOWEST_S,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.interval_s = fastest_s
        """Between two questions at the moment."""
        self.n_polls = 0
        """That were answered."""
        self._fastest_s = fastest_s
        self._slowest_s = slowest_s
        self._clock = clock
        self._asked_at: float | None = None
        self._changed_at = clock()
        self._covered: frozenset[str] = frozenset()
        self._away = False

    def is_due(self, job_ids: Iterable[str]) -> bool:
        """Whether to ask now: the last answer is old, or has nothing on one of these jobs."""
        if self._asked_at is None or not self._covered.issuperset(job_ids):
            return True
        return self._clock() - self._asked_at >= self.interval_s

    def asked(self, job_ids: Iterable[str], *, changed: bool) -> None:
        """An answer came; whether it was news."""
        self.n_polls += 1
        self._asked_at = self._clock()
        if changed:
            self._changed_at = self._asked_at
        slower = min(self.interval_s * _GROWTH, self._longest())
        self.interval_s = self._fastest_s if changed and not self._away else slower
        self._covered = frozenset(job_ids)

    def stir(self) -> None:
        """Something was done whose effect is waited for."""
        self.interval_s = self._fastest_s
        self._changed_at = self._clock()
        self._asked_at = None

    def attend(self, looking: bool) -> None:
        """Whether somebody looks; who comes back sees no older answer than one who was there all along."""
        self._away = not looking
        if looking:
            self.interval_s = min(self.interval_s, self._longest())

    def _longest(self) -> float:
        if self._away:
            return self._slowest_s * _AWAY_FACTOR
        idle = self._clock() - self._changed_at > IDLE_S
        return self._slowest_s * (_IDLE_FACTOR if idle else 1.0)
