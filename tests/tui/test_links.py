"""The links on the screens: a line everywhere, a screen with all there is, one key to connect."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.tui.moment import NOW
from tests.tui.opened import LARGE, SMALL, Hand, drawn, notices, opened, press, until_drawn, until_on
from tests.tui.recorded import RecordedWorkbench, benchmark, job
from tests.waiting import until
from workbench.errors import ConnectionFailed, LinkLost, LoginRefused
from workbench.model.job import JobState
from workbench.model.link import Link, LinkChange, LinkCommand, LinkState, LinkStatus

UP = LinkStatus(
    "csd3",
    "login-q",
    Link(LinkState.CONNECTED, NOW - 60, heard_at=NOW - 1, node="login-q-2"),
    history=(
        LinkChange(NOW - 61, LinkState.CONNECTING, ""),
        LinkChange(NOW - 60, LinkState.CONNECTED, ""),
    ),
    commands=(
        LinkCommand(NOW - 5, "squeue -h [red]x", 0.21, ""),
        LinkCommand(NOW - 3, "sacct\x1b[2J", 2.5, "the link was lost"),
    ),
)
WAITING = LinkStatus(
    "lab",
    "lab.example",
    Link(
        LinkState.WAITING,
        NOW - 8,
        heard_at=NOW - 300,
        next_try_at=NOW + 8,
        node="lab.example",
        why="no answer",
    ),
)
NEEDS_CODE = LinkStatus(
    "csd3",
    "login-q",
    Link(LinkState.OFFLINE, NOW - 8, heard_at=NOW - 720, why="it was lost", asked=True, needs_user=True),
)
UNUSED = LinkStatus("far", "far.example", Link())


def with_links(*links: LinkStatus) -> RecordedWorkbench:
    workbench = RecordedWorkbench()
    workbench.add(job("aaaaaa", name="run"), benchmark(5))
    workbench.known_links = links
    return workbench


def line(hand: Hand) -> str:
    """The line above the keys."""
    return drawn(hand).splitlines()[-2]


async def test_where_everything_is_on_this_machine_nothing_is_said_of_links() -> None:
    async with opened(with_links()) as hand:
        assert "connected" not in drawn(hand)


async def test_a_profile_that_nobody_uses_takes_no_room() -> None:
    async with opened(with_links(UNUSED)) as hand:
        assert "far" not in line(hand)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_every_screen_says_how_the_links_in_use_are(size: tuple[int, int]) -> None:
    async with opened(with_links(UP, UNUSED), size=size) as hand:
        await until_drawn(hand, "csd3 ● connected through login-q-2")
        assert "far" not in line(hand)
        await press(hand, "enter")
        await until_on(hand, "RunScreen")
        await until_drawn(hand, "csd3 ● connected through login-q-2")


async def test_a_link_that_waits_says_for_what_and_how_old_things_are() -> None:
    async with opened(with_links(WAITING), size=LARGE) as hand:
        await until_drawn(hand, "lab ◌ waiting, next try in 8s (^l: now), as of 5m ago: no answer")


async def test_a_login_that_needs_the_user_says_which_key_to_press_and_the_key_does_it() -> None:
    workbench = with_links(NEEDS_CODE)
    async with opened(workbench) as hand:
        await until_drawn(hand, "csd3 ✗ offline, needs you: ^l logs in, as of 12m ago")
        await press(hand, "ctrl+l")
        assert ("reconnect", "csd3") in workbench.asked


async def test_the_key_tries_what_is_down_and_leaves_what_is_up() -> None:
    workbench = with_links(UP, WAITING, UNUSED)
    async with opened(workbench) as hand:
        await press(hand, "ctrl+l")
        assert [who for what, who in workbench.asked if what == "reconnect"] == ["lab"]
        workbench.known_links = (UP,)
        await press(hand, "ctrl+l")
        assert [who for what, who in workbench.asked if what == "reconnect"] == ["lab", "csd3"]


async def test_a_refused_login_is_said() -> None:
    workbench = with_links(NEEDS_CODE)
    async with opened(workbench) as hand:
        workbench.trouble = LoginRefused("login-q", "it does not let you in")
        await press(hand, "ctrl+l")
        assert "login-q: it does not let you in" in notices(hand)


async def test_a_change_is_drawn_when_it_is_told_and_wakes_those_who_follow() -> None:
    workbench = with_links(WAITING)
    async with opened(workbench) as hand:
        workbench.trouble = LoginRefused("lab", "no connection")
        await until_drawn(hand, "no connection")
        workbench.trouble = None
        asked = len(workbench.asked)
        workbench.known_links = (replace(UP, profile="lab"),)
        workbench.tell_of_links()
        await until_drawn(hand, "lab ● connected")

        async def more() -> int:
            await hand.pause()
            return len(workbench.asked)

        await until(more, lambda number: number > asked)


async def test_the_screen_of_links_shows_the_history_and_the_commands_as_they_were() -> None:
    async with opened(with_links(UP, WAITING, UNUSED), size=LARGE) as hand:
        await press(hand, "L")
        await until_on(hand, "LinksScreen")
        await until_drawn(hand, "squeue -h [red]x")
        text = drawn(hand)
        assert "↻ connecting" in text
        assert "2.50 s  sacct  ✗ the link was lost" in text
        assert "far.example" in text
        assert "not used yet" in text
        await press(hand, "escape")
        await until_on(hand, "JobsScreen")


async def test_the_screen_of_links_says_where_there_are_none() -> None:
    async with opened(with_links(), size=LARGE) as hand:
        await press(hand, "L")
        await until_drawn(hand, "All profiles run on this machine")


async def test_what_cannot_be_done_without_a_link_is_kept_only_with_consent() -> None:
    workbench = with_links(WAITING)
    workbench.add(job("bbbbbb", JobState.FAILED, name="old", age_s=900))
    async with opened(workbench) as hand:
        workbench.trouble = ConnectionFailed("lab", "no connection since 12:03 (no answer)")
        await press(hand, "c", "y")
        await until_drawn(hand, "as soon as the link is back")
        await press(hand, "n")
        assert ("cancel later", "aaaaaa") not in workbench.asked
        await press(hand, "c", "y")
        await until_drawn(hand, "as soon as the link is back")
        await press(hand, "y")
        assert ("cancel later", "aaaaaa") in workbench.asked
        await press(hand, "G", "r")
        await until_drawn(hand, "as soon as the link is back")
        await press(hand, "y")
        assert ("submit later", "bbbbbb") in workbench.asked
        assert "◌ needs link" in drawn(hand)


async def test_what_may_have_happened_is_not_offered_to_be_done_again() -> None:
    workbench = with_links(UP)
    async with opened(workbench) as hand:
        workbench.trouble = LinkLost("lab", "the connection was lost")
        await press(hand, "c", "y")
        assert "lab: the connection was lost" in notices(hand)
        assert "as soon as the link is back" not in drawn(hand)
