"""A sweep is one row among the jobs, and a screen of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.tui.opened import LARGE, SMALL, Hand, drawn, notices, opened, press, settled, until_drawn, until_on
from tests.tui.recorded import RecordedWorkbench
from tests.tui.recorded_sweeps import WHY, swept, swept_over_names
from tests.waiting import until
from workbench.model.job import JobState
from workbench.model.sweep import Sweep
from workbench.screens.sweep import PANELS
from workbench.widgets.sweep_members import SweepMembers


@asynccontextmanager
async def on_sweep(size: tuple[int, int] = SMALL) -> AsyncIterator[tuple[Hand, RecordedWorkbench, str]]:
    """The screen of the sweep, all that its members have told drawn."""
    workbench, sweep_id = swept()
    async with opened(workbench, size=size) as hand:
        await press(hand, "enter")
        await until_on(hand, "SweepScreen")

        async def told() -> bool:
            return all(workbench.is_told(member.id) for member in workbench.members(sweep_id))

        await until(told)
        await until_drawn(hand, "sizes=192 seed=0")
        yield hand, workbench, sweep_id


async def test_a_sweep_is_one_row_with_a_summary_and_the_progress_of_the_whole() -> None:
    workbench, sweep_id = swept()
    async with opened(workbench, size=LARGE) as hand:
        await until_drawn(hand, "3✓ 1✗ 1▶ 1○")
        rows = [line for line in drawn(hand).splitlines() if "does fp32 pay at every size?" in line]
        assert len(rows) == 1
        assert sweep_id in rows[0]
        assert "1 job" in drawn(hand)
        await until_drawn(hand, "55%")
        assert "6 runs over sizes, seed: benchmark of h2co-small" in drawn(hand)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_members_show_where_they_are_and_what_they_found(size: tuple[int, int]) -> None:
    async with on_sweep(size) as (hand, _, _):
        lines = [line for line in drawn(hand).splitlines() if "seed=" in line]
        assert len(lines) == 6
        assert "✓ completed" in lines[0]
        assert "× reference" in lines[0]
        assert "✗ failed" in lines[3]
        assert "No room is left" in lines[3]
        assert "▶ running" in lines[4]
        assert "30%" in lines[4]
        assert "○ pending" in lines[5]


async def test_results_are_folded_over_the_seeds_and_say_what_they_were_measured_on() -> None:
    async with on_sweep() as (hand, _, _):
        await press(hand, "3")
        text = drawn(hand)
        assert "results over sizes, seed: 4 of 6 members, evaluations pooled over seed" in text
        rows = [line.split() for line in text.splitlines() if line.split()[1:2] == ["reference-fp32"]]
        assert [(row[0], row[-1]) for row in rows] == [("24", rows[0][-1]), ("96", rows[1][-1]), ("192", "-")]
        assert "Measured on: model h2co-small" in text
        assert "host node00, node01" in text


async def test_the_chart_goes_along_the_sizes() -> None:
    async with on_sweep() as (hand, _, _):
        await press(hand, "2")
        text = drawn(hand)
        assert "median ms over sizes, quartiles as bars" in text
        assert "a reference " in text
        assert "b reference-fp32 " in text
        assert any("⠁" <= letter <= "⣿" for letter in text)
        axis = text[text.rindex("└") :].splitlines()[1].split()
        assert axis == ["24", "96", "192"]


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_sweep_over_names_has_a_row_for_each_with_its_time_and_speed_up(
    size: tuple[int, int],
) -> None:
    async with opened(swept_over_names(), size=size) as hand:
        await press(hand, "enter", "2")
        await until_drawn(hand, "median ms, quartiles as bars")
        await until_drawn(hand, "fast h2co-medium")
        rows = {
            row[0].split("┤")[0].split("│")[-1].strip(): row[1].split("│")[0].split()
            for row in (line.split("●") for line in drawn(hand).splitlines() if "●" in line)
        }
        assert list(rows) == [
            f"{plan} {model}"
            for plan in ("reference", "exact", "fast")
            for model in ("h2co-medium", "h2co-small")
        ]
        assert [row[1] for row in rows.values()] == ["ms"] * 6
        assert all(90 < float(row[2].rstrip("×")) < 120 for name, row in rows.items() if "fast" in name)


@pytest.mark.parametrize("scale", [0.0, -1.0, 1e-300, 1e305])
async def test_times_that_cannot_be_are_drawn_all_the_same(scale: float) -> None:
    async with opened(swept_over_names(scale)) as hand:
        await press(hand, "enter", "2")
        await until_drawn(hand, "fast h2co-medium")
        assert "● " in drawn(hand)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_members_are_named_by_what_tells_them_apart(size: tuple[int, int]) -> None:
    async with opened(swept_over_names(), size=size) as hand:
        await press(hand, "enter")
        for title in ("h2co-small exact", "h2co-small fast", "h2co-medium exact", "h2co-medium fast"):
            await until_drawn(hand, f"completed   {title}  ")


async def test_what_a_member_tells_is_drawn_as_it_comes() -> None:
    async with on_sweep() as (hand, workbench, sweep_id):
        workbench.change(f"{sweep_id}.4", JobState.COMPLETED)
        workbench.change(f"{sweep_id}.5", JobState.RUNNING)
        await until_drawn(hand, "4✓ 1✗ 1▶")
        lines = [line for line in drawn(hand).splitlines() if "seed=" in line]
        assert "✓ completed" in lines[4]
        assert "▶ running" in lines[5]


async def test_enter_opens_the_run_of_a_member_and_escape_leads_back() -> None:
    async with on_sweep() as (hand, _, sweep_id):
        await press(hand, "j", "enter")
        await until_on(hand, "RunScreen")
        assert f"{sweep_id}.1" in drawn(hand)
        await press(hand, "escape")
        await until_on(hand, "SweepScreen")
        member = hand.app.screen.query_one(SweepMembers).row
        assert member is not None
        assert member.id == f"{sweep_id}.1"
        await press(hand, "escape")
        await until_on(hand, "JobsScreen")


async def test_one_key_starts_the_failed_members_again() -> None:
    async with on_sweep() as (hand, workbench, sweep_id):
        await press(hand, "r")
        await until_drawn(hand, "3✓ 1▶ 2○")
        assert ("requeue", sweep_id) in workbench.asked
        assert workbench.known[f"{sweep_id}.3"].state == JobState.PENDING
        assert workbench.known[f"{sweep_id}.0"].state == JobState.COMPLETED


async def test_the_selected_member_alone_is_started_again() -> None:
    async with on_sweep() as (hand, workbench, sweep_id):
        await press(hand, "R")
        await until_drawn(hand, "2✓ 1✗ 1▶ 2○")
        assert ("requeue", f"{sweep_id}.0") in workbench.asked


async def test_a_member_or_all_of_them_are_cancelled_after_a_question() -> None:
    async with on_sweep() as (hand, workbench, sweep_id):
        await press(hand, "G", "k", "c")
        await until_drawn(hand, f"End {sweep_id}.4")
        await press(hand, "y")
        await until_on(hand, "SweepScreen")
        await until_drawn(hand, "3✓ 2✗ 1○")
        await press(hand, "C")
        await until_drawn(hand, f"End {sweep_id}, does fp32 pay at every size?")
        await press(hand, "y")
        await until_on(hand, "SweepScreen")
        await until_drawn(hand, "✗ failed")
        assert all(member.state.is_over for member in workbench.members(sweep_id))


async def test_a_sweep_that_is_over_is_not_cancelled_again() -> None:
    async with on_sweep() as (hand, workbench, sweep_id):
        for index in (4, 5):
            workbench.change(f"{sweep_id}.{index}", JobState.COMPLETED)
        await until_drawn(hand, "✗ failed")
        await press(hand, "C")
        assert f"Job {sweep_id} is over already" in notices(hand)[-1]


async def test_tab_goes_through_the_panels() -> None:
    async with on_sweep() as (hand, _, _):
        screen, shown = hand.app.screen, []
        for _ in PANELS:
            shown += [name for name in PANELS if screen.query_one(f"#{name}").has_class("-current")]
            await press(hand, "tab")
        assert shown == list(PANELS)


async def test_a_sweep_is_edited_with_its_axes_and_started_as_a_new_one() -> None:
    workbench, sweep_id = swept()
    async with opened(workbench, size=LARGE) as hand:
        await press(hand, "e")
        await until_on(hand, "SubmitScreen")
        assert "sizes=24,96,192; seed=0,1" in drawn(hand)
        await press(hand, "ctrl+s")
        await until_on(hand, "JobsScreen")
        await settled(hand)
        (new,) = {job.part.sweep for job in workbench.known.values() if job.part} - {sweep_id}
        sweep = workbench.job(new)
        assert isinstance(sweep, Sweep)
        assert sweep.over == {"parameters.sizes": (24, 96, 192), "seed": (0, 1)}


async def test_why_a_member_failed_is_said_above() -> None:
    async with on_sweep(LARGE) as (hand, workbench, sweep_id):
        workbench.change(f"{sweep_id}.3", JobState.FAILED, reason=WHY)
        for index in (4, 5):
            workbench.change(f"{sweep_id}.{index}", JobState.COMPLETED)
        await until_drawn(hand, f"✗ {sweep_id}.3: No room is left")
