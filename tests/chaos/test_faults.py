"""What else may fail than the link: full disks, restarted databases, killed nodes and programs."""

from __future__ import annotations

import asyncio
import random
import secrets
import sys
from pathlib import Path

from tests.chaos.faults import TUNNEL, Fault, Scene, faults
from tests.chaos.program import program
from tests.chaos.small_disk import on_host
from tests.chaos.stream import Bench, Writer, assert_nothing_lost_or_doubled, wait_for
from tests.chaos.visitor import Visitor
from tests.cluster import site
from tests.cluster.cluster import Cluster
from tests.contract.ssh import Laptop
from tests.end_to_end.sessions import environment, opened, ready
from tests.waiting import until
from workbench.model.session import SessionKind, SessionView
from workbench.services import Services

SMALL_DISK = site.Login("small-disk", 2261, "publickey")
PAGE_PORT = 8123
SPARED = ("vanished", "lossy", "forgotten", "slurmctld", "the notebook's node")
"""Kinds of faults that have tests of their own."""


async def test_the_stream_and_a_tunnel_get_over_every_kind_of_fault(cluster: Cluster, tmp_path: Path) -> None:
    seed = secrets.randbelow(10**6)
    print(f"seed: {seed}")  # noqa: T201  # shown where the test fails
    chance = random.Random(seed)
    disk = await asyncio.to_thread(on_host, cluster.login, f"/home/{site.USER.name}/small-{seed}", 16)
    await asyncio.to_thread(cluster.start_login, SMALL_DISK)  # it sees the disk
    cluster.login.serve("page", [sys.executable, "-m", "http.server", str(PAGE_PORT), "-b", "127.0.0.1"])
    bench = Bench(cluster, tmp_path, disk)
    config = bench.configured("login", str(Laptop(cluster, tmp_path).port(SMALL_DISK.port).config))
    # It ends when it has been through all of them, however long that takes.
    writer = Writer(bench.run, n_events=1_000_000, per_s=500)
    async with program(bench, config, 16) as running, bench.opened(config) as reader:
        tunnel = reader.services.desk.open_tunnel(f":{PAGE_PORT}")
        await reader.services.desk.tend()
        ((tunnel, _),) = reader.services.desk.tunnels()
        visitors = {TUNNEL: Visitor(f"http://127.0.0.1:{tunnel.local_port}/")}
        scene = Scene(cluster, disk, reader, running, visitors, lambda: "", chance)
        async with writer.writing():
            await reader.next_event()
            for kind in chance.sample(kinds := _struck(), len(kinds)):
                async with asyncio.timeout(60):
                    await kind.strike(scene)
        writer.n_events = writer.told()
        await wait_for(lambda: reader.has_all(writer))
        assert_nothing_lost_or_doubled(writer, reader, tmp_path / "state")


def _struck() -> list[Fault]:
    return [kind for kind in faults() if not kind.name.startswith(SPARED)]


async def test_a_session_whose_node_is_killed_comes_up_on_another_one(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with opened(environment(cluster, tmp_path)) as services:
        session = await services.desk.start(SessionKind.SHELL)
        before = await ready(services, session)
        assert before.place is not None
        node = before.place.node
        await asyncio.to_thread(cluster.hosts[node].kill)
        try:
            # As Slurm finds out by itself, only sooner.
            cluster.master.run("scontrol", "update", f"nodename={node}", "state=down", "reason=killed")
            after = await until(lambda: _view(services), lambda view: _is_elsewhere(view, node))
        finally:
            cluster.revive(node)  # in this thread, for the host ends with the one that has started it
        assert after.job is not None
        assert before.job is not None
        assert after.job.key == before.job.key, "it is the same job, and no other was submitted"


async def _view(services: Services) -> SessionView:
    (view,) = services.desk.sessions()
    return view


def _is_elsewhere(view: SessionView, node: str) -> bool:
    return view.state == "ready" and view.place is not None and view.place.node != node
