"""What follows a run goes on through every fault of the link: no event lost or doubled, nor a line of log."""

from __future__ import annotations

import asyncio
import random
import secrets
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.link import Link
from tests.chaos.stream import (
    Bench,
    Reader,
    Writer,
    assert_nothing_lost_or_doubled,
    session_pids,
    wait_for,
)
from tests.cluster.cluster import Cluster
from tests.waiting import PATIENCE_S
from workbench.model.link import Patience
from workbench.remote.link_keeper import Pace

LEAST_CUTS = 10


@pytest.fixture
def seed() -> int:
    number = secrets.randbelow(10**6)
    print(f"seed: {number}")  # noqa: T201  # shown where the test fails
    return number


@pytest.fixture
def bench(cluster: Cluster, tmp_path: Path) -> Bench:
    return Bench(cluster, tmp_path)


@pytest.fixture
def undaunted(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short a connection has lived, it is made again at once: otherwise many cuts take long."""
    monkeypatch.setattr("workbench.site.Pace", partial(Pace, patience=Patience(steady_s=0)))


async def finish(writer: Writer, reader: Reader, bench: Bench) -> None:
    """Wait until the run has told everything, and hold what was read against it."""
    async with asyncio.timeout(PATIENCE_S):
        await wait_for(lambda: reader.n_events == writer.n_events)
        await wait_for(lambda: len(reader.log) == len(writer.log))
    assert_nothing_lost_or_doubled(writer, reader, bench.folder / "state")


@pytest.mark.usefixtures("undaunted")
async def test_no_event_is_lost_or_doubled_however_often_the_link_is_cut(bench: Bench, seed: int) -> None:
    chance = random.Random(seed)
    writer = Writer(bench.run, n_events=12_000, per_s=1000)
    async with bench.linked(notice_s=2) as (link, reader), writer.writing():
        while reader.n_events < 0.95 * writer.n_events:
            async with asyncio.timeout(PATIENCE_S):
                await reader.next_event()
            link.cut()
            await asyncio.sleep(chance.uniform(0, 0.1))
            link.mend()
        await finish(writer, reader, bench)
    assert link.n_connected > LEAST_CUTS


async def test_a_stalled_and_a_slow_link_are_waited_for(bench: Bench, seed: int) -> None:
    chance = random.Random(seed)
    writer = Writer(bench.run, n_events=3000, per_s=1500)
    async with bench.linked() as (link, reader), writer.writing():
        async with asyncio.timeout(PATIENCE_S):
            await reader.next_event()
        for _ in range(4):
            link.stall()
            await asyncio.sleep(chance.uniform(0, 0.3))
            link.mend()
            link.delay_s = chance.uniform(0, 0.05)
            await asyncio.sleep(0.2)
        link.mend()
        await finish(writer, reader, bench)
    assert link.n_connected == 1, "nothing was lost, so nothing had to be made again"


async def test_a_connection_that_dies_without_a_word_is_noticed_and_replaced(bench: Bench) -> None:
    writer = Writer(bench.run, n_events=3000, per_s=1000)
    async with bench.linked(notice_s=2) as (link, reader), writer.writing():
        async with asyncio.timeout(PATIENCE_S):
            await reader.next_event()
            link.drop()
            await wait_for(lambda: link.n_connected == 2)
        await finish(writer, reader, bench)


async def test_another_login_node_takes_over_from_one_that_dies(bench: Bench, cluster: Cluster) -> None:
    writer = Writer(bench.run, n_events=3000, per_s=1000)
    async with (
        Link(cluster.address, 22).open() as first,
        Link(cluster.address, 22).open() as second,
        bench.opened(bench.config(first.port, second.port)) as reader,
        writer.writing(),
    ):
        async with asyncio.timeout(PATIENCE_S):
            await reader.next_event()
            first.cut()
            await reader.next_event()
            (status,) = reader.services.links()
            assert status.link.node == "chaos-2"
        await finish(writer, reader, bench)
    assert (first.n_connected, second.n_connected) == (1, 1)


async def test_killed_sessions_and_a_restarted_sshd_are_got_over(bench: Bench, cluster: Cluster) -> None:
    writer = Writer(bench.run, n_events=3000, per_s=600)

    def connected(link: Link, number: int) -> bool:
        return link.n_connected >= number

    async with bench.linked() as (link, reader), writer.writing():
        async with asyncio.timeout(PATIENCE_S):
            await reader.next_event()
            await asyncio.to_thread(lambda: cluster.login.run("kill", "-9", *session_pids(cluster)))
            await wait_for(lambda: connected(link, 2))
            await reader.next_event()
            await asyncio.to_thread(cluster.stop_sshds)
            before = link.n_connected
            await asyncio.to_thread(cluster.start_sshds)
            await wait_for(lambda: connected(link, before + 1))
        await finish(writer, reader, bench)


async def test_packets_that_vanish_are_got_over(bench: Bench, cluster: Cluster) -> None:
    """The link itself: first a fifth of all packets is lost on it, then for a while all of them are."""
    writer = Writer(bench.run, n_events=3000, per_s=600)
    config = bench.configured("login", str(cluster.ssh_config), notice_s=2)
    async with bench.opened(config) as reader, writer.writing():
        async with asyncio.timeout(PATIENCE_S):
            await reader.next_event()
        try:
            await asyncio.to_thread(cluster.lose_packets, 0.2)
            async with asyncio.timeout(PATIENCE_S):
                for _ in range(5):
                    await reader.next_event()
            await asyncio.to_thread(cluster.cut)
            (status,) = reader.services.links()
            async with asyncio.timeout(PATIENCE_S):
                await wait_for(lambda: not reader.services.links()[0].link.state.is_up)
        finally:
            await asyncio.to_thread(cluster.mend)
        await finish(writer, reader, bench)
    assert status.link.state.is_up
