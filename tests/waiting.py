"""The one place where tests wait: for a condition, never for a length of time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

_T = TypeVar("_T")

PATIENCE_S = 60.0
"""Far longer than anything takes: it ends a test that hangs, and decides nothing else."""
_POLL_S = 0.02


async def until(ask: Callable[[], Awaitable[_T]], holds: Callable[[_T], bool] = bool) -> _T:
    """The first answer of `ask` for which the condition holds."""
    answer: object = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = found = await ask()
                if holds(found):
                    return found
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise AssertionError(f"It did not come true; the last answer was {answer!r}.") from None
