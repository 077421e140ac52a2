"""The long form: a run of 100,000 events is followed while its link is cut a thousand times or more.

`python -m tests.chaos [--hours 1] [--seed N] [--notice 10]` prints what was done to the link, to the cluster
and to the laptop, whether anything was lost or doubled, and how long it took to be back after each kind of
fault. It fails where anything was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

from tests.chaos.faults import EVENT, NOTEBOOK, TUNNEL, Fault, Scene, faults
from tests.chaos.program import program
from tests.chaos.small_disk import SmallDisk, on_host
from tests.chaos.stream import Bench, Writer, assert_nothing_lost_or_doubled, wait_for
from tests.chaos.visitor import Visitor
from tests.cluster import site
from tests.cluster.cluster import Cluster, why_not
from tests.end_to_end.sessions import environment, opened, ready
from workbench.services import Services

N_EVENTS = 100_000
N_FAULTS = 1250
_OTHER_EVERY = 30
"""Of so many faults one is not of the link."""
_REST_S = 1.05
"""Between the return of the links and the next fault, at least: so long one has to last to be no failure."""
_PROGRESS = 50
_DISK_MB = 64
_PORT = 8123


async def chaos(seconds: float, seed: int, notice_s: int) -> dict[str, object]:
    """Bring a cluster up, and do it."""
    cluster = Cluster.reserve()
    try:
        await asyncio.to_thread(cluster.up)
        with tempfile.TemporaryDirectory() as folder:
            disk = await asyncio.to_thread(_disk, cluster)
            bench = Bench(cluster, Path(folder), disk)
            return await _followed(bench, disk, seconds, random.Random(seed), notice_s)
    finally:
        cluster.down()


def _disk(cluster: Cluster) -> SmallDisk:
    """One on the login node, seen by the sessions there."""
    cluster.login.serve("page", [sys.executable, "-m", "http.server", str(_PORT), "--bind", "127.0.0.1"])
    disk = on_host(cluster.login, f"/home/{site.USER.name}/small", _DISK_MB)
    cluster.stop_sshds()
    cluster.start_sshds()
    return disk


async def _followed(
    bench: Bench, disk: SmallDisk, seconds: float, chance: random.Random, notice_s: int
) -> dict[str, object]:
    writer = Writer(bench.run, N_EVENTS, N_EVENTS / seconds)
    config = bench.configured("login", str(bench.cluster.ssh_config), notice_s=notice_s)
    async with (
        _visitors(bench, notice_s) as (services, visitors),
        program(bench, config) as running,
        bench.opened(config) as reader,
        writer.writing(),
    ):
        scene = Scene(bench.cluster, disk, reader, running, visitors, partial(_node, services), chance)
        await reader.next_event()
        began = time.monotonic()
        kinds = await _strike(scene, 0.98 * seconds)
        took_s = time.monotonic() - began
        while reader.n_events < N_EVENTS:  # the writer has a while to go
            await reader.next_event()
        await wait_for(lambda: reader.has_all(writer))
        assert_nothing_lost_or_doubled(writer, reader, bench.folder / "state")
        # What a full disk has kept it from keeping, it reads again when it is started again.
        await running.kill()
        await running.start()
        await running.keeps(writer.events, bench.folder / "aside")
        jobs = _jobs(bench.cluster)
    assert jobs == 1, f"{jobs} jobs were submitted for one notebook"
    return {"seconds": round(took_s), "notice_s": notice_s, "events": N_EVENTS, **_told(kinds)}


async def _strike(scene: Scene, seconds: float) -> list[Fault]:
    """Fault upon fault, at an even pace as far as things are back by then."""
    kinds, began = faults(), time.monotonic()
    for number in count(1):
        if time.monotonic() - began > seconds:
            break
        of_link = number % _OTHER_EVERY != 0
        among = [kind for kind in kinds if kind.of_link is of_link]
        (kind,) = scene.chance.choices(among, [kind.often for kind in among])
        lasted_s = await kind.strike(scene)
        spent_s = time.monotonic() - began
        if number % _PROGRESS == 0:
            print(f"{number} faults, {scene.reader.n_events} events, {spent_s:.0f} s", flush=True)
        rest_s = _REST_S * scene.chance.uniform(1, 1.4) - lasted_s
        await asyncio.sleep(max(0.0, rest_s, number * seconds / N_FAULTS - spent_s))
    return kinds


@asynccontextmanager
async def _visitors(bench: Bench, notice_s: int) -> AsyncIterator[tuple[Services, dict[str, Visitor]]]:
    """A second program on the laptop, with a tunnel and a notebook, and who visits both."""
    home = bench.folder / "home"
    env = environment(bench.cluster, home, "interactive_minutes = 600", notice_s=notice_s)
    async with opened(env) as services:
        tunnel = services.desk.open_tunnel(f":{_PORT}")
        view = await ready(services, await services.desk.start())
        (tunnel,) = (one for one, _ in services.desk.tunnels() if one.name == tunnel.name)
        session = view.session
        base = f"http://127.0.0.1:{session.local_port}"
        yield (
            services,
            {
                TUNNEL: Visitor(f"http://127.0.0.1:{tunnel.local_port}/"),
                NOTEBOOK: Visitor(f"{base}/api", session.token),
            },
        )


def _node(services: Services) -> str:
    """The one that the notebook is on."""
    (view,) = services.desk.sessions()
    assert view.place is not None
    return view.place.node


def _jobs(cluster: Cluster) -> int:
    """How many jobs the cluster was ever given."""
    listing = ["sacct", "-X", "-n", "-P", "-a", "-S", "now-1days", "-o", "JobID"]
    return len(set(cluster.master.run(*listing).stdout.split()))


def _told(kinds: list[Fault]) -> dict[str, object]:
    links = [kind for kind in kinds if kind.of_link]
    quick = [kind for kind in links if not kind.is_silent]
    return {
        "lost or doubled": 0,
        "faults": sum(kind.number for kind in kinds),
        "of the link": sum(kind.number for kind in links),
        "back after": {kind.name: _figures([kind]) for kind in kinds if kind.number},
        "back after those of the link but forgotten": _figures(quick),
    }


def _figures(kinds: list[Fault]) -> dict[str, object]:
    figures: dict[str, object] = {"number": sum(kind.number for kind in kinds)}
    for what in (EVENT, TUNNEL, NOTEBOOK):
        ordered = sorted(back for kind in kinds for back in kind.back_s[what])
        p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        figures[what] = {
            "median_s": round(statistics.median(ordered), 2),
            "p95_s": round(p95, 2),
            "longest_s": round(ordered[-1], 2),
        }
    return figures


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--notice", type=int, default=10, help="seconds within which a dead link is noticed")
    arguments = parser.parse_args()
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 1
    print(f"seed: {arguments.seed}", flush=True)
    told = asyncio.run(chaos(3600 * arguments.hours, arguments.seed, arguments.notice))
    print(json.dumps({"seed": arguments.seed, **told}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
