from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.protocol import Accuracy, Body, Caution, Progress, Resource, Result, Start, Timing
from tests.tui.moment import NOW
from tests.tui.opened import LARGE, SMALL, Hand, drawn, notices, opened, press, settled, until_drawn
from tests.tui.recorded import PLANS, RecordedWorkbench, benchmark, failed, finished, job
from tests.waiting import until
from workbench.model.job import JobState
from workbench.screens.run import PANELS
from workbench.widgets.log_tail import LogTail
from workbench.widgets.timing import TimingPanel


def running(rounds: int = 55) -> RecordedWorkbench:
    workbench = RecordedWorkbench()
    workbench.add(job("k3m7fp", name="fp32 on the liquid"), benchmark(rounds))
    return workbench


def panels_shown(hand: Hand) -> list[str]:
    return [name for name in PANELS if hand.app.screen.query_one(f"#{name}").region.area]


def timing(hand: Hand) -> TimingPanel:
    return hand.app.screen.query_one(TimingPanel)


async def test_the_newest_system_is_drawn_with_a_line_and_numbers_for_each_plan() -> None:
    async with opened(running(), "k3m7fp") as hand:
        text = drawn(hand)
        assert "ms, by evaluation · liquid-192 (2/2)" in text
        legend = [line for line in text.splitlines() if "×" in line]
        assert [line.split()[1] for line in legend] == list(PLANS)
        assert [line.split()[0] for line in legend] == ["a", "b", "c", "d"]
        assert legend[0].split()[3] == "1.00×"
        assert {line.split()[5] for line in legend} == {"15"}
        assert any("⠉" <= letter <= "⣿" for letter in text)


async def test_brackets_choose_the_system_and_the_choice_stays_when_events_come() -> None:
    workbench = running()
    async with opened(workbench, "k3m7fp") as hand:
        await press(hand, "left_square_bracket")
        assert "liquid-96 (1/2)" in drawn(hand)
        assert "96 atoms, 18 edges/atom" in drawn(hand)
        workbench.tell("k3m7fp", [Timing("exact", 4.3, "liquid-192", "timed", 15, 192, 3480)])
        await until_seen(hand, workbench, ("exact", "liquid-192"), 16)
        assert "liquid-96 (1/2)" in drawn(hand)
        await press(hand, "right_square_bracket")
        assert "liquid-192 (2/2)" in drawn(hand)


async def until_seen(hand: Hand, workbench: RecordedWorkbench, key: tuple[str, str], n: int) -> None:
    async def ask() -> int:
        await hand.pause()
        return len(workbench.run("k3m7fp").timings[key])

    await until(ask, lambda found: found == n)
    await settled(hand)


async def test_new_events_reach_the_legend() -> None:
    workbench = running(40)
    async with opened(workbench, "k3m7fp") as hand:
        workbench.tell("k3m7fp", [Timing("reference", 9.0, "liquid-96", "timed", i) for i in range(5)])
        await until_drawn(hand, " 45 ")


async def test_a_new_attempt_is_drawn_anew() -> None:
    workbench = running()
    async with opened(workbench, "k3m7fp") as hand:
        workbench.tell(
            "k3m7fp",
            [Start("benchmark"), *(Timing("exact", 4.0, "liquid-96", "timed", i) for i in range(3))],
            since=NOW,
            attempt=2,
        )
        await until_drawn(hand, "attempt 2")
        await until_drawn(hand, "liquid-96 (1/1)")
        legend = [line for line in drawn(hand).splitlines() if "×" in line]
        assert [line.split()[1] for line in legend] == ["exact"]
        assert legend[0].split()[2] == "4.00"
        assert legend[0].split()[5] == "3"


async def test_the_axis_is_logarithmic_by_itself_where_plans_lie_far_apart_and_l_turns_it() -> None:
    async with opened(running(), "k3m7fp") as hand:
        assert "log axis" in drawn(hand)
        await press(hand, "l")
        assert "linear axis" in drawn(hand)
        assert "0┤" in drawn(hand).replace(" ", "")


async def test_s_smooths_and_unsmooths() -> None:
    async with opened(running(), "k3m7fp") as hand:
        assert "every point" in drawn(hand)
        await press(hand, "s")
        assert timing(hand).smooth
        assert "smooth lines" in drawn(hand)
        await press(hand, "s")
        assert "every point" in drawn(hand)


@pytest.mark.parametrize("height", [36, 40, 50])
async def test_every_error_is_seen_beside_the_times(height: int) -> None:
    async with opened(running(), "k3m7fp", size=(132, height)) as hand:
        text = drawn(hand)
        assert text.count("◆ 38.6") == 4
        assert "● 0.00460" in text
        assert "more: z, or" not in text


async def test_errors_for_which_there_is_no_room_are_counted() -> None:
    async with opened(running(), "k3m7fp", size=(132, 22)) as hand:
        await until_drawn(hand, "more: z, or a taller terminal")
        text = drawn(hand)
        assert "● 0.00460" in text  # what is held against the reference comes before the labels
        assert text.count("◆ 38.6") < 4


async def test_errors_are_drawn_to_the_reference_and_to_the_labels() -> None:
    async with opened(running(), "k3m7fp") as hand:
        await press(hand, "2")
        text = drawn(hand)
        assert "● to reference" in text
        assert "● 0.00460" in text
        assert text.count("◆ 38.6") == 4


async def test_a_failure_is_said_in_full_above_everything() -> None:
    workbench = RecordedWorkbench()
    sentence = "The model my.model lacks the element Si; it knows H, C, O."
    workbench.add(job("f5t6uu", JobState.FAILED, ran_s=2.0), failed(sentence))
    workbench.logs["f5t6uu"] = b"loading my.model\n"
    async with opened(workbench, "f5t6uu") as hand:
        await until_drawn(hand, sentence)
        await until_drawn(hand, "loading my.model")  # the log is what one wants to read then


async def test_a_warning_is_shown_and_how_many_came_before() -> None:
    workbench = running()
    workbench.tell("k3m7fp", [Caution("first"), Caution("the machine is busy: load 6.2")])
    async with opened(workbench, "k3m7fp") as hand:
        await until_drawn(hand, "! the machine is busy: load 6.2 (and 1 before)")


async def test_results_come_as_a_table_with_what_they_were_measured_on() -> None:
    workbench = RecordedWorkbench()
    workbench.add(job("q8r4zz", JobState.COMPLETED), finished(benchmark(80)))
    async with opened(workbench, "q8r4zz") as hand:
        await until_drawn(hand, "100%")
        await press(hand, "3")
        text = drawn(hand)
        assert "speed-up" in text
        assert "6.4e-10" in text
        assert text.count("Measured on: ") == 1  # below, where it stands for all panels
        assert "8358 @ 2.60GHz · cpu · 1 thread" in text


async def test_a_table_that_was_measured_on_something_else_says_so() -> None:
    workbench = RecordedWorkbench()
    *events, result, finish = finished(benchmark(80))
    assert isinstance(result, Result)
    summary = {**result.summary, "measured_on": {"device": "cuda", "host": "gpu-q-1"}}
    elsewhere = replace(result, summary=summary)
    workbench.add(job("q8r4zz", JobState.COMPLETED), [*events, elsewhere, finish])
    async with opened(workbench, "q8r4zz") as hand:
        await press(hand, "3")
        await until_drawn(hand, "Measured on: cuda · host gpu-q-1")


async def test_under_the_numbers_stands_what_they_were_measured_on() -> None:
    async with opened(running(), "k3m7fp") as hand:
        text = " ".join(line.strip() for line in drawn(hand).splitlines())
        for fact in (
            "Measured on: model h2co-small",
            "192 atoms, 18 edges/atom",
            "Xeon 8358 @ 2.60GHz · cpu · 1 thread",
            "torch 2.13.0",
            "mace-torch 0.3.16",
            "host node07 · load 1.02",
        ):
            assert fact in text, fact


async def test_the_log_keeps_what_a_progress_bar_left_and_follows_its_end() -> None:
    workbench = running()
    lines = b"".join(b"line %d\n" % i for i in range(100))
    workbench.logs["k3m7fp"] = lines + b"10%\r50%\r\x1b[32m99%\x1b[0m\n"
    async with opened(workbench, "k3m7fp") as hand:
        await press(hand, "4")
        await until_drawn(hand, "99%")
        assert "50%" not in drawn(hand)
        await press(hand, "f")
        assert not hand.app.screen.query_one(LogTail).following
        await press(hand, "home")
        assert "line 0 " in drawn(hand)
        await press(hand, "f")
        assert "99%" in drawn(hand)


@pytest.mark.parametrize(("size", "n_shown"), [(SMALL, 1), (LARGE, 4)])
async def test_narrow_terminals_show_one_panel_and_wide_ones_all(size: tuple[int, int], n_shown: int) -> None:
    async with opened(running(), "k3m7fp", size=size) as hand:
        for panel in ("2", "4", "tab"):
            await press(hand, panel)
            assert len(panels_shown(hand)) == n_shown


async def test_z_gives_one_panel_all_the_room_and_all_of_them_theirs_again() -> None:
    async with opened(running(), "k3m7fp", size=LARGE) as hand:
        for zoom, n_shown in (("z", 1), ("3", 1), ("z", 4)):
            await press(hand, zoom)
            assert len(panels_shown(hand)) == n_shown
        await press(hand, "z")
        assert panels_shown(hand) == ["results"]
        assert hand.app.screen.query_one("#results").size.width > LARGE[0] - 4


async def test_resubmitting_on_a_runs_screen_opens_the_new_run() -> None:
    workbench = RecordedWorkbench()
    workbench.add(job("q8r4zz", JobState.COMPLETED), finished(benchmark(80)))
    async with opened(workbench, "q8r4zz") as hand:
        await press(hand, "r")
        await until_drawn(hand, "benchmark  new001")
        assert "○ pending" in drawn(hand)
        await press(hand, "escape")
        assert type(hand.app.screen).__name__ == "JobsScreen"


async def test_a_run_that_is_not_known_is_named_and_the_jobs_are_shown() -> None:
    async with opened(running(), "zzzzzz") as hand:

        async def ask() -> list[str]:
            await hand.pause()
            return notices(hand)

        assert await until(ask) == ["There is no job 'zzzzzz'."]
        assert "k3m7fp" in drawn(hand)


ODD_NUMBERS = (0.0, -1.0, 1e-300, 5e-324, 1e300, None)


@pytest.mark.parametrize("odd", ODD_NUMBERS)
@pytest.mark.parametrize("beside", [(), (3.0, 4.0)], ids=["alone", "beside others"])
async def test_numbers_that_no_chart_expects_are_drawn_somehow(
    odd: float | None, beside: tuple[float, ...]
) -> None:
    workbench = RecordedWorkbench()
    bodies: list[Body] = [Start("benchmark", provenance={"threads": "many", "versions": ["odd"]})]
    for index, ms in enumerate((odd, *beside, odd)):
        bodies.append(Timing("odd", ms, "", "timed", index))
        bodies.append(Accuracy("odd", case=f"case {index}", force_rmse_mev_per_a=ms, passed=False))
        bodies.append(Resource(cpu_percent=ms, rss_mb=ms))
        bodies.append(Progress(-5, 3, "odd"))
    bodies.append(Result("results.json", {"columns": [], "rows": [[odd], 3], "measured_on": [odd]}))
    workbench.add(job("aaaaaa"), bodies)
    async with opened(workbench, "aaaaaa", size=LARGE) as hand:
        await until_drawn(hand, "threads many")
        for _ in range(2):
            await press(hand, "l", "s")
            assert "ms, by evaluation" in drawn(hand)


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (300, 80)])
async def test_any_size_of_terminal_is_endured(size: tuple[int, int]) -> None:
    async with opened(running(), "k3m7fp", size=size) as hand:
        await press(hand, "2", "3", "4", "1")
        assert len(drawn(hand).splitlines()) == size[1]
        await press(hand, "escape", "n", "escape", "question_mark")
        assert len(drawn(hand).splitlines()) == size[1]


async def test_a_run_that_is_known_already_is_drawn_at_once() -> None:
    workbench = RecordedWorkbench()
    workbench.add(job("q8r4zz", JobState.COMPLETED, name="demo"), finished(benchmark(80)))
    await workbench.fetch("q8r4zz")
    async with opened(workbench, "q8r4zz") as hand:
        assert "✓ completed  demo" in drawn(hand)
        assert "speed-up" in drawn(hand)
