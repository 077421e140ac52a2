from __future__ import annotations

import asyncio
from importlib import resources

from textual.widgets import Input

from accel.plan import PLANS
from jobs.spec import BenchmarkParameters, RunSpec
from tests.tui.moment import NOW
from tests.tui.opened import LARGE, Hand, drawn, notices, opened, press, until_drawn, until_gone
from tests.tui.recorded import RECIPES, RecordedWorkbench, job
from workbench.errors import SchedulerError
from workbench.messages import NewRun
from workbench.model.job import JobSpec, JobState
from workbench.ports import StartEstimate
from workbench.screens.spec_fields import HELP


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


async def test_a_field_says_what_can_stand_in_it() -> None:
    async with opened(RecordedWorkbench()) as hand:
        await press(hand, "n")
        assert "↵ starts it as they stand" in drawn(hand)
        await write(hand, "model", "my.model")
        await until_drawn(hand, HELP["model"])


def test_what_a_field_says_is_true() -> None:
    shipped = resources.files("accel.shipped") / "models"
    assert all(folder.name in HELP["model"] for folder in shipped.iterdir() if folder.is_dir())
    assert {plan.partition("-")[0] for plan in PLANS} == set(HELP["parameters.plans"].split(", "))


async def test_what_a_sweep_goes_over_is_marked() -> None:
    workbench = RecordedWorkbench()
    swept = JobSpec(RunSpec(name="as it was"))
    async with opened(workbench) as hand:
        hand.app.post_message(NewRun(swept, over={"seed": (0, 1)}))
        await until_drawn(hand, "seed, swept over")
        assert "seed=0,1" in drawn(hand)


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


def on_a_cluster() -> RecordedWorkbench:
    workbench = RecordedWorkbench(profiles=("csd3", "local"))
    workbench.queues.entries["csd3"] = []
    return workbench


async def test_when_a_run_would_start_is_asked_with_one_key_and_forgotten_when_a_field_changes() -> None:
    workbench = on_a_cluster()
    workbench.queues.estimates = [StartEstimate(NOW + 7800, "cpu-q-1", "icelake", "")]
    async with opened(workbench, size=LARGE) as hand:
        await press(hand, "n", "ctrl+t")
        await until_drawn(hand, "(in 2h10m) on icelake")
        assert "would start about" in drawn(hand)
        assert ("estimate", "csd3") in workbench.queues.asked
        await write(hand, "threads", "2")
        assert "would start" not in drawn(hand)
        assert not workbench.known
        workbench.queues.trouble = SchedulerError("Slurm would refuse this job: Invalid qos: set `qos`.")
        await press(hand, "ctrl+t")
        await until_drawn(hand, "Slurm would refuse this job: Invalid qos: set `qos`.")


async def test_the_scheduler_is_asked_one_thing_at_a_time() -> None:
    workbench = on_a_cluster()
    answer = asyncio.Event()
    asked = []

    async def estimate(spec: JobSpec, profile: str | None) -> StartEstimate:
        asked.append(spec.run.threads)
        await answer.wait()
        return StartEstimate(NOW, "", "icelake", "")

    workbench.queues.estimate = estimate  # type: ignore[method-assign]
    async with opened(workbench, size=LARGE) as hand:
        await press(hand, "n", "ctrl+t", "ctrl+t")
        await until_drawn(hand, "asking the scheduler")
        await write(hand, "threads", "2")
        await press(hand, "ctrl+t")
        answer.set()
        await until_gone(hand, "asking the scheduler")
        assert asked == [1]  # and what it was told is not true of the fields any more
        assert "would start" not in drawn(hand)
        await press(hand, "ctrl+t")
        await until_drawn(hand, "would start about")
        assert asked == [1, 2]


async def test_partition_qos_and_dependency_are_asked_only_of_a_cluster() -> None:
    workbench = on_a_cluster()
    async with opened(workbench, size=(100, 60)) as hand:
        await press(hand, "n")
        assert "icelake, of the profile" in drawn(hand)
        await write(hand, "qos", "-x")
        await press(hand, "ctrl+s")
        assert "qos should be one word that does not begin with a dash" in drawn(hand)
        await write(hand, "qos", "intr")
        await write(hand, "dependency", "afterok:12")
        await write(hand, "gpus", "0")
        await press(hand, "ctrl+s")
        asked = workbench.jobs()[0].spec.resources
        assert (asked.partition, asked.qos, asked.dependency, asked.gpus) == (None, "intr", "afterok:12", 0)
        await press(hand, "n")
        hand.app.screen.query_one("#profile").focus()
        await press(hand, "enter", "down", "enter")
        assert "after jobs" not in drawn(hand)


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
