from __future__ import annotations

from dataclasses import replace

from textual import events

from tests.tui.moment import NOW
from tests.tui.opened import LARGE, Hand, drawn, notices, opened, press, until_drawn, until_on
from tests.tui.recorded import RecordedWorkbench, job
from tests.tui.recorded_queues import busy_cluster, entry
from tests.waiting import until
from workbench.errors import SchedulerError
from workbench.model.job import JobState
from workbench.screens.queue import QueueScreen


def order(hand: Hand) -> list[str]:
    """The numbers on the screen, from above."""
    rows = (line.split() for line in drawn(hand).splitlines()[2:])
    # The chosen one is told of again below the table.
    return list(dict.fromkeys(row[0] for row in rows if row and row[0][:2] in ("11", "12", "13", "14")))


async def test_one_key_shows_every_job_in_the_queue_whoever_started_it() -> None:
    workbench = busy_cluster()
    async with opened(workbench, size=LARGE) as hand:
        await press(hand, "Q")
        await until_on(hand, "QueueScreen")
        assert vars(workbench.queues)["watched"] == "csd3"
        rows = {line.split()[0]: line for line in drawn(hand).splitlines()[:6]}
        assert "▶ running" in rows["12"]
        assert "59:00" in rows["12"]
        assert "aaaaaa" in rows["11"]
        assert "2h10m" in rows["13"]
        assert "others are before it" in rows["13"]
        assert "‖ held" in rows["14_[0-9]"]
        assert "4 jobs  3 not of this program  1 held" in drawn(hand)
        assert "csd3  polled 4s ago · every 12 s · 31 polls · the last took 0.18 s" in drawn(hand)
        await press(hand, "escape")
        await until_on(hand, "JobsScreen")
        assert vars(workbench.queues)["watched"] is None
        assert "csd3  polled 4s ago · every 12 s" in drawn(hand)
        asked = workbench.queues.asked.count(("stir", ""))
        await press(hand, "f5")
        assert workbench.queues.asked.count(("stir", "")) == asked + 1


async def test_without_a_cluster_there_is_no_queue_to_show() -> None:
    async with opened(RecordedWorkbench()) as hand:
        await press(hand, "Q")
        assert type(hand.app.screen).__name__ == "JobsScreen"
        assert "queue" not in drawn(hand)


async def test_the_queue_is_filtered_and_ordered() -> None:
    async with opened(busy_cluster()) as hand:
        await press(hand, "Q")
        await press(hand, "slash", *"icelake by-hand/13", "enter")
        assert order(hand) == ["13"]
        assert "1 of" in drawn(hand)
        await press(hand, "escape")
        assert len(order(hand)) == 4
        await press(hand, "o")  # by name
        assert order(hand) == ["11", "13", "14_[0-9]", "12"]
        await press(hand, "O")
        assert order(hand) == ["12", "14_[0-9]", "13", "11"]
        await press(hand, "slash", *"no such thing")
        assert "No job has all of these words" in drawn(hand)


async def test_enter_on_a_run_of_ours_opens_it() -> None:
    async with opened(busy_cluster()) as hand:
        await press(hand, "Q")
        await press(hand, *_to(hand, "11"), "enter")
        await until_drawn(hand, "benchmark  aaaaaa")
        await press(hand, "escape")
        await until_on(hand, "QueueScreen")


async def test_enter_on_another_job_shows_what_is_known_and_follows_its_output() -> None:
    workbench = busy_cluster()
    workbench.queues.logs["12"] = b"epoch 1\n"
    async with opened(workbench, size=LARGE) as hand:
        await press(hand, "Q")
        await press(hand, *_to(hand, "12"), "enter")
        await until_drawn(hand, "epoch 1")
        for text in ("JobName", "train.sh", "/home/sam/by-hand/12/slurm-12.out", "59:00 left", "cpu-q-1"):
            assert text in drawn(hand)
        workbench.queues.logs["12"] += b"epoch 2\n"
        await until_drawn(hand, "epoch 2")
        await press(hand, "f")
        assert "not following" in drawn(hand)
        await press(hand, "escape")
        await until_on(hand, "QueueScreen")


async def test_one_key_holds_a_job_and_lets_it_go() -> None:
    workbench = busy_cluster()
    async with opened(workbench, size=LARGE) as hand:
        await press(hand, "Q")
        await press(hand, *_to(hand, "13"), "h")
        await until_drawn(hand, "held by you (JobHeldUser)")
        await press(hand, "h")
        await until_drawn(hand, "others are before it (Priority)")
        assert [asked for asked in workbench.queues.asked if asked[0] != "stir"] == [
            ("hold", "13"), ("release", "13"),
        ]  # fmt: skip
        workbench.queues.trouble = SchedulerError("Job 13 could not be held: no.")
        await press(hand, "h")
        assert "Job 13 could not be held: no." in notices(hand)


async def test_a_job_by_hand_ends_only_after_a_yes() -> None:
    workbench = busy_cluster()
    async with opened(workbench) as hand:
        await press(hand, "Q")
        await press(hand, *_to(hand, "12"), "c")
        assert "End 12, train.sh?" in drawn(hand)
        await press(hand, "n")
        assert ("cancel", "12") not in workbench.queues.asked
        await press(hand, "c", "y")
        await until_drawn(hand, "⊘ cancelled")


async def test_a_run_of_ours_is_ended_as_one_of_ours() -> None:
    workbench = busy_cluster()
    async with opened(workbench) as hand:
        await press(hand, "Q")
        await press(hand, *_to(hand, "11"), "c")
        assert "End aaaaaa, ours?" in drawn(hand)
        await press(hand, "y")
        assert ("cancel", "aaaaaa") in workbench.asked


async def test_a_run_that_was_submitted_by_hand_is_adopted_and_opened() -> None:
    workbench = busy_cluster()
    workbench.queues.adoptable["12"] = job("bbbbbb", name="by hand", profile="csd3")
    async with opened(workbench, size=LARGE) as hand:
        await press(hand, "Q")
        await press(hand, *_to(hand, "13"), "a")
        assert "Job 13 is no run of this program." in notices(hand)
        await press(hand, *_to(hand, "12"), "enter")
        await until_on(hand, "QueuedScreen")
        await press(hand, "a")
        await until_drawn(hand, "benchmark  bbbbbb")
        assert "Job 12 is the run bbbbbb from now on." in notices(hand)


async def test_r_asks_now_and_p_shows_the_next_cluster() -> None:
    workbench = busy_cluster()
    workbench.queues.entries["archer"] = []
    async with opened(workbench) as hand:
        await press(hand, "Q")
        asked = workbench.queues.asked.count(("stir", ""))
        await press(hand, "r")
        assert workbench.queues.asked.count(("stir", "")) == asked + 1
        await press(hand, "p")
        await until_drawn(hand, "queue of archer")
        assert workbench.queues.watched == "archer"
        assert "No job of yours is in this queue." in drawn(hand)


async def test_a_terminal_that_nobody_looks_at_asks_more_rarely() -> None:
    workbench = busy_cluster()
    async with opened(workbench) as hand:
        hand.app.post_message(events.AppBlur())
        await until(lambda: _looking(hand, workbench), lambda looking: not looking)
        hand.app.post_message(events.AppFocus())
        await until(lambda: _looking(hand, workbench))


async def test_the_cursor_stays_on_its_job_when_the_queue_changes() -> None:
    workbench = busy_cluster()
    async with opened(workbench) as hand:
        await press(hand, "Q")
        await press(hand, *_to(hand, "13"))
        workbench.queues.entries["csd3"] = [
            entry("15", name="one more", ran_s=5), *workbench.queues.entries["csd3"]
        ]  # fmt: skip
        await until_drawn(hand, "one more")
        screen = hand.app.screen
        assert isinstance(screen, QueueScreen)
        assert screen.chosen is not None
        assert screen.chosen.id == "13"


async def test_a_name_from_elsewhere_is_drawn_as_it_is_and_obeyed_by_nobody() -> None:
    workbench = busy_cluster()
    evil = "[red]x[/]\x1b]0;title\x07\x1b[2Jy\n\u202ez"
    workbench.queues.entries["csd3"] = [entry("12", name=evil, folder=evil, why=evil)]
    async with opened(workbench, size=LARGE) as hand:
        await press(hand, "Q")
        assert "[red]x[/]y��z" in drawn(hand)
        await press(hand, "c", "n", "enter")
        await until_drawn(hand, "JobName")
        assert "\x1b" not in drawn(hand)
        assert "[red]x[/]y��z" in drawn(hand)


async def test_a_job_of_ours_that_waits_is_held_with_one_key() -> None:
    workbench = RecordedWorkbench()
    waiting = job("cccccc", JobState.PENDING, name="young", reason="Resources")
    start = replace(waiting.status, expected_start_at=NOW + 1800)
    workbench.add(replace(waiting, status=start))
    async with opened(workbench, size=LARGE) as hand:
        assert "(in 30m)" in drawn(hand)
        await press(hand, "h")
        await until_drawn(hand, "‖ held")
        await press(hand, "h")
        await until_drawn(hand, "○ pending")
        assert notices(hand) == ["cccccc is held: h lets it go again.", "cccccc may start again."]


def _to(hand: Hand, native_id: str) -> list[str]:
    """The keys that lead to a job."""
    place = [row.partition("_")[0] for row in order(hand)].index(native_id)
    return ["g", *["j"] * place]


async def _looking(hand: Hand, workbench: RecordedWorkbench) -> bool:
    await hand.pause()
    return workbench.queues.looking
