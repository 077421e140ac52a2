"""The frame of the entry points, with work that costs nothing; the real work is in the other files here."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from accel.errors import MissingBackend
from jobs.entry import Outcome, main, write_json
from jobs.protocol import Body, Caution, Event, EventDecoder, Failure, Finish, Progress, Result, Start
from jobs.spec import BenchmarkParameters, ProfileParameters, RunSpec
from jobs.writer import EventWriter

OUTCOME = Outcome({"numbers": [1, 2]}, {"columns": ["a"], "rows": [[1]]})


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the frame sets for its own process must not reach other tests."""
    monkeypatch.setattr(os, "environ", dict(os.environ))


@pytest.fixture
def spec_path(tmp_path: Path) -> Path:
    path = tmp_path / "spec.json"
    path.write_text(RunSpec(BenchmarkParameters(), name="mine", threads=3).to_json())
    return path


def succeed(spec: RunSpec, emit: Callable[[Body], object]) -> Outcome:
    emit(Progress(1, 1, "working"))
    return OUTCOME


def events(folder: Path) -> list[Event]:
    return EventDecoder().feed((folder / "events.jsonl").read_bytes())


def bodies(folder: Path) -> list[Any]:
    return [event.body for event in events(folder)]


def test_a_run_that_is_done_says_so_and_leaves_its_results(spec_path: Path) -> None:
    assert main("benchmark", succeed, [str(spec_path)]) == 0
    start, *_, result, finish = bodies(spec_path.parent)
    assert isinstance(start, Start)
    assert (start.experiment, start.name, start.pid) == ("benchmark", "mine", os.getpid())
    assert start.provenance["threads"] == 3
    assert result == Result("results.json", {"columns": ["a"], "rows": [[1]]})
    assert (finish.status, finish.exit_code) == ("completed", 0)
    results = json.loads((spec_path.parent / "results.json").read_text())
    assert results["numbers"] == [1, 2]
    assert RunSpec.from_json(json.dumps(results["spec"])) == RunSpec.from_json(spec_path.read_text())


def test_threads_are_set_before_the_work_loads_anything(spec_path: Path) -> None:
    seen: dict[str, str] = {}

    def work(spec: RunSpec, emit: Callable[[Body], object]) -> Outcome:
        seen.update(os.environ)
        return OUTCOME

    main("benchmark", work, [str(spec_path)])
    assert {seen[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")} == {"3"}


@pytest.mark.parametrize(
    ("error", "said", "exit_code"),
    [
        (MissingBackend("There is no such thing here."), "There is no such thing here.", 1),
        (
            MemoryError(),
            "The run needs more memory than there is: ask for more, or take a smaller system.",
            1,
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/scratch/x"),
            "No room is left for /scratch/x",
            73,
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "/x"),
            "/x may not be written (Read-only file system)",
            1,
        ),
        (OSError(errno.EIO, "Input/output error", "/x"), "/x: Input/output error.", 1),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "cannot import torch", 1),
    ],
)
def test_an_error_that_was_foreseen_is_one_sentence(
    spec_path: Path, error: Exception, said: str, exit_code: int, caplog: pytest.LogCaptureFixture
) -> None:
    def work(spec: RunSpec, emit: Callable[[Body], object]) -> Outcome:
        raise error

    assert main("benchmark", work, [str(spec_path)]) == exit_code
    *_, failure, finish = bodies(spec_path.parent)
    assert said in failure.message
    assert (finish.status, finish.exit_code) == ("failed", exit_code)
    assert not (spec_path.parent / "results.json").exists()
    assert [record.exc_info for record in caplog.records] == [None]


def test_an_error_that_was_not_foreseen_is_told_and_keeps_its_traceback(spec_path: Path) -> None:
    def work(spec: RunSpec, emit: Callable[[Body], object]) -> Outcome:
        raise ZeroDivisionError("oh")

    with pytest.raises(ZeroDivisionError):
        main("benchmark", work, [str(spec_path)])
    *_, failure, finish = bodies(spec_path.parent)
    assert failure == Failure(
        "The run ended by an error of the program (ZeroDivisionError); the log says where."
    )
    assert (finish.status, finish.exit_code) == ("failed", 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_run_and_a_second_one_does_not_cut_its_farewell(
    spec_path: Path, number: signal.Signals
) -> None:
    def work(spec: RunSpec, emit: Callable[[Body], object]) -> Outcome:
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
        return OUTCOME

    before = signal.getsignal(number)
    assert main("benchmark", work, [str(spec_path)]) == 128 + number
    finish = bodies(spec_path.parent)[-1]
    assert (finish.status, finish.exit_code) == ("stopped", 128 + number)
    assert not [body for body in bodies(spec_path.parent) if isinstance(body, Failure)]
    assert not (spec_path.parent / "results.json").exists()
    assert signal.getsignal(number) is before


def test_a_warning_that_the_time_is_nearly_up_ends_nothing(spec_path: Path) -> None:
    def work(spec: RunSpec, emit: Callable[[Body], object]) -> Outcome:
        os.kill(os.getpid(), signal.SIGUSR1)
        return OUTCOME

    assert main("benchmark", work, [str(spec_path)]) == 0
    assert Caution("The time of this job is nearly up.") in bodies(spec_path.parent)
    assert (spec_path.parent / "results.json").exists()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_results_of_an_earlier_attempt_stay_until_there_are_new_ones(spec_path: Path) -> None:
    def fail(spec: RunSpec, emit: Callable[[Body], object]) -> Outcome:
        raise MissingBackend("Not now.")

    main("benchmark", succeed, [str(spec_path)])
    before = (spec_path.parent / "results.json").read_text()
    assert main("benchmark", fail, [str(spec_path)]) == 1
    assert (spec_path.parent / "results.json").read_text() == before
    assert {event.attempt for event in events(spec_path.parent)} == {1, 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "The spec is not valid JSON"),
        ("{", "The spec is not valid JSON"),
        ('{"v": 99}', "The spec is of version 99 and this program knows up to 1: update mace-workbench"),
        ('{"nmae": 1}', "no key nmae"),
        ('{"threads": 0}', "threads should be 1 or more, not 0"),
        ('{"seed": -1}', "seed should be 0 or more, not -1"),
        (RunSpec(ProfileParameters()).to_json(), "start it with python -m jobs.profile"),
    ],
)
def test_a_spec_that_cannot_be_understood_is_told_in_the_events_too(
    spec_path: Path, text: str, said: str
) -> None:
    spec_path.write_text(text)
    assert main("benchmark", succeed, [str(spec_path)]) == 2
    start, failure, finish = bodies(spec_path.parent)
    assert start.experiment == "benchmark"
    assert said in failure.message
    assert (finish.status, finish.exit_code) == ("failed", 2)


def test_a_spec_that_is_not_there_leaves_nothing_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main("benchmark", succeed, [str(tmp_path / "spec.json")]) == 2
    assert caplog.messages == [f"The spec {tmp_path}/spec.json cannot be read: No such file or directory."]
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_going_already_is_left_alone(spec_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with EventWriter(spec_path.parent / "events.jsonl"):
        assert main("benchmark", succeed, [str(spec_path)]) == 3
    assert "this run is already going" in caplog.text
    assert events(spec_path.parent) == []


def test_a_disk_that_fills_up_ends_the_run_with_a_sentence(
    spec_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def work(spec: RunSpec, emit: Callable[[Body], object]) -> Outcome:
        for index in range(1000):
            emit(Progress(index, 1000, "filling"))
        return OUTCOME

    with room_for(4000):
        assert main("benchmark", work, [str(spec_path)]) == 73
    assert "No room is left for" in caplog.text
    assert not (spec_path.parent / "results.json").exists()
    assert main("benchmark", succeed, [str(spec_path)]) == 0
    after = events(spec_path.parent)
    assert [event.seq for event in after] == sorted({event.seq for event in after})
    assert isinstance(after[-1].body, Finish)
    assert after[-1].attempt == 2


def test_a_file_that_does_not_fit_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_json(path, {"a": 1})
    with room_for(100), pytest.raises(OSError, match="File too large"):
        write_json(path, {"a": "x" * 100_000})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_may_not_be_written_is_named() -> None:
    # Root may write anywhere, so the process first gives up being root towards the file system.
    code = (
        "import ctypes, os, sys; from jobs.entry import main\n"
        "if os.geteuid() == 0: ctypes.CDLL(None).setfsuid(65534)\n"
        "sys.exit(main('benchmark', None, sys.argv[1:]))"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "spec.json").write_text(RunSpec().to_json())
        folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder / "spec.json")],
            capture_output=True,
            text=True,
            check=False,
        )
        folder.chmod(0o755)
    assert done.returncode == 1
    assert f"{folder}/events.jsonl may not be written (Permission denied): choose a folder" in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def room_for(n_bytes: int) -> Iterator[None]:
    """A disk on which no file can grow larger: what the system itself offers that is like a full one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
