"""Text that a cluster, or somebody on it, has written: drawn as it is, and obeyed by nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.protocol import (
    Accuracy,
    Body,
    Caution,
    Epoch,
    Failure,
    Finish,
    Progress,
    Resource,
    Result,
    Start,
    Timing,
)
from jobs.spec import RunSpec
from tests.tui.opened import LARGE, SMALL, Hand, drawn, opened, press, settled, until_drawn
from tests.tui.recorded import RecordedWorkbench, job
from workbench.errors import ConnectionFailed
from workbench.model.job import JobState

EVIL = "".join(
    [
        "[bold red]x[/][@click=app.quit]q[/]",  # markup, and an action
        "\x1b[2J\x1b[31m\x9b1m",  # escape sequences of 7 and of 8 bits
        "\x1b]52;c;ZXZpbA==\x07\x1b]0;title\x1b\\\x1b]8;;http://x\x07",  # clipboard, title, link
        "\n\r\t\b\x00\x7f",
        "\u202edetrevni\u2066\u200b",  # right to left, isolated, of no width
        "\ud800",  # half of a letter
    ]
)
LEFT = "[bold red]x[/]"
"""What is to be seen of it at least."""
HUGE = EVIL + 500_000 * "A" + 100_000 * "\x1b]"


def told(text: str) -> list[Body]:
    """Events with the text wherever one can stand."""
    return [
        Start(text, text, text, 1, {text: text, "versions": {text: text}, "device": text}),
        Progress(1, 2, text),
        Caution(text),
        Accuracy(text, text, text, 1, 0.0, 1.0, 1.0, passed=True),
        *(Timing(text, 1.0 + index, text, "timed", index, 96, 1728) for index in range(5)),
        Failure(text),
        Finish(text, 1, 2.0),
    ]


def nothing_gets_through(hand: Hand) -> None:
    lines = drawn(hand).split("\n")
    assert len(lines) == hand.app.size.height
    for line in lines:
        assert line.isprintable(), line
    assert hand.app.clipboard == ""
    assert hand.app.is_running


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("text", [EVIL, HUGE], ids=["evil", "huge"])
async def test_untrusted_text_is_obeyed_nowhere(text: str, size: tuple[int, int]) -> None:
    workbench = RecordedWorkbench()
    evil = job("aaaaaa", JobState.FAILED, spec=RunSpec(name=text, model=text), reason=text, profile=text)
    evil = replace(evil, folder=text, status=replace(evil.status, node=text))
    workbench.add(evil, told(text))
    workbench.logs["aaaaaa"] = text.encode(errors="replace")
    workbench.trouble = ConnectionFailed(text, text)
    async with opened(workbench, size=size) as hand:
        await until_drawn(hand, LEFT)
        nothing_gets_through(hand)
        for key in (
            "slash",
            "x",
            "escape",
            "c",
            "escape",
            "r",
            "escape",
            "enter",
            "l",
            *"12345",
            "question_mark",
        ):
            await press(hand, key)
            nothing_gets_through(hand)
        await settled(hand)


GARBAGE = (1e308, -1e308, 5e-324, 0.0, 1.0)


@pytest.mark.parametrize("first", [0, 1])
async def test_numbers_that_are_no_measurements_are_drawn_like_any(first: int) -> None:
    numbers = GARBAGE[first:]
    workbench = RecordedWorkbench()
    bodies: list[Body] = [Start("benchmark")]
    for index, number in enumerate(numbers):
        bodies += [
            Progress(2**63 - 1 - index, -5 + index),
            Accuracy(f"plan {index}", case="a", n_structures=1, force_rmse_mev_per_a=number),
            *(Timing(f"plan {index}", value, "a", "timed", index, 2**63 - 1) for value in numbers),
            Resource(number, number, number, number),
            Epoch(index, metrics={"loss": number}),
        ]
    bodies.append(Result("results.json", {"columns": ["a", 2], "rows": [["x"], [number, {}, []], 5]}))
    workbench.add(job("aaaaaa"), bodies)
    async with opened(workbench, "aaaaaa", size=LARGE) as hand:
        await until_drawn(hand, "ms, by evaluation")
        for key in ("l", "s", "l", *"12345"):
            await press(hand, key)
            nothing_gets_through(hand)
