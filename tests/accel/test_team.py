"""Threads that share a piece of work: all of it is done, what goes wrong is told, and none is left over."""

from __future__ import annotations

import gc
import threading
import time
from itertools import pairwise

import pytest

from accel.evaluator import team as team_module
from accel.evaluator.team import Team

SHARES = [(0, 3), (3, 5), (5, 9)]


@pytest.fixture(params=["awake", "asleep"])
def team(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Team:
    """One whose threads look for work before they sleep, and one whose threads sleep at once."""
    monkeypatch.setattr(team_module, "usable_cores", lambda: 3 if request.param == "awake" else 1)
    return Team(3)


def test_every_share_is_worked_on_by_a_thread_of_its_own_and_answers_are_in_order(team: Team) -> None:
    together = threading.Barrier(3, timeout=60)

    def work(start: int, stop: int) -> tuple[int, int]:
        together.wait()
        return start + stop, threading.get_ident()

    for _ in range(200):
        answers = team.over(work, SHARES)
        assert [total for total, _ in answers] == [3, 8, 14]
        assert len({thread for _, thread in answers}) == 3
        assert answers[0][1] == threading.get_ident()


def test_fewer_shares_than_threads(team: Team) -> None:
    assert team.over(max, SHARES[:2]) == [3, 5]
    assert team.over(max, SHARES[:1]) == [3]
    assert team.over(max, SHARES) == [3, 5, 9]


@pytest.mark.parametrize("share", SHARES)
def test_what_goes_wrong_is_raised_after_all_have_ended_and_the_team_works_on(
    team: Team, share: tuple[int, int]
) -> None:
    ended = []

    def work(*given: int) -> None:
        if given == share:
            raise ValueError(f"in {given}")
        time.sleep(0.01)
        ended.append(given)

    with pytest.raises(ValueError, match=rf"in \({share[0]}, {share[1]}\)"):
        team.over(work, SHARES)
    assert sorted([*ended, share]) == SHARES
    assert team.over(max, SHARES) == [3, 5, 9]


def test_nothing_is_worked_on_by_two_pieces_of_work_at_once_after_an_interrupt(team: Team) -> None:
    spans: list[tuple[float, float]] = []

    def slow(start: int, _: int) -> None:
        if start == 0:
            raise KeyboardInterrupt
        began = time.monotonic()
        time.sleep(0.02)
        spans.append((began, time.monotonic()))

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            team.over(slow, SHARES[:2])
    assert len(spans) == 3
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def test_its_threads_end_with_it() -> None:
    others = set(threading.enumerate())
    team = Team(3)
    team.over(max, SHARES)
    helpers = set(threading.enumerate()) - others
    assert len(helpers) == 2
    del team
    gc.collect()
    for helper in helpers:
        helper.join(60)
        assert not helper.is_alive()
