"""`jobs.benchmark` and `jobs.profile` as they run on a cluster: real models, real structures, real files."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write

from accel.table import BENCHMARK_COLUMNS, PROFILE_COLUMNS
from jobs import benchmark, profile
from jobs.entry import Work, main
from jobs.protocol import (
    Accuracy,
    Body,
    Caution,
    EventDecoder,
    Failure,
    Finish,
    Progress,
    Resource,
    Result,
    Start,
    Timing,
)
from jobs.resources import ResourceSampler
from jobs.spec import BenchmarkParameters, ProfileParameters, RunSpec
from tests.waiting import until

SMALL = BenchmarkParameters(sizes=(6,), repeats=3, n_labelled=2)
ENDLESS = BenchmarkParameters(sizes=(6,), repeats=1_000_000, labelled="")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the frame sets for its own process must not reach other tests."""
    monkeypatch.setattr(os, "environ", dict(os.environ))


def written(folder: Path, spec: RunSpec) -> Path:
    path = folder / "spec.json"
    path.write_text(spec.to_json())
    return path


def bodies(folder: Path) -> list[Body]:
    path = folder / "events.jsonl"
    events = EventDecoder().feed(path.read_bytes() if path.exists() else b"")
    return [event.body for event in events]  # type: ignore[misc]  # no kind is unknown here


def of(kind: type[Any], folder: Path) -> list[Any]:
    return [body for body in bodies(folder) if isinstance(body, kind)]


def started(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.benchmark", str(path)], stderr=subprocess.PIPE, text=True
    )


def test_a_benchmark_tells_everything_and_leaves_a_table(tmp_path: Path) -> None:
    path = written(tmp_path, RunSpec(SMALL, name="mine"))
    assert main("benchmark", benchmark.run, [str(path)]) == 0
    assert isinstance(bodies(tmp_path)[0], Start)
    assert isinstance(bodies(tmp_path)[-1], Finish)
    timed = [body for body in of(Timing, tmp_path) if body.phase == "timed"]
    assert [(body.plan, body.index) for body in timed] == [
        (plan, index) for index in range(3) for plan in ("reference", "reference-fp32")
    ]
    assert {(body.case, body.n_atoms) for body in timed} == {("6 atoms", 6)}
    assert all(body.ms > 0 and body.n_edges > 0 for body in timed)
    accuracies = of(Accuracy, tmp_path)
    assert {(body.plan, body.against, body.case) for body in accuracies} == {
        (plan, against, case)
        for plan in ("reference", "reference-fp32")
        for against, case in (
            ("reference", "labelled structures"),
            ("labels", "labelled structures"),
            ("reference", "6 atoms"),
        )
    }
    assert all(body.passed for body in accuracies)
    last = of(Progress, tmp_path)[-1]
    assert last.done == last.total

    (result,) = of(Result, tmp_path)
    assert tuple(result.summary["columns"]) == BENCHMARK_COLUMNS
    assert [row[:3] for row in result.summary["rows"]] == [
        ["reference", "float64", 6],
        ["reference-fp32", "float32", 6],
    ]
    assert result.summary["measured_on"]["model"]["name"] == "h2co-small"
    results = json.loads((tmp_path / result.path).read_text())
    assert results["table"]["rows"] == result.summary["rows"]
    times = [body.ms for body in timed if body.plan == "reference-fp32"]
    assert results["measurements"][1]["times_ms"] == times


def test_a_profile_tells_every_step(tmp_path: Path) -> None:
    spec = RunSpec(ProfileParameters(n_atoms=6, repeats=2, dtype="float32"))
    assert main("profile", profile.run, [str(written(tmp_path, spec))]) == 0
    (result,) = of(Result, tmp_path)
    assert tuple(result.summary["columns"]) == PROFILE_COLUMNS
    assert "interactions.0.conv_tp" in [row[0].strip() for row in result.summary["rows"]]
    assert [(body.done, body.total) for body in of(Progress, tmp_path)] == [(1, 2), (2, 2)]
    steps = json.loads((tmp_path / "results.json").read_text())["profile"]["steps"]
    assert len(steps) == len(result.summary["rows"])


@pytest.mark.parametrize(("experiment", "work"), [("benchmark", benchmark.run), ("profile", profile.run)])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "nowhere"}, "There is no model nowhere"),
        ({"model": "broken"}, "The model in broken is broken"),
        ({"model": "a.model"}, "a.model is a pickle, which can run any code"),
        ({"parameters": {"structures": "iron.xyz"}}, "has Fe (iron), which"),
        ({"parameters": {"structures": "empty.xyz"}}, "The structure file empty.xyz is empty"),
        ({"parameters": {"structures": "gone.xyz"}}, "There is no structure file gone.xyz"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"parameters": {"repeats": 0}}, "needs at least one"),
    ],
    ids=lambda value: str(value),
)
def test_bad_input_is_one_sentence_that_names_it(
    experiment: str,
    work: Work,
    change: dict[str, Any],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "broken" / "weights.safetensors").write_bytes(b"")
    (tmp_path / "a.model").write_bytes(b"\x80\x04.")
    (tmp_path / "empty.xyz").touch()
    write(tmp_path / "iron.xyz", Atoms("Fe"))
    record = {"experiment": experiment, **change}
    (tmp_path / "spec.json").write_text(json.dumps(record))
    assert main(experiment, work, ["spec.json"]) == 1
    *_, failure, finish = bodies(tmp_path)
    assert isinstance(failure, Failure)
    assert said in failure.message
    assert isinstance(finish, Finish)
    assert (finish.status, finish.exit_code) == ("failed", 1)
    assert not (tmp_path / "results.json").exists()
    assert not [record for record in caplog.records if record.exc_info]


def test_labels_that_are_missing_are_no_error(tmp_path: Path) -> None:
    write(tmp_path / "bare.xyz", molecule("CH4"))
    asked = BenchmarkParameters(
        sizes=(), structures=str(tmp_path / "bare.xyz"), labelled=str(tmp_path / "bare.xyz"), repeats=1
    )
    assert main("benchmark", benchmark.run, [str(written(tmp_path, RunSpec(asked)))]) == 0
    assert {body.against for body in of(Accuracy, tmp_path)} == {"reference"}


def test_a_plan_out_of_its_tolerance_is_warned_of_and_not_timed(tmp_path: Path) -> None:
    limits = ("energy_mev_per_atom", "force_rmse_mev_per_a", "force_max_mev_per_a", "stress_rmse_mev_per_a3")
    strict = {"name": "strict", "dtype": "float32", "tolerance": dict.fromkeys(limits, 1e-12)}
    (tmp_path / "strict.json").write_text(json.dumps(strict))
    asked = BenchmarkParameters(plans=(str(tmp_path / "strict.json"),), sizes=(6,), repeats=1, labelled="")
    assert main("benchmark", benchmark.run, [str(written(tmp_path, RunSpec(asked)))]) == 0
    assert [body.passed for body in of(Accuracy, tmp_path) if body.plan == "strict"] == [False]
    assert {body.plan for body in of(Timing, tmp_path) if body.phase == "timed"} == {"reference"}
    assert any(body.message.startswith("strict is not timed on 6 atoms") for body in of(Caution, tmp_path))


async def test_a_run_that_is_stopped_says_so_and_the_next_attempt_is_whole(tmp_path: Path) -> None:
    path = written(tmp_path, RunSpec(ENDLESS))
    process = started(path)

    async def is_timing() -> bool:
        return any(body.phase == "timed" for body in of(Timing, tmp_path)) or process.poll() is not None

    await until(is_timing)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in log
    finish = bodies(tmp_path)[-1]
    assert isinstance(finish, Finish)
    assert (finish.status, finish.exit_code) == ("stopped", 128 + signal.SIGTERM)
    assert not (tmp_path / "results.json").exists()

    written(tmp_path, RunSpec(SMALL))
    assert main("benchmark", benchmark.run, [str(path)]) == 0
    events = EventDecoder().feed((tmp_path / "events.jsonl").read_bytes())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert {event.attempt for event in events} == {1, 2}


async def test_resources_are_told_from_a_thread_of_their_own() -> None:
    told: list[Resource] = []

    async def enough() -> bool:
        return len(told) >= 2

    with ResourceSampler(told.append, interval_s=0.01):
        await until(enough)
    assert all(body.cpu_percent is not None and body.cpu_percent >= 0 for body in told)
    assert all(body.rss_mb is None or body.rss_mb > 1 for body in told)


async def test_a_full_disk_ends_the_watching_and_not_the_run() -> None:
    calls: list[Resource] = []

    def refuse(body: Resource) -> None:
        calls.append(body)
        raise OSError(28, "No space left on device")

    async def refused() -> bool:
        return bool(calls)

    with ResourceSampler(refuse, interval_s=0.01) as sampler:
        await until(refused)
        sampler._thread.join()
    assert len(calls) == 1
