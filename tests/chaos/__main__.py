"""The long form: a run of 100,000 events is followed while its link is cut a thousand times or more.

`python -m tests.chaos [--hours 1] [--seed N] [--notice 10]` prints what was done to the link, whether
anything was lost or doubled, and how long it took to be back after each kind of fault. It fails where
anything was lost.
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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.stream import Bench, Reader, Writer, assert_nothing_lost_or_doubled, session_pids, wait_for
from tests.cluster.cluster import Cluster, why_not

N_EVENTS = 100_000
N_CUTS = 1100
_REST_S = 1.05
"""Between being back and the next fault, at the least."""
_PROGRESS = 50


@dataclass
class Fault:
    """One way in which a link fails, and what was measured of it."""

    name: str
    begin: Callable[[Cluster], None]
    often: int
    longest_s: float
    """It lasts a random time up to this."""
    back_s: list[float] = field(default_factory=list)
    """From the network's return to the next event."""


def _kill_sessions(cluster: Cluster) -> None:
    if pids := session_pids(cluster):
        cluster.login.run("kill", "-9", *pids, check=False)


def faults() -> list[Fault]:
    """All kinds, by how often each is to happen."""
    return [
        Fault("reset: connections broken, new ones refused", Cluster.reset_connections, 40, 1.0),
        Fault("vanished: the link is down, nobody is told", Cluster.cut, 30, 3.0),
        Fault("killed: the server's session ends", _kill_sessions, 20, 0.0),
        Fault("lossy: 30 % of the packets are lost", lambda cluster: cluster.lose_packets(0.3), 8, 2.0),
        Fault("forgotten: packets of the connection vanish for good", Cluster.forget_connections, 2, 0.0),
    ]


async def chaos(hours: float, seed: int, notice_s: int) -> dict[str, object]:
    """Bring a cluster up, and do it."""
    cluster = Cluster.reserve()
    try:
        await asyncio.to_thread(cluster.up)
        with tempfile.TemporaryDirectory() as folder:
            return await _followed(Bench(cluster, Path(folder)), hours * 3600, seed, notice_s)
    finally:
        cluster.down()


async def _followed(bench: Bench, seconds: float, seed: int, notice_s: int) -> dict[str, object]:
    chance, kinds = random.Random(seed), faults()
    writer = Writer(bench.run, N_EVENTS, N_EVENTS / seconds)
    config = bench.configured("login", str(bench.cluster.ssh_config), notice_s=notice_s)
    rest_s = max(_REST_S, seconds / N_CUTS - 1.5)
    began = time.monotonic()
    async with bench.opened(config) as reader, writer.writing():
        await reader.next_event()
        while time.monotonic() - began < 0.98 * seconds:
            (kind,) = chance.choices(kinds, [kind.often for kind in kinds])
            await _one(kind, bench.cluster, reader, chance)
            done = sum(len(kind.back_s) for kind in kinds)
            if done % _PROGRESS == 0:
                print(
                    f"{done} faults, {reader.n_events} events, {time.monotonic() - began:.0f} s", flush=True
                )
            await asyncio.sleep(rest_s * chance.uniform(0.8, 1.2))
        await wait_for(lambda: reader.n_events == N_EVENTS and len(reader.log) == len(writer.log))
        assert_nothing_lost_or_doubled(writer, reader, bench.folder / "state")
    return {
        "seed": seed,
        "seconds": round(time.monotonic() - began),
        "notice_s": notice_s,
        "events": N_EVENTS,
        "lost or doubled": 0,
        "faults": sum(len(kind.back_s) for kind in kinds),
        "back after": {kind.name: _figures(kind.back_s) for kind in kinds if kind.back_s},
        "back after all but forgotten": _figures(
            [back for kind in kinds if not kind.name.startswith("forgotten") for back in kind.back_s]
        ),
    }


async def _one(kind: Fault, cluster: Cluster, reader: Reader, chance: random.Random) -> None:
    await asyncio.to_thread(kind.begin, cluster)
    await asyncio.sleep(chance.uniform(0, kind.longest_s))
    back = time.monotonic()
    if kind.longest_s:
        await asyncio.to_thread(cluster.mend)
    await reader.next_event()
    kind.back_s.append(time.monotonic() - back)


def _figures(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return {
        "number": len(ordered),
        "median_s": round(statistics.median(ordered), 2),
        "p95_s": round(p95, 2),
        "longest_s": round(ordered[-1], 2),
    }


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
    print(json.dumps(asyncio.run(chaos(arguments.hours, arguments.seed, arguments.notice)), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
