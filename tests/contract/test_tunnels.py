"""Local ports over a real sshd, whose link is cut and mended."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.contract.ssh import Answers, Laptop, by_asyncssh, by_openssh, by_paramiko
from tests.waiting import PATIENCE_S, until
from workbench.patience import waiting_for_link
from workbench.ports import ByteStream, Connection, Prompter
from workbench.remote import asyncssh_connection
from workbench.remote.link_keeper import LinkKeeper, Living, Pace
from workbench.remote.supervisor import SupervisedConnection
from workbench.remote.tunnels import Forward
from workbench.sessions import hop

_NOTICE_S = 1.0
_CONTENT = bytes(range(256)) * (1 << 12)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(_CONTENT)
_GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def laptop(cluster: Cluster, tmp_path: Path) -> Laptop:
    return Laptop(cluster, tmp_path)


@pytest.fixture
async def web(cluster: Cluster) -> AsyncIterator[int]:
    """A web server; `/slow` stops in the middle of its answer until the client goes away."""

    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(_HEAD + _CONTENT[: len(_CONTENT) // 2])
        if b"/slow" in asked:
            await reader.read()
        writer.write(_CONTENT[len(_CONTENT) // 2 :])
        writer.close()

    async with await asyncio.start_server(serve, cluster.laptop_address, 0) as server:
        yield server.sockets[0].getsockname()[1]
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


@asynccontextmanager
async def forwarding(
    connection: Connection, host: str, port: int, *, wait_s: float = 60
) -> AsyncIterator[Forward]:
    def reach() -> AbstractAsyncContextManager[ByteStream]:
        return connection.open_channel(host, port)

    forward = Forward("the notebook", reach, wait_s=wait_s)
    await forward.listen()
    try:
        yield forward
    finally:
        await forward.close()


async def got(forward: Forward, path: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
    try:
        writer.write(_GET % path)
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("connect", [by_asyncssh, by_openssh, by_paramiko])
async def test_twenty_pages_at_once_arrive_whole(
    laptop: Laptop, cluster: Cluster, web: int, connect: type
) -> None:
    async with (
        connect(laptop.target()) as connection,
        forwarding(connection, cluster.laptop_address, web) as forward,
    ):
        pages = await asyncio.gather(*(got(forward) for _ in range(20)))
    wanted = hashlib.sha256(_HEAD + _CONTENT).digest()
    assert {hashlib.sha256(page).digest() for page in pages} == {wanted}


@asynccontextmanager
async def supervised(laptop: Laptop) -> AsyncIterator[Connection]:
    """A connection that comes back by itself."""
    target = laptop.target()

    async def dial(_: str, prompter: Prompter) -> Living:
        return await asyncssh_connection.connect(target, prompter)

    connection = SupervisedConnection(LinkKeeper("login", dial, Answers(), pace=Pace(notice_s=_NOTICE_S)))
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_cut_link_breaks_off_what_goes_through_and_is_got_over_on_the_same_port(
    laptop: Laptop, cluster: Cluster, web: int
) -> None:
    async with (
        supervised(laptop) as connection,
        forwarding(connection, cluster.laptop_address, web) as forward,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
        writer.write(_GET % b"slow")
        await reader.readexactly(len(_HEAD) + 1000)
        try:
            await asyncio.to_thread(cluster.cut)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            early = asyncio.ensure_future(got(forward))  # waits for the link, and is served
            await until(lambda: _is(forward.status.down_since is not None))
        finally:
            await asyncio.to_thread(cluster.mend)
        assert await early == _HEAD + _CONTENT
        assert await got(forward) == _HEAD + _CONTENT
        assert forward.status.down_since is None


async def test_a_page_that_is_asked_for_while_the_link_is_down_says_so(
    laptop: Laptop, cluster: Cluster, web: int
) -> None:
    async with (
        supervised(laptop) as connection,
        forwarding(connection, cluster.laptop_address, web, wait_s=1) as forward,
    ):
        with waiting_for_link(PATIENCE_S):
            await connection.run(["true"])
        assert await got(forward) == _HEAD + _CONTENT
        try:
            await asyncio.to_thread(cluster.cut)
            answer = await got(forward)
        finally:
            await asyncio.to_thread(cluster.mend)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"the notebook cannot be reached since" in answer
        assert await until(lambda: got(forward), lambda page: page.startswith(b"HTTP/1.1 200 "))


async def _is(value: bool) -> bool:
    return value


async def _job(login: Connection) -> str:
    """A job that runs on the second node."""
    options = ["-A", "MACE-SL3-CPU", "-p", "icelake", "-t", "5", "-w", "cpu-q-2", "-D", "/tmp"]
    done = await login.run(["sbatch", "--parsable", *options, "--wrap", "sleep 600"])
    job = done.stdout.decode().strip()
    state = ["squeue", "-h", "-j", job, "-o", "%T"]
    await until(lambda: _output(login, state), lambda said: said == "RUNNING\n")
    return job


async def test_a_step_whose_way_is_lost_leaves_nothing_in_the_job(laptop: Laptop) -> None:
    async with by_asyncssh(laptop.target()) as login:
        job = await _job(login)

        async def steps() -> list[str]:
            listed = (await _output(login, ["squeue", "-h", "-s", "-j", job, "-o", "%i"])).split()
            return [step for step in listed if step.rpartition(".")[2].isdigit()]

        async with by_asyncssh(laptop.target()) as lost:
            node = hop.by_step(lost, job, "cpu-q-2")
            await node.run(["true"])
            assert await until(steps) == [f"{job}.0"]
        await until(steps, lambda left: not left)
        await node.close()
        await login.run(["scancel", job])


@pytest.mark.parametrize("way", ["ssh", "step"])
async def test_a_node_is_reached_inside_a_job_by_ssh_and_by_a_step(laptop: Laptop, way: str) -> None:
    async with by_asyncssh(laptop.target()) as login:
        job = await _job(login)
        node = hop.by_ssh(login, "cpu-q-2") if way == "ssh" else hop.by_step(login, job, "cpu-q-2")
        try:
            assert await _output(node, ["hostname"]) == "cpu-q-2\n"
            data = bytes(range(256)) * 4000
            assert (await node.run(["cat"], stdin=data)).stdout == data
        finally:
            await node.close()
            await login.run(["scancel", job])


async def _output(connection: Connection, argv: list[str]) -> str:
    return (await connection.run(argv, check=False)).stdout.decode()
