"""How fast events are written, and how fast a run's 100,000 events are followed and folded."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from jobs.protocol import Accuracy, Body, EventDecoder, Progress, Resource, Start, Timing
from jobs.spec import RunSpec
from jobs.writer import EventWriter
from tests.bench.measure import show
from workbench.config import load_config
from workbench.model.job import Job, JobKey, JobSpec, JobState, JobStatus
from workbench.model.run import Run
from workbench.services import STORE_FILE, Services
from workbench.store import Store

_EVENTS = 100_000
_RUNS = 5


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs" / "bench" / "events.jsonl"
        path.parent.mkdir(parents=True)
        start = time.perf_counter()
        write(path)
        show(f"write {_EVENTS:,} events", [time.perf_counter() - start], "s", "–")
        data = path.read_bytes()
        show(f"decode and fold {_EVENTS:,} events", [fold(data) for _ in range(_RUNS)], "s", "–")
        followed = [asyncio.run(follow(folder, index)) for index in range(_RUNS)]
        show(f"follow, keep and fold {_EVENTS:,} events", [first for first, _ in followed], "s", "< 2 s")
        show("… again from the store after a restart", [again for _, again in followed], "s", "–")


def write(path: Path) -> None:
    with EventWriter(path) as writer:
        writer.emit(Start("benchmark", provenance={"device": "cpu", "threads": 1}))
        for index in range(_EVENTS - 1):
            writer.emit(body(index))


def body(index: int) -> Body:
    """What a benchmark writes, in about its proportions."""
    if index % 20 == 0:
        return Progress(index, _EVENTS, "timing")
    if index % 20 == 1:
        return Resource(cpu_percent=99.5, rss_mb=812.25)
    if index % 200 == 2:
        return Accuracy("fast", case="liquid-96", n_structures=40, force_rmse_mev_per_a=0.0123)
    plan = ("reference", "reference-fp32", "exact", "fast")[index % 4]
    return Timing(plan, 12.345 + index % 7, case=f"liquid-{96 * (1 + index % 3)}", index=index, n_atoms=96)


def fold(data: bytes) -> float:
    start = time.perf_counter()
    run = Run()
    run.apply_all(EventDecoder().feed(data))
    assert run.n_events == _EVENTS
    return time.perf_counter() - start


async def follow(folder: str, index: int) -> tuple[float, float]:
    """Seconds through the services and the local connection, and again from the store."""
    home = Path(folder) / f"home-{index}"
    config = load_config({"HOME": str(home), "PATH": ""})
    status = JobStatus(JobState.COMPLETED)
    key = JobKey("this machine", "1", 0.0)
    job = Job("bench", "local", f"{folder}/runs/bench", JobSpec(RunSpec()), status, 0.0, key)
    seconds = []
    for _ in range(2):
        store = Store(config.state_folder / STORE_FILE)
        store.save(job)
        services = Services(config, store)
        start = time.perf_counter()
        run = await services.fetch_all("bench")
        seconds.append(time.perf_counter() - start)
        assert run.n_events == _EVENTS
        await services.close()
    return seconds[0], seconds[1]


if __name__ == "__main__":
    main()
