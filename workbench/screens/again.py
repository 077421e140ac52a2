"""The question what a job that ran out of something is to have this time."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Label, Static

from jobs.spec import SpecError
from workbench.again import Again
from workbench.commands import AGAIN, bindings
from workbench.model.job import Job, Resources
from workbench.plain import plain
from workbench.screens.spec_fields import resource_fields, with_resources


class AgainScreen(ModalScreen[Resources | None]):
    """Answers with what to ask for, or with nothing."""

    CSS_PATH = "again.tcss"
    COMMANDS_HERE = AGAIN
    BINDINGS = bindings(AGAIN)

    def __init__(self, job: Job, again: Again) -> None:
        super().__init__()
        self._job, self._again = job, again

    def compose(self) -> ComposeResult:
        """Why it is asked, what is proposed, and what Enter does."""
        with Vertical(id="box") as box:
            box.border_title = Text(f"start {self._job.id} again")
            yield Static(plain(self._again.why), markup=False)
            with Vertical(id="fields"):
                for field in resource_fields(self._again.resources, chains=self._job.spec.run.goes_on):
                    with Horizontal(classes="field"):
                        yield Label(field.label)
                        yield Input(field.text, name=field.key, compact=True, select_on_focus=False)
            yield Static(
                "It goes on from its checkpoint, in its own folder."
                if self._again.in_place
                else "It begins anew, in a new folder."
            )
            yield Static(id="problem", markup=False)
        yield Footer(show_command_palette=False, compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in a field starts."""
        event.stop()
        self.action_start()

    def action_start(self) -> None:
        """Answer with what the fields say, or with what is wrong with them."""
        texts = {field.name or "": field.value for field in self.query(Input)}
        try:
            self.dismiss(with_resources(self._again.resources, texts))
        except SpecError as error:
            self.query_one("#problem", Static).update(str(error))

    def action_leave(self) -> None:
        """Start nothing."""
        self.dismiss(None)
