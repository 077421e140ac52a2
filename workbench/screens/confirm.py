"""A question that has to be answered with yes before something is lost."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static


class ConfirmScreen(ModalScreen[bool]):
    """True for yes; anything that is not a clear yes is a no."""

    CSS_PATH = "confirm.tcss"
    BINDINGS = [  # noqa: RUF012  # Textual's own declaration
        ("y,enter", "answer(True)", "yes"),
        ("n,escape,q", "answer(False)", "no"),
    ]

    def __init__(self, question: str, yes: str) -> None:
        super().__init__()
        self._question, self._yes = question, yes

    def compose(self) -> ComposeResult:
        """The question and the keys that answer it."""
        with Vertical():
            yield Static(self._question, markup=False)
            yield Static(f"y  {self._yes}      n  leave it", id="answers", markup=False)

    def action_answer(self, answer: bool) -> None:
        """Close with the answer."""
        self.dismiss(answer)
