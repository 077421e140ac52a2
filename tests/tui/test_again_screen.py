from __future__ import annotations

from textual.widgets import Input

from jobs.protocol import Checkpoint
from jobs.spec import MdParameters, RunSpec
from tests.tui.opened import drawn, notices, opened, press, until_on
from tests.tui.recorded import RecordedWorkbench, job
from workbench.model.job import JobState, Resources

MD = RunSpec(MdParameters(), name="long dynamics")


async def test_one_key_and_enter_give_a_job_whose_time_was_up_more_of_it() -> None:
    workbench = RecordedWorkbench()
    workbench.add(job("aaaaaa", JobState.TIMEOUT, name="slow"))
    async with opened(workbench) as hand:
        await press(hand, "r")
        await until_on(hand, "AgainScreen")
        assert "Its time of 60 min was up: 120 min are proposed." in drawn(hand)
        assert "It begins anew, in a new folder." in drawn(hand)
        await press(hand, "enter")
        assert workbench.jobs()[0].spec.resources.time_limit_s == 7200
        assert notices(hand) == ["Resubmitted aaaaaa as new001."]


async def test_what_is_wrong_is_said_and_leaving_starts_nothing() -> None:
    workbench = RecordedWorkbench()
    workbench.add(job("aaaaaa", JobState.OUT_OF_MEMORY, name="large"))
    async with opened(workbench) as hand:
        await press(hand, "r")
        await until_on(hand, "AgainScreen")
        field = next(found for found in hand.app.screen.query(Input) if found.name == "memory")
        field.value = "lots"
        await press(hand, "ctrl+s")
        assert "should be a whole number, 1 or more, not 'lots'" in drawn(hand)
        await press(hand, "escape")
    assert [one.id for one in workbench.jobs()] == ["aaaaaa"]


async def test_a_run_with_a_checkpoint_goes_on_in_its_own_folder() -> None:
    workbench = RecordedWorkbench()
    workbench.add(job("aaaaaa", JobState.TIMEOUT, spec=MD), [Checkpoint("trajectory.npz", 400)])
    workbench.add(job("bbbbbb", JobState.CANCELLED, spec=MD, age_s=60), [Checkpoint("trajectory.npz", 400)])
    async with opened(workbench) as hand:
        await press(hand, "r")
        assert ("requeue", "bbbbbb") in workbench.asked
        await press(hand, "G", "r")
        await until_on(hand, "AgainScreen")
        assert "It goes on from its checkpoint, in its own folder." in drawn(hand)
        field = next(found for found in hand.app.screen.query(Input) if found.name == "links")
        field.value = "3"
        await press(hand, "ctrl+s")
        assert ("requeue", "aaaaaa") in workbench.asked
        assert workbench.known["aaaaaa"].spec.resources == Resources(time_limit_s=3600, links=3)
