"""How quickly the screens answer: the first frame, keys while events pour in, ten thousand jobs.

Measured from outside, at a pseudo-terminal: from the key press to the bytes that draw its answer.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jobs.spec import RunSpec
from tests.bench.measure import quantile, show
from tests.bench.terminal import ROOT, Terminal
from workbench.config import load_config
from workbench.model.job import Job, JobKey, JobSpec, JobState, JobStatus
from workbench.services import STORE_FILE
from workbench.store import Store

_STARTS = 10
_KEYS = 200
_JOBS = 10_000
_EVENTS_A_SECOND = 5_000
_WARM_UP_S = 5.0


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        show("first frame", starts(home, "No jobs yet"), "s", "< 0.6 s")
    with tempfile.TemporaryDirectory() as home:
        fill(home)
        show(f"first frame with {_JOBS:,} jobs", starts(home, "seed 0"), "s", "–")
        show_keys(f"key in {_JOBS:,} jobs", scroll(home))
    with tempfile.TemporaryDirectory() as home:
        poured, seconds, rate = pour(home)
        show_keys(f"key while {rate:,.0f} events/s arrive ({seconds:.0f} s)", poured)


def show_keys(name: str, milliseconds: list[float]) -> None:
    show(f"{name}, median", milliseconds, "ms", "–")
    show(f"{name}, p99 of {len(milliseconds)}", [quantile(milliseconds, 0.99)], "ms", "< 50 ms")


def environment(home: str) -> dict[str, str]:
    return {"HOME": home, "PATH": "/usr/bin:/bin"}


def starts(home: str, shown: str) -> list[float]:
    """Seconds from the start of the process until `shown` is on the screen."""
    found = []
    for _ in range(_STARTS):
        with Terminal(env=environment(home)) as terminal:
            found.append(terminal.wait_for(shown) - terminal.started)
    return found


def fill(home: str) -> None:
    """Keep ten thousand jobs in the store, all of them over."""
    config = load_config(environment(home))
    config.state_folder.mkdir(parents=True, exist_ok=True)
    store = Store(config.state_folder / STORE_FILE)
    now = time.time()
    for index in range(_JOBS):
        over = JobStatus(JobState.COMPLETED, "", now - 90_000, now - 80_000, 0)
        store.save(
            Job(
                id=f"j{index:05d}",
                profile="local",
                folder=f"/nowhere/runs/j{index:05d}",
                spec=JobSpec(RunSpec(name=f"seed {index}")),
                status=over,
                created_at=now - 100_000 - index,
                key=JobKey("local", str(index), now - 100_000),
            )
        )
    store.close()


def scroll(home: str) -> list[float]:
    """Milliseconds from `j` or `k` until the job that it leads to is described below the table."""
    with Terminal(env=environment(home)) as terminal:
        terminal.wait_for("/nowhere/runs/j00000")
        rows = [*range(1, _KEYS // 2 + 1), *range(_KEYS // 2 - 1, -1, -1)]
        keys = ["j"] * (_KEYS // 2) + ["k"] * (_KEYS // 2)
        return [
            1e3 * answered(terminal, key, f"/runs/j{row:05d}") for key, row in zip(keys, rows, strict=True)
        ]


def pour(home: str) -> tuple[list[float], float, float]:
    """Milliseconds until keys are answered while a run's events arrive; for how long, how many a second."""
    env = environment(home)
    config = load_config(env)
    feeder = Path(home) / "feeder"
    # Everything but the experiment itself goes to the real interpreter.
    feeder.write_text(
        f"""#!/bin/sh
        export EVENTS_A_SECOND={_EVENTS_A_SECOND}
        case "$2" in
            jobs.benchmark) PYTHONPATH="{ROOT}" exec "{sys.executable}" -m tests.bench.feed_events "$3" ;;
            *) exec "{sys.executable}" "$@" ;;
        esac
        """
    )
    feeder.chmod(0o755)
    settings = Path(home) / ".config/mace-workbench/config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'[profiles.local]\npython = "{feeder}"\n')
    spec = Path(home) / "spec.json"
    spec.write_text(RunSpec(name="pour").to_json())
    program = [sys.executable, "-m", "workbench"]
    submitted = subprocess.run(
        [*program, "submit", str(spec)], cwd=ROOT, env=env, check=True, capture_output=True, text=True
    )
    job_id = submitted.stdout.split()[0].strip(":")
    try:
        with Terminal(env=env, columns=160, rows=50) as terminal:
            terminal.wait_for(job_id)
            terminal.press("\r")
            terminal.wait_for("ms, by evaluation")
            events = config.data_folder / "runs" / job_id / "events.jsonl"
            began, had = time.perf_counter(), _lines(events)
            while time.perf_counter() < began + _WARM_UP_S:
                terminal.drain()
                time.sleep(0.01)
            found = toggle(terminal)
            seconds = time.perf_counter() - began
            return found, seconds, (_lines(events) - had) / seconds
    finally:
        subprocess.run([*program, "cancel", job_id], cwd=ROOT, env=env, check=True, capture_output=True)
        shutil.rmtree(config.data_folder, ignore_errors=True)


def toggle(terminal: Terminal) -> list[float]:
    """Milliseconds until smoothing, turned on and off, is named in the chart's title."""
    found = []
    for index in range(_KEYS):
        # Not in step with the screen's own clock.
        time.sleep(0.03 + 0.017 * (index % 7))
        found.append(1e3 * answered(terminal, "s", ("every point", "smooth l")[index % 2 == 0]))
    return found


def answered(terminal: Terminal, key: str, shown: str) -> float:
    pressed = terminal.press(key)
    return terminal.wait_for(shown) - pressed


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


if __name__ == "__main__":
    main()
