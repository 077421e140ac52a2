"""How long what is asked of a host waits for a link that is down: not at all, unless the asker says so.

A poll in the background does better to fail at once, and to say how old things are. What a person has
asked for is worth a short wait, and what follows a run is worth any.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from workbench.errors import LinkLost

_T = TypeVar("_T")

ASKED_FOR_S = 8.0
"""For what a person has asked for, and looks at."""
_patience_s: ContextVar[float] = ContextVar("link patience in seconds", default=0.0)


def link_patience_s() -> float:
    """How long the present asker would wait for a link."""
    return _patience_s.get()


@contextmanager
def waiting_for_link(seconds: float) -> Iterator[None]:
    """Whatever is asked of a host in here waits so long for a link that is down."""
    before = _patience_s.set(seconds)
    try:
        yield
    finally:
        _patience_s.reset(before)


async def through_outages(ask: Callable[[], Awaitable[_T]]) -> _T:
    """The answer to something that changes nothing, however often the link is lost before it is there.

    Raises:
        ConnectionFailed: The link does not come back by itself: the user is needed.
    """
    while True:
        with waiting_for_link(math.inf):
            try:
                return await ask()
            except LinkLost:
                continue
