"""Help: every key of the screen beneath, and what the symbols mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from workbench.commands import Command
from workbench.model.job import JobState
from workbench.widgets.words import state_text

_SYMBOLS = (
    JobState.PENDING,
    JobState.RUNNING,
    JobState.COMPLETED,
    JobState.FAILED,
    JobState.CANCELLED,
    JobState.UNKNOWN,
)


class HelpScreen(ModalScreen[None]):
    """Closes with any of the keys that one would try."""

    CSS_PATH = "help.tcss"
    BINDINGS = [("escape,q,question_mark,enter", "dismiss", "close")]  # noqa: RUF012

    def __init__(self, sections: Sequence[tuple[str, Iterable[Command]]]) -> None:
        super().__init__()
        self._sections = sections

    def compose(self) -> ComposeResult:
        """The sections, one below the other."""
        with VerticalScroll() as box:
            box.border_title = Text("keys")
            box.border_subtitle = Text("esc closes")
            yield Static(self._table())

    def on_mount(self) -> None:
        """Let the arrow keys scroll."""
        self.query_one(VerticalScroll).focus()

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, justify="right", style="bold")
        table.add_column()
        for title, commands in self._sections:
            table.add_row("", Text(title, "bold underline"))
            for command in commands:
                table.add_row(Text(command.key_text), Text(command.tip))
            table.add_row("", "")
        table.add_row("", Text("symbols", "bold underline"))
        table.add_row("", Text("   ".join(state_text(state) for state in _SYMBOLS)))
        return table
