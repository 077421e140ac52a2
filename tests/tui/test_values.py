"""What the widgets are made of, without a screen."""

from __future__ import annotations

import math
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.tui.recorded import job
from workbench import commands
from workbench.model.job import JobState
from workbench.model.series import Series
from workbench.plain import for_terminal, plain
from workbench.widgets import axes, words
from workbench.widgets.job_columns import layout
from workbench.widgets.lines import fitted, log_lines, short
from workbench.widgets.measured import MOST_STRETCHES, Measured

VALUES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=2_000)


@given(VALUES, st.integers(1, 50))
def test_an_outline_keeps_extremes_ends_and_median_however_the_values_come(
    values: list[float], piece: int
) -> None:
    series = Series()
    measured = Measured(series)
    for start in range(0, len(values), piece):
        for value in values[start : start + piece]:
            series.append(len(series), value)
        measured.catch_up()
    xs, ys = measured.line(64)
    assert min(ys) == min(values)
    assert max(ys) == max(values)
    assert xs == sorted(xs)
    assert len(xs) <= 2 * 64
    assert len(measured.stretches) <= MOST_STRETCHES
    assert measured.quantile(0.5) == pytest.approx(median(values))
    assert not measured.catch_up()


@given(VALUES)
def test_a_smooth_line_stays_between_the_extremes(values: list[float]) -> None:
    series = Series()
    for value in values:
        series.append(len(series), value)
    measured = Measured(series)
    measured.catch_up()
    _, ys = measured.line(smooth=True)
    assert min(values) * (1 - 1e-9) <= min(ys) <= max(ys) <= max(values) * (1 + 1e-9)


@given(st.floats(1e-9, 1e9), st.floats(1.001, 1e9), st.integers(3, 20))
def test_marks_stand_within_the_axis_and_are_not_too_many(low: float, factor: float, most: int) -> None:
    high = low * factor
    for marks in (axes.linear_ticks(low, high, most), axes.log_ticks(low, high, most)):
        assert marks == sorted(marks)
        air = (high - low) * 1e-6
        assert all(low - air <= mark <= high + air for mark in marks)
        assert len(marks) <= most + 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_letters_at_the_ends_of_lines_do_not_cover_each_other(ends: list[float]) -> None:
    rows = axes.spread_out([20 * end for end in ends], 20)
    assert len(set(rows)) == len(rows)
    assert all(0 <= row <= 20 for row in rows)


@given(st.floats(-1e300, 1e300))
def test_a_number_is_written_within_three_digits(value: float) -> None:
    text = axes.number(value)
    assert math.isclose(float(text), value, rel_tol=6e-2, abs_tol=1e-300)
    assert len(text) <= 9


@given(st.binary())
def test_no_log_can_reach_the_terminal(data: bytes) -> None:
    assert all(line.isprintable() for line in log_lines(data))


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"", []),
        (b"a\r\nb", ["a", "b"]),
        (b" 10%\r 50%\r 99%\n", [" 99%"]),
        (b"\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x1b\\link\x1b]8;;\x07\n", ["red link"]),
        (b"\x1b]52;c;ZXZpbA==\x07safe\n", ["safe"]),
        (b"\xff\x00\n", ["\ufffd\ufffd"]),
        (b"a\tb\n", ["a       b"]),
    ],
)
def test_a_log_is_what_a_terminal_would_leave(data: bytes, lines: list[str]) -> None:
    assert log_lines(data) == lines


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_nothing_that_a_terminal_obeys_is_left_of_any_text(text: str) -> None:
    assert plain(text).isprintable()
    left = for_terminal(text.encode(errors="replace")).decode()
    assert all(letter.isprintable() or letter in "\n\r\t" for letter in left)


@pytest.mark.parametrize("beginning", ["\x1b]", "\x1b[1;", "\x1bP0\n", "\x1b]0;a\n"])
def test_a_megabyte_of_sequences_that_do_not_end_is_read_at_once(beginning: str) -> None:
    text = beginning * (1_000_000 // len(beginning))
    assert len(plain(text)) <= 10_001
    assert b"\x1b" not in for_terminal(text.encode())
    assert all(line.isprintable() for line in log_lines(text.encode()))


@given(st.text(), st.integers(0, 40))
def test_text_is_cut_to_the_columns_there_are(text: str, width: int) -> None:
    text = plain(text)
    assert cell_len(short(text, width)) <= width
    assert cell_len(fitted(text, width)) == width


@pytest.mark.parametrize("width", [78, 100, 158, 300])
def test_the_columns_fill_the_width_and_do_not_exceed_it(width: int) -> None:
    columns = layout(width)
    assert sum(found + 1 for _, found in columns) - 1 == width
    titles = [column.title for column, _ in columns]
    assert {"id", "state", "name", "elapsed", "progress", "left", "as of"} <= set(titles)


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_is_told_by_a_word_that_fits_its_column(state: JobState) -> None:
    assert cell_len(words.state_text(state)) <= 13
    assert words.state_tone(state) in ("running", "done", "waiting", "muted", "failed")


def test_ages_are_short_and_over_jobs_have_none() -> None:
    ages = [words.age(seconds) for seconds in (None, -3, 0, 59.9, 60, 3_599, 7_200, 200_000)]
    assert ages == ["never", "0s", "0s", "59s", "1m", "59m", "2h", "2d"]
    assert words.job_age(job("aaaaaa", JobState.COMPLETED), 0.0) == ""


@pytest.mark.parametrize("here", [commands.JOBS + commands.TABLE, commands.RUN, commands.SUBMIT])
def test_no_key_means_two_things(here: tuple[commands.Command, ...]) -> None:
    keys = [key for command in (*here, *commands.APP) for key in command.key.split(",")]
    assert len(keys) == len(set(keys))
