"""LinkStatusBar: how the connections are, on every screen, in words."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.widget import Widget

from workbench.model.link import LinkState, LinkStatus
from workbench.plain import plain
from workbench.widgets import words

SYMBOLS = {
    LinkState.CONNECTING: "↻",
    LinkState.ASKING: "?",
    LinkState.CONNECTED: "●",
    LinkState.DEGRADED: "◐",
    LinkState.WAITING: "◌",
    LinkState.OFFLINE: "✗",
}
TONES = {
    LinkState.CONNECTED: "good",
    LinkState.DEGRADED: "slow",
    LinkState.CONNECTING: "slow",
    LinkState.ASKING: "slow",
    LinkState.WAITING: "slow",
    LinkState.OFFLINE: "down",
}
_WORDS = {LinkState.DEGRADED: "slow", LinkState.ASKING: "asks you"}
_FRESH_S = 10.0


class LinkStatusBar(Widget):
    """One line, with every profile whose host is in use; not there where there is none."""

    COMPONENT_CLASSES = {f"link--{tone}" for tone in ("good", "slow", "down")}  # noqa: RUF012
    DEFAULT_CSS = """
    LinkStatusBar {
        height: 1;
        padding: 0 1;
        background: $surface;
        color: $text;
        display: none;
        &.-in-use { display: block; }
        & > .link--good { color: $text-success; }
        & > .link--slow { color: $text-warning; }
        & > .link--down { color: $text-error; }
    }
    """

    def __init__(self, key: str) -> None:
        """Name `key` as what the user presses to be connected."""
        super().__init__()
        self._key = key
        self._parts: Sequence[tuple[str, str, str]] = ()

    def show(self, links: Sequence[LinkStatus], now: float) -> None:
        """Draw these, where anything has changed."""
        used = [status for status in links if status.in_use]
        parts = [
            (plain(status.profile), TONES[status.link.state], link_text(status, now, self._key))
            for status in used
        ]
        if parts != self._parts:
            self._parts = parts
            self.set_class(bool(parts), "-in-use")
            self.refresh()

    def render(self) -> Text:
        """One line."""
        line = Text(no_wrap=True, overflow="ellipsis")
        for index, (profile, tone, text) in enumerate(self._parts):
            line.append("   " if index else "").append(f"{profile} ", "dim")
            line.append(text, self.get_component_rich_style(f"link--{tone}", partial=True))
        return line


def link_text(status: LinkStatus, now: float, key: str) -> str:
    """`● connected`, or what is wrong, what comes next, and how old what is shown is."""
    link = status.link
    text = f"{SYMBOLS[link.state]} {_WORDS.get(link.state, link.state.value)}"
    if link.state.is_up and link.node and link.node != status.host:
        text += f" through {plain(link.node)}"
    if link.needs_user:
        text += f", needs you: {key} logs in" if link.asked else f", stopped: {key} tries again"
    elif link.next_try_at is not None:
        text += f", next try in {max(0, round(link.next_try_at - now))}s ({key}: now)"
    old = None if link.heard_at is None else now - link.heard_at
    if old is not None and (old > _FRESH_S or not link.state.is_up):
        text += f", as of {words.age(old)} ago"
    if link.why and not link.state.is_up:
        text += f": {plain(link.why)}"
    return text
