from __future__ import annotations

from textual.widgets import Input

from jobs.spec import BenchmarkParameters, RunSpec
from tests.tui.opened import Hand, drawn, notices, opened, press
from tests.tui.recorded import RECIPES, RecordedWorkbench, job
from workbench.model.job import JobState


def newest(workbench: RecordedWorkbench) -> RunSpec:
    return workbench.jobs()[0].spec.run


async def write(hand: Hand, key: str, text: str) -> None:
    """Put a text into the field of a key."""
    field = next(found for found in hand.app.screen.query(Input) if found.name == key)
    field.focus()
    field.value = text
    await press(hand)


async def test_n_and_enter_start_the_demo() -> None:
    workbench = RecordedWorkbench()
    async with opened(workbench) as hand:
        await press(hand, "n", "enter")
        assert newest(workbench) == RECIPES["demo"]
        assert notices(hand) == ["Started new000."]


async def test_another_recipe_brings_its_own_fields() -> None:
    workbench = RecordedWorkbench()
    async with opened(workbench) as hand:
        await press(hand, "n", "down", "down")
        assert "size, atoms" in drawn(hand)
        await press(hand, "enter")
        assert newest(workbench) == RECIPES["shapes"]


async def test_changed_fields_are_in_what_is_started() -> None:
    workbench = RecordedWorkbench()
    async with opened(workbench) as hand:
        await press(hand, "n")
        await write(hand, "parameters.sizes", "24, 48")
        await write(hand, "parameters.stress", "yes")
        await write(hand, "threads", "2")
        await write(hand, "time_limit", "90")
        await press(hand, "ctrl+s")
        spec = workbench.jobs()[0].spec
        parameters = spec.run.parameters
        assert isinstance(parameters, BenchmarkParameters)
        assert parameters.sizes == (24, 48)
        assert parameters.stress
        assert (spec.run.threads, spec.resources.cpus, spec.resources.time_limit_s) == (2, 2, 5400)


async def test_a_wrong_field_is_named_in_place_and_nothing_starts() -> None:
    workbench = RecordedWorkbench()
    async with opened(workbench, size=(140, 40)) as hand:
        await press(hand, "n")
        await write(hand, "parameters.repeats", "many")
        assert "repeats should be of type int, not 'many'" in drawn(hand)
        await press(hand, "ctrl+s")
        assert not workbench.known
        assert hand.app.focused is not None
        assert hand.app.focused.name == "parameters.repeats"
        await write(hand, "parameters.repeats", "5")
        await press(hand, "enter")
        assert len(workbench.known) == 1


async def test_a_time_limit_that_is_none_is_refused() -> None:
    workbench = RecordedWorkbench()
    async with opened(workbench, size=(140, 40)) as hand:
        await press(hand, "n")
        for wrong in ("0", "nan", "inf", "1:00"):
            await write(hand, "time_limit", wrong)
            await press(hand, "ctrl+s")
            assert "time limit should be a number of minutes" in drawn(hand)
        assert not workbench.known


async def test_escape_starts_nothing() -> None:
    workbench = RecordedWorkbench()
    async with opened(workbench) as hand:
        await press(hand, "n", "escape")
        assert not workbench.known


async def test_where_it_runs_can_be_chosen_where_there_is_a_choice() -> None:
    workbench = RecordedWorkbench(profiles=("local", "csd3"))
    async with opened(workbench) as hand:
        await press(hand, "n")
        hand.app.screen.query_one("#profile").focus()
        await press(hand, "enter", "down", "enter", "ctrl+s")
        assert workbench.jobs()[0].profile == "csd3"


async def test_e_resubmits_with_changes() -> None:
    workbench = RecordedWorkbench()
    workbench.add(job("aaaaaa", JobState.COMPLETED, name="old"))
    async with opened(workbench) as hand:
        await press(hand, "e")
        await write(hand, "seed", "7")
        await press(hand, "ctrl+s")
        assert ("resubmit", "aaaaaa") in workbench.asked
        assert newest(workbench).seed == 7
        assert newest(workbench).name == "old"


async def test_a_field_of_the_recipe_before_is_not_heard_any_more() -> None:
    workbench = RecordedWorkbench()
    async with opened(workbench) as hand:
        await press(hand, "n", "down", "down")
        screen = hand.app.screen
        field = next(found for found in screen.query(Input) if found.name == "parameters.n_atoms")
        await press(hand, "up", "up")
        screen.post_message(Input.Changed(field, "0"))
        await press(hand, "enter")
        assert newest(workbench) == RECIPES["demo"]
