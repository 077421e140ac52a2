"""The app opened on a recorded workbench, and waiting until it has drawn what it was given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from textual.notifications import SeverityLevel
from textual.pilot import Pilot
from textual.screen import Screen

from tests.tui.moment import NOW
from tests.tui.recorded import RECIPES, RecordedWorkbench
from tests.waiting import until
from workbench import app
from workbench.app import WorkbenchApp

Hand = Pilot[None]
SMALL, LARGE = (80, 24), (160, 50)


class RememberingApp(WorkbenchApp):
    """The app, knowing what it has said: a notice is gone before a slow machine comes to look at it."""

    CSS_PATH = str(Path(app.__file__).with_name("app.tcss"))

    def __init__(self, workbench: RecordedWorkbench, open_job: str | None) -> None:
        """With the clock standing still."""
        super().__init__(workbench, open_job, clock=lambda: NOW, recipes=lambda: RECIPES)
        self.said: list[str] = []

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        self.said.append(message)
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=markup)


@asynccontextmanager
async def opened(
    workbench: RecordedWorkbench, open_job: str | None = None, *, size: tuple[int, int] = SMALL
) -> AsyncIterator[Hand]:
    """A hand on the keyboard of the running app."""
    async with RememberingApp(workbench, open_job).run_test(size=size) as hand:
        await settled(hand)
        if open_job in workbench.known:
            await until_on(hand, "RunScreen")
            await settled(hand)
        yield hand


async def until_on(hand: Hand, screen: str) -> None:
    """Wait until a screen of that class is on top and drawn."""

    async def ask() -> str:
        await hand.pause()
        return type(hand.app.screen).__name__ if hand.app.screen.is_mounted else ""

    await until(ask, lambda name: name == screen)


async def until_drawn(hand: Hand, text: str) -> None:
    """Wait until a text stands on the screen."""

    async def ask() -> str:
        await hand.pause()
        return drawn(hand)

    await until(ask, lambda screen: text in screen)
    await settled(hand)


async def until_gone(hand: Hand, text: str) -> None:
    """Wait until a text does not stand on the screen any more."""

    async def ask() -> bool:
        await hand.pause()
        return text not in drawn(hand)

    await until(ask)


async def settled(hand: Hand) -> None:
    """Wait until the schedulers were asked once and every chart shows what it was given."""
    asking = hand.app
    assert isinstance(asking, WorkbenchApp)

    async def ask() -> bool:
        await hand.pause()
        return asking.has_asked and charts_settled(asking.screen)

    await until(ask)


async def still(hand: Hand) -> None:
    """Wait until nothing on the screen changes from one look to the next, several times over."""
    looks: list[str] = []

    async def ask() -> bool:
        await settled(hand)
        looks.append(drawn(hand))
        return len(looks) > 4 and len(set(looks[-4:])) == 1

    await until(ask)


def charts_settled(screen: Screen[object]) -> bool:
    return all(getattr(each, "is_settled", True) for each in (screen, *screen.query("Chart")))


async def press(hand: Hand, *keys: str) -> None:
    """Press keys, one after the other, and wait for what they do."""
    for key in keys:
        await hand.press(key)
    await settled(hand)


def drawn(hand: Hand) -> str:
    """The text on the screen, a line each."""
    lines = hand.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in lines)


def notices(hand: Hand) -> list[str]:
    """What was said in notifications, oldest first."""
    assert isinstance(hand.app, RememberingApp)
    return hand.app.said
