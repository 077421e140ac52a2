"""Pace: how often a cluster's queue is asked for.

Squeue(1) warns of loops, and sites slow down users who ask too often. So an answer holds for a while:
shortly after something has changed or was done, longer and longer while nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic

FASTEST_S = 2.0
SLOWEST_S = 15.0
_GROWTH = 1.5


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
        self._fastest_s = fastest_s
        self._slowest_s = slowest_s
        self._clock = clock
        self._asked_at: float | None = None
        self._covered: frozenset[str] = frozenset()

    def is_due(self, job_ids: Iterable[str]) -> bool:
        """Whether to ask now: the last answer is old, or has nothing on one of these jobs."""
        if self._asked_at is None or not self._covered.issuperset(job_ids):
            return True
        return self._clock() - self._asked_at >= self.interval_s

    def asked(self, job_ids: Iterable[str], *, changed: bool) -> None:
        """An answer came; whether it was news."""
        slower = min(self.interval_s * _GROWTH, self._slowest_s)
        self.interval_s = self._fastest_s if changed else slower
        self._covered = frozenset(job_ids)
        self._asked_at = self._clock()

    def stir(self) -> None:
        """Something was done whose effect is waited for."""
        self.interval_s = self._fastest_s
        self._asked_at = None
