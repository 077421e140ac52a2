"""The screen that starts a run: choose a recipe, change what should be different, go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.events import DescendantFocus
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Footer, Input, Label, OptionList, Select, Static
from textual.widgets.option_list import Option

from jobs.spec import RunSpec
from jobs.sweep import SweepSpec
from workbench.commands import SUBMIT, bindings
from workbench.messages import AskEstimate, Submit
from workbench.model.job import JobSpec, Resources
from workbench.model.queue import Choices
from workbench.plain import plain
from workbench.screens.spec_fields import CLUSTER, HELP, SWEEP, Axes, axes_in, fields_of, job_spec, problems

_HINTS = {
    "partition": "the cluster's default",
    "qos": "the account's default",
    "account": "your default account",
    "gpus": "none",
    "dependency": "such as afterok:123",
}
_CHOOSE = "↑ ↓ choose, tab goes to the fields, ↵ starts it as they stand"
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
        choices: Mapping[str, Choices] | None = None,
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
        self._clusters = choices or {}
        self._asking: AskEstimate | None = None
        """What the scheduler is being asked; one thing at a time."""
        self._is_current_answer = True
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
            yield Static(id="hint", markup=False)
            yield Static(id="estimate", markup=False)
            yield Static(id="problem", markup=False)
        yield Footer(show_command_palette=False, compact=True)

    async def on_mount(self) -> None:
        """Begin with the first recipe."""
        self._say("estimate", "")
        self._say("problem", "")
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
        self._offer()

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """Say what can stand in a line while somebody is on it."""
        said = HELP.get(event.widget.name or "", "") if isinstance(event.widget, Input) else _CHOOSE
        self.query_one("#hint", Static).update(said)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter on a recipe starts it as its fields stand."""
        event.stop()
        self.action_start()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say beside the field what is wrong with it."""
        event.stop()
        if not event.input.is_attached:  # of the recipe before, of which this was still under way
            return
        self._forget_estimate()
        key = event.input.name or ""
        wrong = problems(self._base.run, {key: event.value}).get(key, "")
        assert event.input.parent is not None
        event.input.parent.query_one(".wrong", Label).update(wrong)
        event.input.set_class(bool(wrong), "-wrong")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in a field starts, too."""
        event.stop()
        self.action_start()

    def on_select_changed(self, event: Select.Changed) -> None:
        """Offer what the chosen place has."""
        event.stop()
        self._forget_estimate()
        self._offer()

    def action_estimate(self) -> None:
        """Ask when it would start as the fields stand."""
        if self._asking is None and (spec := self._spec()) is not None:
            self._asking, self._is_current_answer = AskEstimate(spec, self._profile), True
            self._say_estimate("asking the scheduler …")
            self.post_message(self._asking)

    def show_estimate(self, asked: AskEstimate, said: str, *, failed: bool = False) -> None:
        """Say what the scheduler has answered, if the fields still stand as they did."""
        self._asking = None
        if self.is_attached:
            self._say_estimate(said if self._is_current_answer else "", failed=failed)

    def action_start(self) -> None:
        """Answer with the spec, or go to the first field that is wrong."""
        spec = self._spec()
        if spec is not None:
            over = axes_in(spec.run, self._texts()[SWEEP])
            self.dismiss(
                Submit(
                    spec,
                    profile=self._profile,
                    resubmitted_from=None if over else self._resubmitted_from,
                    over=over,
                )
            )

    def action_leave(self) -> None:
        """Start nothing."""
        self.dismiss(None)

    # -- inside ----------------------------------------------------------------------------------

    @property
    def _profile(self) -> str | None:
        """Where it is to run; none for the only place there is."""
        chosen = self.query_one("#profile", Select).value if len(self._profiles) > 1 else None
        return chosen if isinstance(chosen, str) else None

    def _inputs(self) -> dict[str, Input]:
        fields = self.query(".field").results(Horizontal)
        return {(line := field.query_one(Input)).name or "": line for field in fields if field.display}

    def _texts(self) -> dict[str, str]:
        return {key: field.value for key, field in self._inputs().items()}

    def _spec(self) -> JobSpec | None:
        """As the fields stand; none where one is wrong, which is gone to."""
        texts = self._texts()
        wrong = problems(self._base.run, texts)
        if wrong:
            key, sentence = next(iter(wrong.items()))
            self._say("problem", sentence)
            self._inputs()[key].focus()
            return None
        return job_spec(self._base.run, self._base.resources, texts)

    def _offer(self) -> None:
        """Show the fields that the place understands, and what they could say."""
        choices = self._clusters.get(self._profile or self._profiles[0])
        for field in self.query(".field").results(Horizontal):
            line = field.query_one(Input)
            if line.name in CLUSTER:
                field.display = choices is not None
            if choices is not None and line.name in CLUSTER:
                preset = choices.preset.get(line.name, "")
                line.placeholder = f"{plain(preset)}, of the profile" if preset else _HINTS[line.name]
                known = getattr(choices, line.name, ())
                line.suggester = SuggestFromList(known, case_sensitive=False) if known else None

    def _forget_estimate(self) -> None:
        self._is_current_answer = False
        if self._asking is None:
            self._say_estimate("")

    def _say_estimate(self, said: str, *, failed: bool = False) -> None:
        self.query_one("#estimate").set_class(failed, "-refused")
        self._say("estimate", plain(said))

    def _say(self, where: str, said: str) -> None:
        """On a line that takes no room while it says nothing."""
        line = self.query_one(f"#{where}", Static)
        line.update(said)
        line.display = bool(said)


def _choice(name: str, recipe: RunSpec | SweepSpec) -> tuple[str, JobSpec, Axes]:
    run, over = (recipe.base, recipe.over) if isinstance(recipe, SweepSpec) else (recipe, {})
    return name, JobSpec(run, Resources(cpus=run.threads)), over
