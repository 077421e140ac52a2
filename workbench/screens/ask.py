"""What a connection needs of the user: a code, a password, a passphrase, trust in a new host."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from workbench.plain import plain
from workbench.ports import Question
from workbench.screens.confirm import ConfirmScreen

if TYPE_CHECKING:
    from textual.app import App


class AskScreen(ModalScreen[str]):
    """One question of a host; None where the user gives up."""

    CSS_PATH = "ask.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "give up")]

    def __init__(self, question: Question, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._question = question
        self._clock = clock

    def compose(self) -> ComposeResult:
        """The host's own words, and room for the answer."""
        with Vertical():
            yield Static(plain(self._question.text), markup=False)
            yield Static(id="note", markup=False)
            yield Input(password=self._question.secret)
            yield Static("↵  answer      esc  do not connect", id="answers", markup=False)

    def on_mount(self) -> None:
        """Name the host on the frame; say what there is to say to it."""
        self._draw_note()
        if self._question.ready_at is not None:
            self.set_interval(0.5, self._draw_note)
        self.query_one(Vertical).border_title = plain(self._question.host).replace("[", r"\[")

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Close with the answer."""
        self.dismiss(message.value)

    def _draw_note(self) -> None:
        note = noted(self._question, self._clock())
        self.query_one("#note", Static).update(note)
        self.query_one("#note").display = bool(note)


def noted(question: Question, now: float) -> str:
    """What this program says to a question, with how long an answer is still to be waited for."""
    if question.ready_at is None:
        return plain(question.note)
    left = math.ceil(question.ready_at - now)
    coming = f"the next one is there in {left} s" if left > 0 else "the next one is there"
    return f"{plain(question.note)}; {coming}"


class TrustScreen(ConfirmScreen):
    """Whether a new host is the right one: a yes has to be meant, so Enter alone is none."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("y", "answer(True)", "yes"),
        ("n,escape,q,enter", "answer(False)", "no"),
    ]


class ScreenPrompter:
    """Implements `ports.Prompter` on the screens, one question at a time."""

    def __init__(self) -> None:
        self.app: App[None] | None = None
        """Where to ask; until it is there, nobody answers."""
        self._asking = asyncio.Lock()

    async def ask(self, question: Question) -> str | None:
        """A password, a passphrase, a one-time code."""
        answer = await self._answer(AskScreen(question))
        return answer if isinstance(answer, str) else None

    async def trust(self, host: str, kind: str, fingerprint: str) -> bool:
        """Whether a host that was never seen before is the right one."""
        text = (
            f"{host} was never seen before. Its {kind} key is\n{fingerprint}\n"
            "Compare it with what the site says before you trust it."
        )
        return await self._answer(TrustScreen(text, "it is the right one")) is True

    async def _answer(self, screen: AskScreen | TrustScreen) -> str | bool | None:
        if self.app is None:
            return None
        async with self._asking:
            answered: asyncio.Future[str | bool | None] = asyncio.get_running_loop().create_future()

            def take(answer: str | bool | None) -> None:
                if not answered.done():
                    answered.set_result(answer)

            self.app.push_screen(screen, take)
            try:
                return await answered
            except asyncio.CancelledError:
                if screen.is_current:  # the connection was given up meanwhile
                    self.app.pop_screen()
                raise
