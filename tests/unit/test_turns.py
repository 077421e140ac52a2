from __future__ import annotations

import asyncio
import time

import pytest

from workbench.turns import Turns


class _Clock:
    """Time that goes on only while somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(asyncio, "sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    return _Clock(monkeypatch)


async def test_work_goes_on_at_once_where_no_key_was_pressed(clock: _Clock) -> None:
    await Turns().give()
    assert clock.now == 100.0


async def test_work_steps_aside_for_a_key(clock: _Clock) -> None:
    turns = Turns()
    turns.key_pressed()
    await turns.give()
    held = clock.now - 100.0
    assert held > 0
    await turns.give()
    assert clock.now == 100.0 + held


async def test_work_goes_on_while_a_key_is_held_down(clock: _Clock) -> None:
    turns = Turns()
    waited = 0.0
    while clock.now < 110.0:
        turns.key_pressed()
        before = clock.now
        await turns.give()
        waited += clock.now - before
        clock.now += 0.001  # the work
    assert 0.2 < waited / 10 < 0.8
