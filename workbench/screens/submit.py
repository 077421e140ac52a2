"""The screen that starts a run: choose a recipe, change what should be different, go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Label, OptionList, Select, Static
from textual.widgets.option_list import Option

from jobs.spec import RunSpec
from jobs.sweep import SweepSpec
from workbench.commands import SUBMIT, bindings
from workbench.messages import Submit
from workbench.model.job import JobSpec, Resources
from workbench.plain import plain
from workbench.screens.spec_fields import SWEEP, Axes, axes_in, fields_of, job_spec, problems

_FIRST = "demo"
"""The recipe that a newcomer should meet first."""


class SubmitScreen(ModalScreen[Submit | None]):
    """Answers with what to start, or with nothing."""

    CSS_PATH = "submit.tcss"
    COMMANDS_HERE = SUBMIT
    BINDINGS = bindings(SUBMIT)

    def __init__(
        self,
        recipes: Mapping[str, RunSpec | SweepSpec],
        profiles: Sequence[str],
        *,
        start_from: JobSpec | None = None,
        over: Axes | None = None,
        resubmitted_from: str | None = None,
    ) -> None:
        super().__init__()
        names = sorted(recipes, key=lambda name: (name != _FIRST, name))
        self._choices = [_choice(name, recipes[name]) for name in names]
        if start_from is not None:
            self._choices.insert(0, ("as it was", start_from, over or {}))
        if not self._choices:
            self._choices.append(("benchmark", JobSpec(RunSpec()), {}))
        self._profiles = profiles
        self._resubmitted_from = resubmitted_from
        _, self._base, self._over = self._choices[0]

    def compose(self) -> ComposeResult:
        """Recipes above, the fields of the chosen one below."""
        width = max(len(name) for name, _, _ in self._choices)
        options = [
            Option(Text(f"{name:{width}}  {plain(spec.name)}", no_wrap=True, overflow="ellipsis"))
            for name, spec, _ in self._choices
        ]
        with Vertical(id="box") as box:
            box.border_title = Text(
                "start a run" if self._resubmitted_from is None else "change and resubmit"
            )
            yield OptionList(*options, id="recipes", compact=True)
            yield VerticalScroll(id="fields")
            if len(self._profiles) > 1:
                with Horizontal(id="place"):
                    yield Label("where")
                    yield Select(
                        [(plain(name), name) for name in self._profiles],
                        value=self._profiles[0],
                        allow_blank=False,
                        compact=True,
                        id="profile",
                    )
            yield Static(id="problem", markup=False)
        yield Footer(show_command_palette=False, compact=True)

    async def on_mount(self) -> None:
        """Begin with the first recipe."""
        self.query_one("#recipes", OptionList).focus()

    async def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Show the fields of another recipe."""
        event.stop()
        _, self._base, self._over = self._choices[event.option_index]
        box = self.query_one("#fields", VerticalScroll)
        await box.remove_children()
        await box.mount_all(
            Horizontal(
                Label(field.label),
                Input(field.text, field.hint, name=field.key, compact=True, select_on_focus=False),
                Label("", classes="wrong", markup=False),
                classes="field",
            )
            for field in fields_of(self._base.run, self._base.resources, self._over)
        )

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter on a recipe starts it as its fields stand."""
        event.stop()
        self.action_start()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say beside the field what is wrong with it."""
        event.stop()
        if not event.input.is_attached:  # of the recipe before, of which this was still under way
            return
        key = event.input.name or ""
        wrong = problems(self._base.run, {key: event.value}).get(key, "")
        assert event.input.parent is not None
        event.input.parent.query_one(".wrong", Label).update(wrong)
        event.input.set_class(bool(wrong), "-wrong")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in a field starts, too."""
        event.stop()
        self.action_start()

    def action_start(self) -> None:
        """Answer with the spec, or go to the first field that is wrong."""
        inputs = {field.name or "": field for field in self.query(".field Input").results(Input)}
        texts = {key: field.value for key, field in inputs.items()}
        wrong = problems(self._base.run, texts)
        if wrong:
            key, sentence = next(iter(wrong.items()))
            self.query_one("#problem", Static).update(sentence)
            inputs[key].focus()
            return
        spec = job_spec(self._base.run, self._base.resources, texts)
        over = axes_in(spec.run, texts[SWEEP])
        chosen = self.query_one("#profile", Select).value if len(self._profiles) > 1 else None
        self.dismiss(
            Submit(
                spec,
                profile=chosen if isinstance(chosen, str) else None,
                resubmitted_from=None if over else self._resubmitted_from,
                over=over,
            )
        )

    def action_leave(self) -> None:
        """Start nothing."""
        self.dismiss(None)


def _choice(name: str, recipe: RunSpec | SweepSpec) -> tuple[str, JobSpec, Axes]:
    run, over = (recipe.base, recipe.over) if isinstance(recipe, SweepSpec) else (recipe, {})
    return name, JobSpec(run, Resources(cpus=run.threads)), over
