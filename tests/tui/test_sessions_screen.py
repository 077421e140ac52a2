"""The screen of sessions, by its keys."""

from __future__ import annotations

import pytest

from tests.tui.moment import NOW
from tests.tui.opened import Hand, notices, opened, press, until_on
from tests.tui.recorded import RecordedWorkbench
from tests.tui.recorded_sessions import view
from tests.waiting import until
from workbench.errors import NotAllowed
from workbench.model.job import JobState
from workbench.model.session import Kernel, SessionKind

BUSY = Kernel("k1", "python3", busy=True, connections=1, last_activity="")


@pytest.fixture
def workbench() -> RecordedWorkbench:
    workbench = RecordedWorkbench(("csd3",))
    workbench.desk.views = [
        view("ab23", NOW, left_s=540.0, kernels=(BUSY,)),
        view("cd45", NOW, kind=SessionKind.SHELL, node="cpu-q-3"),
        view("ef67", NOW, state=JobState.PENDING, reason="QOSMaxJobsPerUserLimit"),
        view("gh89", NOW, state=JobState.TIMEOUT),
    ]
    return workbench


def shown(hand: Hand) -> str:
    return "\n".join(strip.text for strip in hand.app.screen._compositor.render_strips())


async def test_s_shows_the_sessions_with_what_is_left_of_their_time(workbench: RecordedWorkbench) -> None:
    async with opened(workbench) as hand:
        await press(hand, "S")
        await until_on(hand, "SessionsScreen")
        text = await until(lambda: _text(hand), lambda text: "ab23" in text)
        assert "0:09:00" in text
        assert "0:30:00" in text
        assert "gpu-q-17" in text
        assert "1 kernel computes" in text
        assert "secret" not in text
        await press(hand, "j", "down")
        await press(hand, "escape")
        await until_on(hand, "JobsScreen")


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        ("n", ("start session", "jupyter")),
        ("t", ("start session", "shell")),
        ("i", ("start session", "sintr")),
        ("enter", ("browse", "ab23")),
        ("R", ("renew", "ab23")),
        ("v", ("vscode", "ab23")),
        ("x", ("forget", "ab23")),
    ],
)
async def test_a_key_does_what_it_says(
    workbench: RecordedWorkbench, key: str, asked: tuple[str, str]
) -> None:
    async with opened(workbench) as hand:
        await press(hand, "S")
        await until_on(hand, "SessionsScreen")
        await press(hand, key)
        await until(lambda: _asked(workbench), lambda done: asked in done)


async def test_stopping_asks_first_and_names_the_kernels_that_compute(workbench: RecordedWorkbench) -> None:
    async with opened(workbench) as hand:
        await press(hand, "S")
        await until_on(hand, "SessionsScreen")
        await press(hand, "c")
        await until_on(hand, "ConfirmScreen")
        assert "1 kernel computes." in shown(hand)
        await press(hand, "n")
        await until_on(hand, "SessionsScreen")
        assert ("stop", "ab23") not in workbench.asked
        await press(hand, "c")
        await until_on(hand, "ConfirmScreen")
        await press(hand, "y")
        await until(lambda: _asked(workbench), lambda done: ("stop", "ab23") in done)


async def test_a_session_that_is_about_to_end_is_warned_of_once(workbench: RecordedWorkbench) -> None:
    async with opened(workbench) as hand:
        notes = await until(lambda: _notes(hand))
        assert notes == ["Session ab23 ends in less than 10 min; 1 kernel computes."]


async def test_a_refusal_is_said(workbench: RecordedWorkbench) -> None:
    workbench.desk.refusal = NotAllowed("Session ab23 is renewed already.")
    async with opened(workbench) as hand:
        await press(hand, "S")
        await until_on(hand, "SessionsScreen")
        await press(hand, "R")
        await until(lambda: _notes(hand), lambda notes: "Session ab23 is renewed already." in notes)


async def test_without_sessions_the_screen_says_how_to_have_one() -> None:
    async with opened(RecordedWorkbench()) as hand:
        await press(hand, "S")
        await until_on(hand, "SessionsScreen")
        assert "No sessions yet." in await until(lambda: _text(hand), lambda text: "No sessions" in text)


async def _text(hand: Hand) -> str:
    return shown(hand)


async def _asked(workbench: RecordedWorkbench) -> list[tuple[str, str]]:
    return workbench.asked


async def _notes(hand: Hand) -> list[str]:
    return notices(hand)
