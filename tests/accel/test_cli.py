import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from accel.cli import main
from accel.parity_table import PARITY_COLUMNS
from accel.table import BENCHMARK_COLUMNS, PROFILE_COLUMNS
from accel.tune_table import TUNE_COLUMNS

BENCH = ["bench", "h2co-small", "shipped:liquid", "--sizes", "6", "--repeats", "2", "--labelled", "1"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command sets for its own process must not reach other tests."""
    monkeypatch.setattr(os, "environ", dict(os.environ))


def test_bench_prints_a_table_and_what_it_was_measured_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(BENCH) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["plan", "dtype", "atoms"]
    assert lines[1].startswith("reference ")
    assert lines[2].startswith("reference-fp32 ")
    assert "Measured on " in out
    assert "thread), torch " in out
    assert "timing 6 atoms" in err


def test_bench_as_json_is_everything_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BENCH, "--plans", "reference-fp32", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert tuple(record["table"]["columns"]) == BENCHMARK_COLUMNS
    assert [len(row) for row in record["table"]["rows"]] == [len(BENCHMARK_COLUMNS)] * 2
    assert [len(one["times_ms"]) for one in record["measurements"]] == [2, 2]
    assert record["measured_on"]["threads"] == 1
    assert {one["against"] for one in record["errors"]} == {"reference", "labels"}


def test_a_wrong_answer_is_printed_without_a_speed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = dict.fromkeys(("energy_mev_per_atom", "force_rmse_mev_per_a", "force_max_mev_per_a"), 1e-12)
    plan = {"name": "strict", "dtype": "float32", "tolerance": {**limits, "stress_rmse_mev_per_a3": 1}}
    (tmp_path / "strict.json").write_text(json.dumps(plan))
    assert main([*BENCH, "--plans", str(tmp_path / "strict.json"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    row = dict(zip(BENCHMARK_COLUMNS, record["table"]["rows"][1], strict=True))
    assert (row["plan"], row["ms"], row["× reference"], row["parity"]) == ("strict", None, None, "failed")
    assert any(note.startswith("strict is not timed on 6 atoms: ") for note in record["notes"])


def test_tune_writes_a_plan_that_bench_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    plan = str(tmp_path / "mine.json")
    limits = ["--force", "0.1meV/A", "--energy", "0.01meV/atom", "--plans", "reference-fp32"]
    few = ["--sizes", "6", "--repeats", "2", "--labelled", "1"]
    assert main(["tune", "h2co-small", "shipped:liquid", *few, *limits, "--out", plan, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert tuple(record["table"]["columns"]) == TUNE_COLUMNS
    assert record["plan"] == json.loads(Path(plan).read_text())
    assert record["plan"]["tolerance"]["force_rmse_mev_per_a"] == 0.1
    assert record["plan"]["tuned_on"]["systems"] == "6 atoms"
    assert not (tmp_path / "cache").exists()  # the fastest of two is not what `auto` should take
    assert main([*BENCH, "--plans", plan]) == 0
    assert record["plan"]["name"] in capsys.readouterr().out


def test_a_plan_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    into = str(tmp_path / "file" / "mine.json")
    assert main(["tune", "h2co-small", "--out", into]) == 1
    assert f"The plan cannot be written to {into}: Not a directory" in capsys.readouterr().err


def test_parity_prints_a_row_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    plans = ["--plans", "swap,oeq", "--limit", "1", "--drift-steps", "8"]
    assert main(["parity", "h2co-small", "shipped:test", *plans, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert tuple(record["table"]["columns"]) == PARITY_COLUMNS
    rows = [dict(zip(PARITY_COLUMNS, row, strict=True)) for row in record["table"]["rows"]]
    assert [(row["plan"], row["parity"]) for row in rows] == [("swap", "passed"), ("oeq", "not tried")]
    assert rows[0]["force loss"] < 1e-9
    assert abs(rows[0]["drift meV/atom/ps"]) < 1e-3


def test_profile_prints_a_row_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["profile", "h2co-small", "--size", "6", "--repeats", "1", "--dtype", "float32", "--json"]) == 0
    )
    record = json.loads(capsys.readouterr().out)
    assert tuple(record["table"]["columns"]) == PROFILE_COLUMNS
    rows = {
        str(row[0]).strip(): dict(zip(PROFILE_COLUMNS, row, strict=True)) for row in record["table"]["rows"]
    }
    assert rows["interactions.0.conv_tp"]["dtype"] == "float32"
    assert rows["interactions.0.conv_tp"]["device"] == "cpu"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bench", "nowhere", "shipped:liquid"], "There is no model nowhere"),
        (["bench", "h2co-small", "gone.xyz"], "There is no structure file gone.xyz"),
        (["bench", "h2co-small", "shipped:liquid", "--plans", "warp"], "There is no plan 'warp'"),
        (["bench", "h2co-small", "shipped:liquid", "--device", "abacus"], "abacus"),
        (["tune", "h2co-small", "--force", "0.1"], "'0.1' is no limit of force"),
        (["tune", "h2co-small", "--plans", "auto"], "auto is what tuning finds"),
        (["profile", "nowhere"], "There is no model nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mace-accel: ")
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["bench"], [*BENCH, "--repeats", "0"], [*BENCH, "--sizes", "a"]]
)
def test_a_command_that_is_not_understood_is_an_error_of_use(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: mace-accel" in capsys.readouterr().err


def test_a_full_disk_under_the_output_is_one_sentence() -> None:
    if not Path("/dev/full").exists():  # no Linux: nothing there plays a full disk
        return
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "accel", "profile", "h2co-small", "--size", "6", "--repeats", "1"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[-1] == "mace-accel: The result cannot be written: No space left on device."
    )
    assert "Traceback" not in done.stderr
