"""LinksOnScreens: the line with the links, put on whatever screen is on top."""

from __future__ import annotations

from collections.abc import Sequence

from textual.screen import ModalScreen, Screen
from textual.widgets import Footer

from workbench.model.link import LinkStatus
from workbench.screens.links import LinksScreen
from workbench.widgets.link_status import LinkStatusBar


class LinksOnScreens:
    """Has every screen say how the links are, without the screens knowing of it."""

    def __init__(self, key: str) -> None:
        """Name `key` as what the user presses to be connected."""
        self._key = key
        self._up: frozenset[str] = frozenset()

    def draw(self, screen: Screen[object], links: Sequence[LinkStatus], now: float) -> None:
        """Show the links on a screen; one that lies over another leaves that to the one beneath."""
        if isinstance(screen, LinksScreen):
            screen.show(links, now)
        if isinstance(screen, ModalScreen) or not screen.is_mounted:
            return
        if bars := screen.query(LinkStatusBar):
            bars.first().show(links, now)
        elif any(status.in_use for status in links):
            bar = LinkStatusBar(self._key)
            footer = screen.query(Footer)
            screen.mount(bar, before=footer.first() if footer else None)
            bar.show(links, now)

    def has_come_back(self, links: Sequence[LinkStatus]) -> bool:
        """Whether any link is up that was not at the last look."""
        before = self._up
        self._up = frozenset(status.profile for status in links if status.link.state.is_up)
        return bool(self._up - before)
