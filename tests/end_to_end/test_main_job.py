"""The main job, end to end on this machine: the real program, real runs, a real MACE model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.protocol import Event, EventDecoder
from workbench.app import WorkbenchApp
from workbench.config import load_config
from workbench.services import open_services

ROOT = Path(__file__).parents[2]
TINY = ["--set", "parameters.sizes=[3]", "--set", "parameters.repeats=3", "--set", "parameters.n_labelled=2"]
LONG = ["--set", "parameters.sizes=[3]", "--set", "parameters.repeats=100000"]


class Home:
    """A user's home folder, and the program run in it."""

    def __init__(self, folder: Path) -> None:
        self.env = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "TERM": "xterm-256color"}
        self.env["NUMBA_CACHE_DIR"] = os.environ["NUMBA_CACHE_DIR"]
        self.data = folder / ".local/share/mace-workbench"

    def program(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments), env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "workbench", *arguments]

    def job(self, job_id: str) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(self.program("runs", job_id, "--json").stdout)
        return values

    def state(self, job_id: str) -> str:
        return str(self.job(job_id)["job"]["status"]["state"])

    def events(self, job_id: str) -> Path:
        return self.data / "runs" / job_id / "events.jsonl"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


def until(condition: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.1)


def test_a_run_is_submitted_waited_for_and_its_result_printed(home: Home) -> None:
    done = home.program("submit", "demo", *TINY, "--set", "name=tiny", "--wait", "--json")
    values = json.loads(done.stdout)
    job_id = values["job"]["id"]
    assert values["job"]["status"]["state"] == "COMPLETED"
    assert values["summary"]["rows"]
    assert values["provenance"]
    assert "left" in done.stderr or "/" in done.stderr
    shown = home.program("runs", job_id).stdout
    assert "reference-fp32" in shown
    listed = json.loads(home.program("jobs", "--json").stdout)
    assert [job["id"] for job in listed] == [job_id]
    text = home.program("logs", job_id[:4]).stdout
    assert "gate on" in text
    assert json.loads(home.program("logs", job_id, "--json").stdout) == {
        "job": job_id,
        "offset": 0,
        "text": text,
    }
    compared = json.loads(home.program("compare", job_id, job_id[:4], "--json").stdout)
    assert {row[job_id] for row in compared["speed_up_over_the_first"]} == {1.0}
    folder = home.events(job_id).parent
    assert {path.name for path in folder.iterdir()} >= {
        "spec.json",
        "run.sh",
        "stdout.log",
        "results.json",
        "exit.json",
    }


def test_a_run_is_cancelled_resubmitted_and_requeued(home: Home) -> None:
    job_id = home.program("submit", "demo", *LONG).stdout.strip()
    home.program("resubmit", job_id, status=1)
    until(lambda: home.job(job_id)["n_events"] > 0, "the run has begun")
    home.program("cancel", job_id)
    until(lambda: home.state(job_id) == "CANCELLED", "the job is cancelled")
    home.program("cancel", job_id, status=1)
    again = home.program("resubmit", job_id).stdout.strip()
    assert again != job_id
    refused = home.program("resubmit", job_id, status=1)
    assert again in refused.stderr
    home.program("cancel", again)
    until(lambda: home.state(again) == "CANCELLED", "the second job is cancelled")
    home.program("requeue", job_id)
    until(lambda: home.job(job_id)["attempt"] == 2, "the second attempt has begun")
    home.program("cancel", job_id)
    until(lambda: home.state(job_id) == "CANCELLED", "the job is cancelled again")


def test_a_file_of_the_users_is_found_by_its_relative_path(home: Home) -> None:
    water = "3\n\nO 0 0 0.12\nH 0 0.76 -0.47\nH 0 -0.76 -0.47\n"
    home.data.mkdir(parents=True, exist_ok=True)
    path = home.data.parent / "water.xyz"
    path.write_text(water)
    relative = os.path.relpath(path, ROOT)
    done = home.program(
        "submit", "demo", *TINY, "--wait", "--json",
        "--set", f"parameters.structures={relative}", "--set", "parameters.labelled=",
    )  # fmt: skip
    values = json.loads(done.stdout)
    assert values["job"]["spec"]["run"]["parameters"]["structures"] == str(path)
    assert {row[2] for row in values["summary"]["rows"]} == {3}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("model=/nowhere/there.model", "/nowhere/there.model"),
        ("parameters.structures=/nowhere/x.xyz", "/nowhere/x.xyz"),
        ('parameters.plans=["reference","warp"]', "warp"),
    ],
)
def test_a_run_that_cannot_be_done_fails_with_one_sentence(home: Home, change: str, sentence: str) -> None:
    done = home.program("submit", "demo", *TINY, "--set", change, "--wait", status=1)
    assert sentence in done.stderr.splitlines()[-1]
    assert ": failed: " in done.stderr.splitlines()[-1]
    assert done.stdout == ""


async def test_a_tui_killed_in_the_middle_of_a_run_shows_the_whole_run_when_started_again(home: Home) -> None:
    job_id = await asyncio.to_thread(run_whose_tui_is_killed, home)
    async with open_services(load_config(home.env)) as services:
        app = WorkbenchApp(services, open_job=job_id)
        async with app.run_test(size=(160, 50)) as pilot:
            await pilot.pause()
            await services.fetch_all(job_id)
            run = services.run(job_id)
    events = events_of(home, job_id)
    assert run.n_events == len(events)
    assert events[-1].body == run.finish
    assert run.finish is not None
    assert run.finish.status == "completed"


def run_whose_tui_is_killed(home: Home) -> str:
    """The id of a run that is over, and in the middle of which the screens were killed with -9."""
    job_id = home.program("submit", "demo", *TINY, "--set", "parameters.repeats=60").stdout.strip()
    terminal, other_end = pty.openpty()
    tui = subprocess.Popen(
        home.command(), env=home.env, cwd=ROOT, stdin=other_end, stdout=other_end, stderr=other_end,
        start_new_session=True,
    )  # fmt: skip
    os.close(other_end)
    drain = threading.Thread(target=read_all, args=(terminal,))
    drain.start()
    try:
        until(lambda: home.events(job_id).exists() and len(events_of(home, job_id)) > 10, "the run is going")
        assert tui.poll() is None
    finally:
        tui.kill()
    assert tui.wait() == -signal.SIGKILL
    drain.join()
    os.close(terminal)
    assert home.state(job_id) == "RUNNING"
    until(lambda: home.state(job_id) == "COMPLETED", "the run is over")
    return job_id


def read_all(terminal: int) -> None:
    """Take what is written to a terminal, as whoever looks at it does, until its other end is closed."""
    with contextlib.suppress(OSError):
        while os.read(terminal, 1 << 16):
            pass


def events_of(home: Home, job_id: str) -> list[Event]:
    return EventDecoder().feed(home.events(job_id).read_bytes())


def test_a_store_that_was_thrown_away_is_rebuilt_from_the_folders(home: Home) -> None:
    home.program("submit", "demo", *TINY, "--set", "model=/nowhere.model", "--wait", status=1)
    known = states(home)
    for path in (Path(home.env["HOME"]) / ".local/state/mace-workbench").glob("store.sqlite*"):
        path.unlink()
    assert states(home) == known


def states(home: Home) -> dict[str, str]:
    return {job["id"]: job["status"]["state"] for job in json.loads(home.program("jobs", "--json").stdout)}
