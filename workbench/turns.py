"""Turns: a key that was pressed goes before whatever else there is to do."""

from __future__ import annotations

import asyncio
import time

_HOLD_S = 0.06
"""How long everything else steps aside for a key: about as long as its answer takes."""
_REST_S = 0.06
"""How long it then goes on at least, however many keys are pressed."""


class Turns:
    """Asked by work that goes on by itself, between two pieces of it.

    The answer to a key takes several turns of the event loop. With a piece of other work in each of them it
    would come late, though each piece is small.
    """

    def __init__(self) -> None:
        self._held_until = 0.0

    def key_pressed(self) -> None:
        """Have other work step aside for a moment."""
        now = time.monotonic()
        if now >= self._held_until + _REST_S:
            self._held_until = now + _HOLD_S

    async def give(self) -> None:
        """Let others go first: for one turn of the event loop, or until a key is answered."""
        await asyncio.sleep(max(0.0, self._held_until - time.monotonic()))
