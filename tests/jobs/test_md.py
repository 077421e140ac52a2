"""`jobs.md` as it runs on a cluster: killed, stopped, started again."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from accel.md_table import DRIFT_COLUMNS, MD_COLUMNS
from jobs import md
from jobs.protocol import (
    Accuracy,
    Caution,
    Checkpoint,
    Epoch,
    EventDecoder,
    Failure,
    Finish,
    Progress,
    Result,
    Start,
    Timing,
)
from jobs.spec import MdParameters, RunSpec
from tests.jobs.test_benchmark import bodies, of, written
from tests.jobs.test_entry import room_for
from tests.waiting import until

SMALL = MdParameters(plans=("reference",), n_atoms=6, n_steps=6, time_step_fs=0.25, frame_every=2)


def asked(**changes: Any) -> RunSpec:
    return RunSpec(dataclasses.replace(SMALL, **changes))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the frame sets for its own process must not reach other tests."""
    monkeypatch.setattr(os, "environ", dict(os.environ))


def frames(folder: Path) -> list[Atoms]:
    return list(ase.io.iread(folder / "trajectory.xyz"))


def steps(folder: Path) -> list[int]:
    return [frame.info["step"] for frame in frames(folder)]


def started(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "jobs.md", str(path)], stderr=subprocess.PIPE, text=True)


async def has_saved(folder: Path, process: subprocess.Popen[str], step: int) -> None:
    """Wait until a checkpoint of that step or a later one is told of."""

    async def saved() -> bool:
        told = [body for body in of(Checkpoint, folder) if body.step >= step]
        return bool(told) or process.poll() is not None

    await until(saved)
    assert process.poll() is None


def test_dynamics_tell_what_happens_and_leave_a_table(tmp_path: Path) -> None:
    path = written(tmp_path, asked(check_every=3))
    assert md.start([str(path)]) == 0
    told = bodies(tmp_path)
    assert isinstance(told[0], Start)
    assert isinstance(told[-1], Finish)
    timings = of(Timing, tmp_path)
    assert timings[0].phase == "first"
    assert (timings[-1].phase, timings[-1].index, timings[-1].plan) == ("timed", 6, "reference")
    assert all(body.ms > 0 and body.n_atoms == 6 and body.n_edges > 0 for body in timings)
    (*_, epoch) = of(Epoch, tmp_path)
    assert (epoch.epoch, epoch.total) == (6, 6)
    assert set(epoch.metrics) == {
        "potential_energy_mev_per_atom", "temperature_k", "energy_drift_mev_per_atom", "ns_per_day",
    }  # fmt: skip
    (*_, progress) = of(Progress, tmp_path)
    assert (progress.done, progress.total, progress.stage) == (6, 6, "nve")
    (*_, accuracy) = of(Accuracy, tmp_path)
    assert (accuracy.against, accuracy.case, accuracy.n_structures) == ("reference", "trajectory", 3)
    (*_, checkpoint) = of(Checkpoint, tmp_path)
    assert checkpoint == Checkpoint("trajectory.checkpoint.npz", 6)
    (result,) = of(Result, tmp_path)
    assert tuple(result.summary["columns"]) == MD_COLUMNS
    row = dict(zip(MD_COLUMNS, result.summary["rows"][0], strict=True))
    assert (row["plan"], row["steps"], row["checks"]) == ("reference", 6, 3)
    assert row["ns/day"] == pytest.approx(0.25e-6 * 86_400_000 / row["ms/step"])
    assert result.summary["measured_on"]["model"]["name"] == "h2co-small"
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["md"]["n_frames"] == len(frames(tmp_path)) == 4


async def test_a_run_killed_in_the_middle_goes_on_and_no_frame_is_lost_or_doubled(tmp_path: Path) -> None:
    many = asked(ensemble="langevin", n_steps=1_000_000)
    path = written(tmp_path, many)
    process = started(path)
    await has_saved(tmp_path, process, 4)
    process.kill()
    process.communicate()
    with np.load(tmp_path / "trajectory.checkpoint.npz") as stored:
        reached = json.loads(str(stored["state"]))["step"]
    assert reached > 0
    with (tmp_path / "trajectory.xyz").open("ab") as file:
        file.write(b"6\nProperties=species:S:1:pos:R:3 st")  # what a kill in the middle of a frame leaves
    last = reached + 4
    written(tmp_path, asked(ensemble="langevin", n_steps=last))
    assert md.start([str(path)]) == 0
    assert steps(tmp_path) == list(range(0, last + 1, 2))
    events = EventDecoder().feed((tmp_path / "events.jsonl").read_bytes())
    assert {event.attempt for event in events} == {1, 2}
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    (note,) = of(Caution, tmp_path)
    assert note.message == f"Going on after step {reached}."


async def test_a_run_asked_to_stop_saves_the_step_it_is_at(tmp_path: Path) -> None:
    path = written(tmp_path, asked(n_steps=1_000_000, frame_every=500_000))
    process = started(path)
    await has_saved(tmp_path, process, 0)

    async def is_stepping() -> bool:
        return any(body.phase == "timed" for body in of(Timing, tmp_path)) or process.poll() is not None

    await until(is_stepping)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in log
    finish = bodies(tmp_path)[-1]
    assert isinstance(finish, Finish)
    assert (finish.status, finish.exit_code) == ("stopped", 128 + signal.SIGTERM)
    assert not (tmp_path / "results.json").exists()
    (*_, saved) = of(Checkpoint, tmp_path)
    assert saved.step > 0
    assert steps(tmp_path) == [0]

    written(tmp_path, asked(n_steps=saved.step + 2, frame_every=500_000))
    assert md.start([str(path)]) == 0
    (result,) = of(Result, tmp_path)
    assert result.summary["rows"][0][MD_COLUMNS.index("steps")] == saved.step + 2


async def test_a_run_whose_time_is_nearly_up_saves_itself_and_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path, asked(n_steps=1_000_000, frame_every=500_000))
    process = started(path)
    await has_saved(tmp_path, process, 0)

    async def saved() -> bool:
        process.send_signal(signal.SIGUSR1)  # as often as it takes until it has begun to step
        return any(one.step > 0 for one in of(Checkpoint, tmp_path)) or process.poll() is not None

    await until(saved)
    assert process.poll() is None
    assert "The time of this job is nearly up." in [one.message for one in of(Caution, tmp_path)]
    before = of(Checkpoint, tmp_path)[-1].step

    async def goes_on() -> bool:
        process.send_signal(signal.SIGUSR1)
        return of(Checkpoint, tmp_path)[-1].step > before or process.poll() is not None

    await until(goes_on)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"structures": "iron.xyz", "n_atoms": 0}, "has Fe (iron), which"),
        ({"ensemble": "nvt"}, "no ensemble 'nvt'"),
        ({"plans": ("reference", "exact")}, "One trajectory takes one plan, not 2"),
        ({"n_steps": 0}, "n_steps should be 1 or more"),
        ({"ensemble": "npt"}, "periodic in all directions"),
        (
            {"plans": ("exact",), "n_atoms": 0, "time_step_fs": 10.0, "n_steps": 60},
            "The system blew up at step",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_run_is_one_sentence(
    change: dict[str, Any],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    write("iron.xyz", Atoms("Fe"))
    written(tmp_path, asked(**change))
    assert md.start(["spec.json"]) == 1
    *_, failure, finish = bodies(tmp_path)
    assert isinstance(failure, Failure)
    assert said in failure.message
    assert isinstance(finish, Finish)
    assert (finish.status, finish.exit_code) == ("failed", 1)
    assert not (tmp_path / "results.json").exists()
    assert not [record for record in caplog.records if record.exc_info]


def test_a_full_disk_ends_the_run_with_a_sentence_and_the_next_attempt_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, asked(n_steps=40, frame_every=1))
    with room_for(20_000):
        assert md.start([str(path)]) == 73
    assert "No room is left for" in caplog.text
    kept = steps(tmp_path)
    assert kept == list(range(len(kept)))
    assert 0 < len(kept) < 41
    assert not (tmp_path / "results.json").exists()
    assert md.start([str(path)]) == 0
    assert steps(tmp_path) == list(range(41))


def test_the_drift_of_plans_is_compared(tmp_path: Path) -> None:
    spec = asked(plans=("reference-fp32",), n_steps=12, drift_starts=2)
    assert md.start([str(written(tmp_path, spec))]) == 0
    (result,) = of(Result, tmp_path)
    assert tuple(result.summary["columns"]) == DRIFT_COLUMNS
    rows = [dict(zip(DRIFT_COLUMNS, row, strict=True)) for row in result.summary["rows"]]
    assert [(row["plan"], row["starts"]) for row in rows] == [("reference", 2), ("reference-fp32", 2)]
    assert (rows[0]["verdict"], rows[1]["verdict"]) == ("reference", "no worse")
    assert rows[1]["excess over reference"] <= rows[1]["spread (2 s.e.)"]
    (*_, progress) = of(Progress, tmp_path)
    assert progress.done == progress.total == 48
    record = json.loads((tmp_path / "results.json").read_text())
    assert np.shape([one["slopes"] for one in record["drift"]]) == (2, 2)
