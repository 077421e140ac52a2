"""The screen of links: each host's connection, what happened to it, and what was done on it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

from workbench.commands import LINKS, bindings
from workbench.model.link import LinkStatus
from workbench.plain import plain
from workbench.widgets.link_status import SYMBOLS, link_text

_NONE = "All profiles run on this machine: there is no link to keep up."
_MOST_SHOWN = 12


class LinksScreen(Screen[None]):
    """All links, one below the other."""

    CSS_PATH = "links.tcss"
    COMMANDS_HERE = LINKS
    BINDINGS = bindings(LINKS)

    def __init__(self, key: str, links: Sequence[LinkStatus], now: float) -> None:
        """Name `key` as what the user presses to be connected."""
        super().__init__()
        self._key = key
        self._links, self._now = links, now

    def compose(self) -> ComposeResult:
        """Everything in one scrolling page."""
        with VerticalScroll() as box:
            box.border_title = Text("links")
            yield Static(id="links", markup=False)
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Let the arrow keys scroll; draw what was given before."""
        self.query_one(VerticalScroll).focus()
        self.show(self._links, self._now)

    def show(self, links: Sequence[LinkStatus], now: float) -> None:
        """Draw these."""
        self._links, self._now = links, now
        if self.is_mounted:
            self.query_one("#links", Static).update(self._page() if links else _NONE)

    def action_back(self) -> None:
        """Back to where one came from."""
        self.dismiss()

    def _page(self) -> Table:
        page = Table.grid(padding=(0, 0, 1, 0), expand=True)
        for status in self._links:
            page.add_row(self._section(status))
        return page

    def _section(self, status: LinkStatus) -> Table:
        section = Table.grid(padding=(0, 1), expand=True)
        section.add_column(no_wrap=True, style="dim", width=8)
        section.add_column(ratio=1)
        title = Text(plain(status.profile), "bold").append(f"  {plain(status.host)}", "not bold dim")
        section.add_row("", title)
        section.add_row("now", Text(link_text(status, self._now, self._key)))
        section.add_row("since", _clock(status.link.since) if status.link.since else "not used yet")
        for index, change in enumerate(reversed(status.history[-_MOST_SHOWN:])):
            why = f"  {plain(change.why)}" if change.why else ""
            text = Text(f"{_clock(change.at)}  {SYMBOLS[change.state]} {change.state.value}{why}")
            section.add_row("" if index else "states", text)
        for index, done in enumerate(reversed(status.commands[-_MOST_SHOWN:])):
            text = Text(f"{_clock(done.at)}  {done.took_s:5.2f} s  {plain(done.text)}", overflow="ellipsis")
            text.no_wrap = True
            if done.outcome:
                text.append(f"  ✗ {plain(done.outcome)}", "bold")
            section.add_row("" if index else "commands", text)
        return section


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
