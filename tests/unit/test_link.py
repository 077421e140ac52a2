"""Where a connection is: whatever happens in whatever order, only a person leads to a second login."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.model.link import Link, LinkState, LinkStatus, Patience

PATIENCE = Patience()
DIALS = (
    "unreached",
    "broken",
    "refused",
    "connected",
    "asked, unreached",
    "asked, connected",
    "asked, refused",
)
OTHERS = ("wanted", "pressed", "hurried", "late", "heard", "lost", "time")


def dialled(link: Link, now: float, how: str) -> Link:
    """An attempt from its beginning to its end."""
    link = link.dialling(now, "node")
    if how.startswith("asked"):
        link = link.asking(now, for_login=True).answered(now)
    match how.rpartition(" ")[2]:
        case "unreached":
            return link.unreached(now, "no answer", 1.0)
        case "broken":
            return link.broken_off(now, "it ended", 1.0, PATIENCE)
        case "refused":
            return link.refused(now, "no")
        case _:
            return link.connected(now)


def happened(link: Link, now: float, what: str) -> Link:
    """Anything but an attempt."""
    match what:
        case "wanted":
            return link.wanted(now)
        case "pressed":
            return link.pressed(now)
        case "hurried":
            return link.hurried(now)
        case "late" if link.state.is_up:
            return link.late(now, "slow")
        case "heard" if link.state.is_up:
            return link.heard(now)
        case "lost" if link.state.is_up:
            return link.lost(now, "gone", 1.0, 0)
    return link


@given(st.lists(st.sampled_from(DIALS + OTHERS), max_size=60))
def test_no_order_of_events_leads_to_a_second_login_without_a_key_press(events: list[str]) -> None:
    link, now = Link(), 0.0
    judged = asked = broken = 0
    for event in events:
        now += 100.0
        if event == "pressed":
            if link.state is LinkState.OFFLINE:
                judged = asked = broken = 0
            link = link.pressed(now)
        elif event in OTHERS:
            link = happened(link, now, event)
        elif link.may_dial(now):
            asked += event.startswith("asked")
            judged += event.endswith("refused")
            broken = 0 if event.endswith("connected") else broken + (event == "broken")
            link = dialled(link, now, event)
        assert judged <= 1
        assert asked <= 1
        assert broken <= PATIENCE.broken_logins
        assert (link.next_try_at is not None) == (link.state is LinkState.WAITING)
        assert link.needs_user <= (link.state is LinkState.OFFLINE)


@given(st.lists(st.sampled_from(DIALS + OTHERS), max_size=60))
def test_the_network_is_tried_for_ever_unless_a_person_is_needed(events: list[str]) -> None:
    link, now = Link().wanted(0.0), 0.0
    for event in events:
        now += 100.0
        if event in OTHERS:
            link = happened(link, now, event)
        elif link.may_dial(now):
            link = dialled(link, now, event)
        assert link.state.is_up or link.needs_user or link.may_dial(now + 100.0)


@given(st.integers(0, 10**6), st.floats(0, 10**6), st.booleans(), st.floats(0, 1, exclude_max=True))
def test_pauses_stay_within_their_bounds(failures: int, down_s: float, reached: bool, spread: float) -> None:
    pause = PATIENCE.pause_s(failures, down_s, reached=reached, spread=spread)
    assert 0.75 * PATIENCE.first_s <= pause <= 1.25 * PATIENCE.most_s
    if not reached and down_s < PATIENCE.lately_s:
        assert pause <= 1.25 * PATIENCE.lately_most_s


def test_a_host_that_is_reached_and_fails_is_tried_ever_more_rarely() -> None:
    pauses = [PATIENCE.pause_s(number, 1.0, reached=True, spread=0.5) for number in range(40)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == PATIENCE.most_s


def test_a_late_answer_is_degraded_and_the_next_one_in_time_mends_it() -> None:
    link = Link().wanted(0).dialling(0, "node").connected(1).late(2, "slow")
    assert link.state is LinkState.DEGRADED
    assert link.state.is_up
    assert link.heard(3).state is LinkState.CONNECTED
    assert link.heard(3).why == ""


@pytest.mark.parametrize(("link", "in_use"), [(Link(), False), (Link().wanted(0), True)])
def test_a_profile_is_in_use_once_somebody_has_wanted_it(link: Link, in_use: bool) -> None:
    assert LinkStatus("p", "h", link).in_use is in_use
