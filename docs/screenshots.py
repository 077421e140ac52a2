"""Makes the pictures in docs/ from the real program and a real run: `python docs/screenshots.py`.

The demonstration is started in a home folder of its own, the screens are driven by their keys, and
what they draw is written as SVG. Nothing is drawn by hand, and nothing is left behind but the pictures.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from workbench.app import WorkbenchApp
from workbench.config import load_config
from workbench.model.job import Job, JobState
from workbench.services import Services, open_services

DOCS = Path(__file__).parent
SIZE = (132, 40)
NARROW = (80, 24)
_POLL_S = 0.2
_FAR = 0.75
"""How far the run is when it is shown while it goes."""
_TIME_LIMIT_S = 1800


async def main() -> None:
    """The jobs, the run on its way and finished, and what starts a run."""
    with tempfile.TemporaryDirectory() as home:
        places = {
            f"XDG_{kind}_HOME": str(Path(home, kind.lower())) for kind in ("CONFIG", "STATE", "DATA", "CACHE")
        }
        os.environ.update(places)
        async with asyncio.timeout(_TIME_LIMIT_S), open_services(load_config()) as services:
            job = await services.start_demo()
            await _pictures(services, job)


async def _pictures(services: Services, job: Job) -> None:
    app = WorkbenchApp(services)
    async with app.run_test(size=SIZE) as hand:
        await _until(hand, lambda: job.id in {known.id for known in services.jobs()})
        await _take(hand, "submit", "n")
        await hand.press("escape")
        await _until(hand, lambda: _done(services, job) > 0.1)
        await _take(hand, "jobs")
        await hand.press("enter")
        await _until(hand, lambda: _done(services, job) >= _FAR)
        await _take(hand, "run")
        await _until(hand, lambda: services.job(job.id).state.is_over)
        await _until(hand, lambda: services.run(job.id).finish is not None)
        if services.job(job.id).state is not JobState.COMPLETED:
            sys.exit(f"The demonstration ended as {services.job(job.id).state}: no pictures of that.")
        await _take(hand, "result", "3")
    app = WorkbenchApp(services, open_job=job.id)
    async with app.run_test(size=NARROW) as hand:
        await _until(hand, lambda: services.run(job.id).finish is not None)
        await _take(hand, "run-80x24")


def _done(services: Services, job: Job) -> float:
    progress = services.run(job.id).progress
    over = services.job(job.id).state.is_over
    return 1.0 if over else progress.done / max(1, progress.total) if progress else 0.0


async def _take(hand: Pilot[None], name: str, *keys: str) -> None:
    """Press keys, wait until everything is drawn, and write the picture."""
    for key in keys:
        await hand.press(key)

    def drawn() -> bool:
        return all(getattr(chart, "is_settled", True) for chart in hand.app.screen.query("Chart"))

    await hand.pause(1.0)
    await _until(hand, drawn)
    path = DOCS / f"screenshot-{name}.svg"
    path.write_text(hand.app.export_screenshot(title="mace-workbench"), encoding="utf-8")
    print(path)  # noqa: T201  # a script for people


async def _until(hand: Pilot[None], holds: Callable[[], bool]) -> None:
    while not holds():
        await hand.pause(_POLL_S)


if __name__ == "__main__":
    asyncio.run(main())
