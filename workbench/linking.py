"""Linking: puts the state of the links on every screen, and connects where the user wants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.screen import ModalScreen
from textual.widgets import Footer

from workbench.commands import RECONNECT
from workbench.errors import ConnectionFailed, WorkbenchError
from workbench.following import Following
from workbench.model.job import Job
from workbench.plain import plain
from workbench.ports import Workbench
from workbench.widgets.link_status import LinkStatusBar

if TYPE_CHECKING:
    from textual.app import App

    from workbench.screens.links import LinksScreen


class Linking:
    """The line with the links and their screen, for the app; the other screens need not know of it."""

    def __init__(
        self,
        app: App[None],
        workbench: Workbench,
        following: Following,
        clock: Callable[[], float],
        say: Callable[..., None],
    ) -> None:
        self._app, self._workbench, self._following = app, workbench, following
        self._clock, self._say = clock, say
        self._screen: LinksScreen | None = None

    def begin(self) -> None:
        """Be told of every change."""
        self._workbench.when_links_change(self._told)

    def draw(self) -> None:
        """Show the links on the screen on top; one that lies over another leaves that to the one beneath."""
        screen, links, now = self._app.screen, self._workbench.links(), self._clock()
        if screen is self._screen:
            self._screen.show(links, now)
        if isinstance(screen, ModalScreen) or not screen.is_mounted:
            return
        if bars := screen.query(LinkStatusBar):
            bars.first().show(links, now)
        elif any(status.in_use for status in links):
            bar = LinkStatusBar(RECONNECT.key_text)
            footer = screen.query(Footer)
            screen.mount(bar, before=footer.first() if footer else None)
            bar.show(links, now)

    def open(self) -> None:
        """Show all there is of the links."""
        from workbench.screens.links import LinksScreen

        if not isinstance(self._app.screen, LinksScreen):
            self._screen = LinksScreen(RECONNECT.key_text, self._workbench.links(), self._clock())
            self._app.push_screen(self._screen)

    def reconnect(self) -> None:
        """Try the links that are down, or else see whether those that are up answer."""
        links = [status for status in self._workbench.links() if status.in_use]
        for status in [status for status in links if not status.link.state.is_up] or links:
            self._app.run_worker(self._reconnect(status.profile), group="reconnecting")

    def offer_later(self, error: ConnectionFailed, later: Callable[[], Job], did: Callable[[], None]) -> None:
        """Ask whether something that could not be done is to be done when the link is back."""
        from workbench.screens.confirm import ConfirmScreen

        def answered(yes: bool | None) -> None:
            if not yes:
                return
            try:
                job = later()
            except WorkbenchError as refused:
                self._say(str(refused), failed=True)
                return
            did()
            if job.state.is_over:
                self._say(f"{job.id} is forgotten: it was never submitted.")
            else:
                self._say(f"{job.id} waits for the link to {job.profile}: c withdraws it.")

        question = f"{plain(str(error))}.\n\nDo it as soon as the link is back, also after a restart?"
        self._app.push_screen(ConfirmScreen(question, "do it then"), answered)

    async def _reconnect(self, profile: str) -> None:
        try:
            await self._workbench.reconnect(profile)
        except WorkbenchError as error:
            self._say(str(error), failed=True)

    def _told(self) -> None:
        self._app.call_later(self._changed)

    def _changed(self) -> None:
        self._following.links_changed()
        self.draw()
