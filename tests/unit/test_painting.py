"""The process that builds charts: the same pictures, and pictures all the same when it is gone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing

import psutil
import pytest
from rich.style import Style
from textual.strip import Strip
from textual_plotext.plot import Plot

from workbench.painting import Painter
from workbench.widgets.chart import build

STYLE = Style(color="white", bgcolor="black")
PATIENCE_S = 60.0


@pytest.fixture
def painter() -> Iterator[Painter]:
    with closing(Painter()) as painter:
        yield painter


def plot(height: float) -> Plot:
    plot = Plot()
    plot.theme("textual-default")
    plot.plotsize(40, 10)
    plot.plot([0.0, 1.0, 2.0], [0.0, height, 1.0], marker="braille", color=(200, 50, 10))
    return plot


def painters() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if _is_painter(child)]


def _is_painter(process: psutil.Process) -> bool:
    try:
        return "workbench.painting" in process.cmdline()
    except psutil.Error:  # one of another test, which has just ended
        return False


def paint_until_apart(painter: Painter) -> psutil.Process:
    """Have pictures painted until one was built by the other process."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        painter.paint(plot(2.0), STYLE)
        if painter.is_apart:
            (process,) = painters()
            return process
    raise AssertionError("the other process has not begun")


def assert_paints(painter: Painter, height: float) -> None:
    expected: list[Strip] = build(plot(height), STYLE)
    assert any(segment.text.strip() for strip in expected for segment in strip)
    assert painter.paint(plot(height), STYLE) == expected


def test_pictures_are_the_same_wherever_they_are_built(painter: Painter) -> None:
    assert_paints(painter, 5.0)
    assert not painter.is_apart  # it is still starting
    paint_until_apart(painter)
    assert_paints(painter, 7.0)
    assert painter.is_apart


def test_a_lost_process_costs_no_picture_and_is_started_again(
    painter: Painter, caplog: pytest.LogCaptureFixture
) -> None:
    first = paint_until_apart(painter)
    first.kill()
    assert_paints(painter, 3.0)
    assert "the process that builds charts was lost" in caplog.text
    assert paint_until_apart(painter).pid != first.pid


def test_it_is_not_started_for_ever(painter: Painter) -> None:
    for _ in range(3):
        paint_until_apart(painter).kill()
        assert_paints(painter, 4.0)
    assert_paints(painter, 4.0)
    assert painters() == []


def test_it_ends_with_the_program_however_that_ends() -> None:
    program = """
import sys
from tests.unit.test_painting import paint_until_apart
from workbench.painting import Painter
print(paint_until_apart(Painter()).pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        painting = psutil.Process(int(run.stdout.readline()))
        run.send_signal(signal.SIGKILL)
    psutil.wait_procs([painting], timeout=PATIENCE_S)
    assert not painting.is_running() or painting.status() == psutil.STATUS_ZOMBIE
