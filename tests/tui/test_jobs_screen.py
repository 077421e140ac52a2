from __future__ import annotations

import pytest
from textual.strip import Strip

from tests.tui.opened import LARGE, Hand, drawn, notices, opened, press, settled, until_drawn, until_on
from tests.tui.recorded import RecordedWorkbench, benchmark, failed, job
from tests.waiting import until
from workbench.app import WorkbenchApp
from workbench.errors import ConnectionFailed, FileFailed
from workbench.model.job import JobState
from workbench.screens.jobs import JobsScreen
from workbench.turns import Turns
from workbench.widgets.job_table import JobTable


def three() -> RecordedWorkbench:
    workbench = RecordedWorkbench()
    workbench.add(job("aaaaaa", JobState.COMPLETED, name="old", age_s=900))
    workbench.add(job("bbbbbb", name="middle", age_s=600), benchmark(20))
    workbench.add(job("cccccc", JobState.PENDING, name="young", age_s=300, reason="Resources"))
    return workbench


def chosen(hand: Hand) -> str:
    screen = hand.app.screen
    assert isinstance(screen, JobsScreen)
    return screen.chosen_job.id if screen.chosen_job else ""


def order(hand: Hand) -> list[str]:
    """The ids on the screen, from above."""
    return [
        line.split()[0] for line in drawn(hand).splitlines() if line[1:7] in ("aaaaaa", "bbbbbb", "cccccc")
    ]


async def test_an_empty_workbench_tells_a_newcomer_what_to_press() -> None:
    async with opened(RecordedWorkbench()) as hand:
        assert "Press  n" in drawn(hand)
        await press(hand, "n")
        assert "What do fp32 and torch.compile gain" in drawn(hand)


async def test_the_newest_job_stands_first_and_vi_keys_move() -> None:
    async with opened(three()) as hand:
        assert order(hand) == ["cccccc", "bbbbbb", "aaaaaa"]
        found = []
        for key in ("j", "j", "j", "k", "g", "G"):
            await press(hand, key)
            found.append(chosen(hand)[0])
        assert found == ["b", "a", "a", "b", "c", "a"]


async def test_states_are_told_by_words_and_progress_by_numbers() -> None:
    async with opened(three(), size=LARGE) as hand:
        await until_drawn(hand, "25%")
        rows = {line.split()[0]: line for line in drawn(hand).splitlines() if line.strip()}
        assert "○ pending" in rows["cccccc"]
        assert "▶ running" in rows["bbbbbb"]
        assert "25%" in rows["bbbbbb"]
        assert "1:05" in rows["bbbbbb"]
        assert "✓ completed" in rows["aaaaaa"]


async def test_the_cursor_stays_on_its_job_when_another_comes() -> None:
    workbench = three()
    async with opened(workbench) as hand:
        await press(hand, "j")
        workbench.add(job("dddddd", age_s=1))
        await until_drawn(hand, "dddddd")
        assert chosen(hand) == "bbbbbb"


async def test_a_filter_shows_the_jobs_with_all_its_words_until_it_is_left() -> None:
    async with opened(three()) as hand:
        await press(hand, "slash", *"run mid")
        assert order(hand) == ["bbbbbb"]
        assert "1 of" in drawn(hand)
        await press(hand, "enter")
        assert chosen(hand) == "bbbbbb"
        await press(hand, "escape")
        assert len(order(hand)) == 3


async def test_a_filter_that_matches_nothing_says_so() -> None:
    async with opened(three()) as hand:
        await press(hand, "slash", *"nothing")
        assert "No job has all of these words" in drawn(hand)


async def test_the_order_goes_by_the_next_column_and_can_be_turned_round() -> None:
    async with opened(three()) as hand:
        await press(hand, "o", "o")
        assert order(hand) == ["bbbbbb", "aaaaaa", "cccccc"]  # middle, old, young
        await press(hand, "O")
        assert order(hand) == ["cccccc", "aaaaaa", "bbbbbb"]


async def test_enter_opens_the_run_and_escape_leads_back_to_its_job() -> None:
    async with opened(three()) as hand:
        await press(hand, "j", "enter")
        await until_drawn(hand, "benchmark  bbbbbb")
        await press(hand, "escape")
        await until_on(hand, "JobsScreen")
        assert chosen(hand) == "bbbbbb"


async def test_one_key_resubmits_and_the_cursor_goes_to_the_new_job() -> None:
    workbench = three()
    async with opened(workbench) as hand:
        await press(hand, "G", "r")
        assert ("resubmit", "aaaaaa") in workbench.asked
        assert notices(hand) == ["Resubmitted aaaaaa as new003."]
        assert chosen(hand) == "new003"


async def test_what_is_not_allowed_is_said_and_the_app_goes_on() -> None:
    workbench = three()
    async with opened(workbench) as hand:
        await press(hand, "j", "R")
        assert notices(hand) == ["Job bbbbbb is not over (running): cancel it first."]
        await press(hand, "k")
        assert chosen(hand) == "cccccc"


async def test_a_job_ends_only_after_a_yes() -> None:
    workbench = three()
    async with opened(workbench) as hand:
        await press(hand, "j", "c")
        assert "End bbbbbb, middle?" in drawn(hand)
        await press(hand, "n")
        assert ("cancel", "bbbbbb") not in workbench.asked
        await press(hand, "c", "y")
        assert ("cancel", "bbbbbb") in workbench.asked
        assert "⊘ cancelled" in drawn(hand)


async def test_a_job_that_is_over_is_not_asked_about() -> None:
    workbench = three()
    async with opened(workbench) as hand:
        await press(hand, "G", "c")
        assert notices(hand) == ["Job aaaaaa is over already (completed)."]
        assert ("cancel", "aaaaaa") not in workbench.asked


async def test_the_id_goes_to_the_clipboard() -> None:
    async with opened(three()) as hand:
        await press(hand, "y")
        assert hand.app.clipboard == "cccccc"


async def test_a_host_that_does_not_answer_is_named_once_and_the_jobs_stay() -> None:
    workbench = three()
    workbench.trouble = ConnectionFailed("login-q-1", "the network is unreachable")
    async with opened(workbench, size=LARGE) as hand:
        await settled(hand)
        assert "! login-q-1: the network is unreachable" in drawn(hand).splitlines()[0]
        assert len(order(hand)) == 3
        assert notices(hand) == ["login-q-1: the network is unreachable"]
        workbench.trouble = None

        async def ask() -> str:
            await hand.pause()
            return drawn(hand).splitlines()[0]

        await until(ask, lambda title: "unreachable" not in title)


async def test_events_that_cannot_be_fetched_are_said_once_though_the_schedulers_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workbench = three()
    tried: list[str] = []

    async def fetch(job_id: str) -> bool:
        tried.append(job_id)
        raise FileFailed("login-q-1", "/runs/bbbbbb/events.jsonl", "permission denied")

    monkeypatch.setattr(workbench, "fetch", fetch)
    async with opened(workbench, size=LARGE) as hand:
        await press(hand, "j", "enter")

        async def ask() -> int:
            await hand.pause()
            return len(tried)

        await until(ask, lambda count: count > 3)
        assert notices(hand) == ["/runs/bbbbbb/events.jsonl on login-q-1: permission denied"]
        await press(hand, "escape")
        await until_drawn(hand, "! /runs/bbbbbb/events.jsonl on login-q-1: permission denied")


async def test_a_name_from_elsewhere_is_drawn_as_it_is_and_obeyed_by_nobody() -> None:
    workbench = RecordedWorkbench()
    workbench.add(job("aaaaaa", JobState.FAILED, name="[red]x[/]\x1b]0;title\x07\x1b[2Jy\n\u202ez"))
    async with opened(workbench, size=LARGE) as hand:
        assert "[red]x[/]y��z" in drawn(hand)
        assert "\x1b" not in drawn(hand)
        await press(hand, "c")
        await press(hand, "enter")
        await until_drawn(hand, "benchmark  aaaaaa")
        assert "[red]x[/]y��z" in drawn(hand)


async def test_the_reason_of_a_failure_stands_below_the_table() -> None:
    workbench = RecordedWorkbench()
    workbench.add(job("aaaaaa", JobState.FAILED, reason="exit status 1"), failed("x"))
    async with opened(workbench) as hand:
        assert "✗ failed: exit status 1" in drawn(hand)


async def test_ten_thousand_jobs_are_all_reached() -> None:
    workbench = RecordedWorkbench()
    for index in range(10_000):
        workbench.known[f"j{index:05d}"] = job(f"j{index:05d}", JobState.COMPLETED, age_s=1000 + index)
    async with opened(workbench) as hand:
        assert "10,000 jobs" in drawn(hand)
        await press(hand, "G")
        assert chosen(hand) == "j09999"
        assert "j09999" in drawn(hand)
        await press(hand, "ctrl+u", "k")
        assert chosen(hand) < "j09990"


async def test_every_command_of_the_screen_is_in_the_palette_and_in_help() -> None:
    async with opened(three(), size=(100, 60)) as hand:
        app = hand.app
        assert isinstance(app, WorkbenchApp)
        offered = {command.title for command in app.get_system_commands(app.screen)}
        assert {"resubmit  (r)", "requeue  (R)", "filter  (/)", "quit  (q)"} <= offered
        await press(hand, "question_mark")
        for tip in ("from its checkpoint, or in a new folder", "The last job", "Leave; runs go on"):
            assert tip in drawn(hand)


async def test_leaving_touches_no_run() -> None:
    workbench = three()
    async with opened(workbench) as hand:
        await hand.press("q")
    assert {what for what, _ in workbench.asked} <= {"refresh", "fetch"}
    assert workbench.known["bbbbbb"].state is JobState.RUNNING


async def test_of_ten_thousand_jobs_only_the_lines_that_have_changed_are_drawn_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workbench = RecordedWorkbench()
    for index in range(10_000):
        workbench.add(job(f"j{index:05d}", JobState.PENDING, age_s=600 + index))
    async with opened(workbench, size=LARGE) as hand:
        drawn_again: list[int] = []
        render_line = JobTable.render_line

        def counting(table: JobTable, y: int) -> Strip:
            drawn_again.append(y)
            return render_line(table, y)

        monkeypatch.setattr(JobTable, "render_line", counting)
        workbench.change("j00006", JobState.RUNNING)
        await until_drawn(hand, "▶ running")
        assert drawn_again == [7]  # below the header
        workbench.change("j00006", JobState.COMPLETED)
        workbench.change("j09999", JobState.COMPLETED)  # out of sight
        await until_drawn(hand, "✓ completed")
        assert drawn_again == [7, 7]


async def test_runs_that_another_machine_has_started_are_looked_for_and_shown() -> None:
    workbench = three()
    workbench.elsewhere = [job("dddddd", JobState.COMPLETED, name="another machine's")]
    async with opened(workbench) as hand:
        await press(hand, "F")
        await until_drawn(hand, "dddddd")
        await press(hand, "F")
        await until(lambda: _said(hand), lambda said: len(said) == 2)
        assert notices(hand) == [
            "Found one run that was not known here.",
            "All runs that are there are known already.",
        ]


async def _said(hand: Hand) -> list[str]:
    return notices(hand)


async def test_a_key_has_other_work_step_aside() -> None:
    class Counted(Turns):
        n_keys = 0

        def key_pressed(self) -> None:
            self.n_keys += 1

    turns = Counted()
    async with WorkbenchApp(three(), turns=turns).run_test(size=LARGE) as hand:
        await settled(hand)
        await press(hand, "j", "j")
        assert turns.n_keys == 2
