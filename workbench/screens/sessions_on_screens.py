"""SessionsOnScreens: keeps sessions up while the screens are open, warns of their end, does what is asked.

Whatever screen is on top hears the warnings; the one of sessions shows all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from textual.app import App, SuspendNotSupported

from workbench.errors import WorkbenchError
from workbench.messages import ActOnSession, StartSession
from workbench.model.session import Session, SessionKind, SessionView, computing, warning_due
from workbench.plain import plain
from workbench.ports import SessionDesk

if TYPE_CHECKING:
    from workbench.screens.sessions import SessionsScreen

_TURN_S = 1.0


class Say(Protocol):
    """Tells the person something."""

    def __call__(self, sentence: str, *, failed: bool = False) -> None:
        """One sentence."""


class SessionsOnScreens:
    """The part of the app that is about sessions."""

    def __init__(self, app: App[None], desk: SessionDesk, clock: Callable[[], float], say: Say) -> None:
        self._app = app
        self._desk = desk
        self._clock = clock
        self._say = say
        self._screen: SessionsScreen | None = None
        self._told: dict[str, float] = {}
        self._troubles: dict[str, str] = {}
        self._to_open: set[str] = set()
        """Notebooks that were started here, and are to be shown when they are ready."""

    async def follow(self) -> None:
        """Look after the sessions until cancelled."""
        while True:
            try:
                await self._desk.tend()
            except WorkbenchError as error:
                self._say(str(error), failed=True)
            self.draw()
            for view in self._desk.sessions():
                self._warn(view)
                self._say_trouble(view)
                if view.state == "ready" and view.session.id in self._to_open:
                    self._to_open.discard(view.session.id)
                    await self._doing("browse", view.session.id)
            await asyncio.sleep(_TURN_S)

    def draw(self) -> None:
        """Show the sessions, where their screen is on top."""
        if self._screen is not None and self._app.screen is self._screen:
            self._screen.show(self._desk.sessions(), self._clock())

    def open(self) -> None:
        """Put their screen on top."""
        from workbench.screens.sessions import SessionsScreen  # late: the first frame needs none of it

        if not isinstance(self._app.screen, SessionsScreen):
            self._screen = SessionsScreen()
            self._screen.show(self._desk.sessions(), self._clock())
            self._app.push_screen(self._screen)

    async def start(self, message: StartSession) -> None:
        """Start one, and show it when it is ready."""
        try:
            started = await self._desk.start(message.kind)
        except WorkbenchError as error:
            self._say(str(error), failed=True)
            return
        if started.kind is SessionKind.JUPYTER:
            self._to_open.add(started.id)
        self._say(f"Session {started.id} is asked for: it is shown here when it is ready.")
        self.draw()

    async def act(self, message: ActOnSession) -> None:
        """Do something with one, after a question where something could be lost."""
        from workbench.screens.confirm import ConfirmScreen

        view = next((one for one in self._desk.sessions() if one.session.id == message.session_id), None)
        if view is None:
            self._say(f"There is no session {message.session_id} any more.", failed=True)
        elif message.doing == "stop":
            busy = f"\n{computing(view.busy_kernels)}." if view.busy_kernels else ""
            question = f"End session {view.session.id}?{busy}\nWhat is not saved in it is lost."
            if await self._app.push_screen_wait(ConfirmScreen(question, "end it")):
                await self._doing("stop", view.session.id)
        elif message.doing == "copy_url":
            self._copy_url(view.session)
        elif message.doing == "attach" and view.state != "ready":
            self._say(
                f"Session {view.session.id} is {view.state}: there is nothing to attach to.", failed=True
            )
        else:
            await self._doing(message.doing, view.session.id)
        self.draw()

    async def _doing(self, doing: str, session_id: str) -> None:
        try:
            self._say(await self._done(doing, session_id))
        except WorkbenchError as error:
            self._say(str(error), failed=True)
        except SuspendNotSupported:
            self._say(
                "This terminal cannot be given to a shell: use `mace-workbench session attach`.", failed=True
            )

    async def _done(self, doing: str, session_id: str) -> str:
        """Do it; a sentence that says so."""
        match doing:
            case "browse":
                await self._desk.browse(session_id)
                return f"Session {session_id} is shown in your browser; y copies its URL."
            case "attach":
                # Nothing may be drawn meanwhile: the terminal is the shell's.
                with self._app.batch_update(), self._app.suspend():
                    await self._desk.attach(session_id)
                return f"Session {session_id} goes on; a attaches to it again."
            case "renew":
                renewed = await self._desk.renew(session_id)
                later = " when this job ends" if renewed.renews or renewed.next_job else ""
                return f"Session {session_id} goes on in a new job{later}."
            case "stop":
                await self._desk.stop(session_id)
                return f"Asked session {session_id} to end."
            case "vscode":
                return await self._desk.vscode(session_id)
            case _:
                self._desk.forget(session_id)
                return f"Session {session_id} is off the list."

    def _copy_url(self, session: Session) -> None:
        if session.kind is SessionKind.JUPYTER and session.local_port:
            self._app.copy_to_clipboard(session.url)
            self._say(f"Copied the URL of session {session.id}, with its token.")
        else:
            self._say(f"Session {session.id} has no URL.", failed=True)

    def _say_trouble(self, view: SessionView) -> None:
        """What stands in the way of one, when it is new: the next turn may know no more of it."""
        if view.trouble and self._troubles.get(view.session.id) != view.trouble:
            self._say(view.trouble, failed=True)
        self._troubles[view.session.id] = view.trouble

    def _warn(self, view: SessionView) -> None:
        due = warning_due(view.left_s(self._clock()), self._told.get(view.session.id))
        if view.left_s(self._clock()) is None:
            self._told.pop(view.session.id, None)
        if due is not None:
            self._told[view.session.id] = due
            busy = f"; {computing(view.busy_kernels)}" if view.busy_kernels else ""
            sentence = f"Session {view.session.id} ends in less than {due / 60:g} min{busy}."
            self._app.notify(plain(sentence), severity="warning", markup=False, timeout=30)
            self._app.bell()
