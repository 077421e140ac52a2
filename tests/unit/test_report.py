from __future__ import annotations

import pytest

from workbench import report


def test_a_table_puts_numbers_to_the_right() -> None:
    text = report.table(("NAME", "MS"), [("a", "1.5"), ("longer", "12.0")])
    assert text.splitlines() == ["NAME      MS", "a        1.5", "longer  12.0"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.4, "0:00"), (61, "1:01"), (3661.2, "1:01:01"), (90000, "25:00:00")]
)
def test_a_duration_reads_like_a_clock(seconds: float | None, text: str) -> None:
    assert report.duration(seconds) == text


def test_a_summary_without_columns_is_shown_by_its_keys() -> None:
    assert report.summary_table({"epochs": 3}).splitlines()[1].split() == ["epochs", "3"]


def test_a_table_says_what_it_was_measured_on() -> None:
    model = {"name": "h2co-small", "n_parameters": 9}
    measured_on = {"device": "cpu", "threads": 1, "versions": {"torch": "2.13"}, "model": model, "host": "n1"}
    text = report.summary_table(
        {"columns": ["plan", "ms"], "rows": [["fast", 1.5]], "measured_on": measured_on}
    )
    assert text.splitlines()[-1] == "measured on model h2co-small · cpu · 1 thread · torch 2.13 · host n1"


def test_a_table_whose_rows_are_ragged_is_cut_to_its_header() -> None:
    text = report.summary_table({"columns": ["a", 2], "rows": [["x"], ["y", "z", "w"], 5, [[1], {}]]})
    assert [line.split() for line in text.splitlines()] == [
        ["a", "2"], ["x", "-"], ["y", "z"], ["5", "-"], ["[1]", "{}"],
    ]  # fmt: skip


def test_text_from_a_cluster_moves_no_cursor() -> None:
    text = report.summary_table({"columns": ["a\x1b[2Jb"], "rows": [["c\nd\re\x07"]]})
    assert text == "ab\nc�d�e�"
