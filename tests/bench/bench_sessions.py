"""How long a notebook takes from the key press to its page, on the test cluster with an empty queue."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from tests.bench.measure import machine, show
from tests.cluster.cluster import Cluster, why_not
from tests.end_to_end.sessions import Browser, environment, opened
from tests.waiting import until
from workbench.model.session import SessionView
from workbench.services import Services

_ROUNDS = 5


async def _moments(services: Services) -> tuple[float, float, float]:
    """When it was submitted, was known to run, and had a page, in seconds from the key press."""
    began = time.perf_counter()
    session = await services.desk.start()
    submitted = time.perf_counter() - began

    async def view() -> SessionView:
        return services.desk.view(services.desk.session(session.id))

    await until(view, lambda view: view.state != "waiting")
    runs = time.perf_counter() - began
    ready = await until(view, lambda view: view.state == "ready")
    await Browser(ready.session).lasting("/lab")
    page = time.perf_counter() - began
    await services.desk.stop(session.id)
    return submitted, runs, page


async def _measured(cluster: Cluster, home: Path) -> list[tuple[float, float, float]]:
    async with opened(environment(cluster, home)) as services:
        return [await _moments(services) for _ in range(_ROUNDS)]


def main() -> None:
    """Measure, where a cluster can be brought up."""
    if reason := why_not():
        print(f"sessions were not measured: {reason}")
        return
    cluster = Cluster.reserve()
    try:
        cluster.up()
        with tempfile.TemporaryDirectory() as home:
            submitted, runs, page = zip(*asyncio.run(_measured(cluster, Path(home))), strict=True)
        show("notebook, from the key press until it is submitted", submitted, "s", "—")
        show("notebook, until it is known to run", runs, "s", "—")
        show("notebook, until its page is there", page, "s", "—")
        waits = [there - known for there, known in zip(page, runs, strict=True)]
        show("notebook, its page after it is known to run", waits, "s", "< 10")
    finally:
        cluster.down()


if __name__ == "__main__":
    print(f"measured on {machine()}\n")
    main()
