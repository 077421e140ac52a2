"""A local port and what is behind it, over real sockets; the way there is this machine."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from tests.waiting import until
from workbench.ports import ByteStream
from workbench.remote.local import LocalConnection
from workbench.remote.tunnels import Forward, Reach

REQUEST = b"GET /lab HTTP/1.1\r\nHost: x\r\nAccept: text/html,*/*\r\n\r\n"
NOT_LONG_S = 0.2


def to(port: int) -> Reach:
    def reach() -> AbstractAsyncContextManager[ByteStream]:
        return LocalConnection().open_channel("127.0.0.1", port)

    return reach


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def serving(answer: bytes = b"", port: int = 0) -> AsyncIterator[int]:
    """A server that sends `answer`, then what it gets, until the client has no more to say."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write(b"<end>")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def forwarding(
    reach: Reach, port: int = 0, *, wait_s: float = 60, name: str = "the notebook"
) -> AsyncIterator[Forward]:
    forward = Forward(name, reach, wait_s=wait_s)
    await forward.listen(port)
    try:
        yield forward
    finally:
        await forward.close()


@asynccontextmanager
async def client(forward: Forward) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def said_to(forward: Forward, data: bytes, *, eof: bool = True) -> bytes:
    async with client(forward) as (reader, writer):
        writer.write(data)
        if eof:
            writer.write_eof()
        return await reader.read()


async def test_bytes_go_through_in_both_directions_and_half_closing_is_passed_on() -> None:
    data = bytes(range(256)) * 20_000
    async with serving(b"hello ") as port, forwarding(to(port)) as forward:
        assert await said_to(forward, data) == b"hello " + data + b"<end>"


async def test_many_connections_at_once_do_not_mix() -> None:
    async with serving() as port, forwarding(to(port)) as forward:
        parts = [str(number).encode() * 50_000 for number in range(40)]
        assert await asyncio.gather(*(said_to(forward, part) for part in parts)) == [
            part + b"<end>" for part in parts
        ]


async def test_a_client_that_comes_before_its_server_is_served_when_that_is_there() -> None:
    port = free_port()
    async with forwarding(to(port)) as forward:
        waiting = asyncio.ensure_future(said_to(forward, b"early"))
        await until(lambda: _is(forward.status.down_since is not None))
        async with serving(port=port):
            assert await waiting == b"early<end>"
        assert forward.status.down_since is None


async def test_a_browser_is_told_what_is_down_by_a_page_that_comes_again_by_itself() -> None:
    port = free_port()
    async with forwarding(to(port), wait_s=NOT_LONG_S, name="<b>nb</b>") as forward:
        head, _, body = (await said_to(forward, REQUEST, eof=False)).partition(b"\r\n\r\n")
    lines = head.decode().splitlines()
    assert lines[0] == "HTTP/1.1 503 Service Unavailable"
    assert "Retry-After: 2" in lines
    assert f"Content-Length: {len(body)}" in lines
    assert b'<meta http-equiv="refresh" content="2">' in body
    assert b"&lt;b&gt;nb&lt;/b&gt; cannot be reached" in body
    assert b"<b>" not in body
    assert f"nothing answers at 127.0.0.1:{port}".encode() in body


async def test_a_program_that_asks_is_told_in_plain_text() -> None:
    async with forwarding(to(free_port()), wait_s=NOT_LONG_S) as forward:
        upgrade = b"GET /api/kernels/1/channels HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        answer = await said_to(forward, upgrade, eof=False)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Content-Type: text/plain" in answer
    assert b"the notebook cannot be reached since" in answer


@pytest.mark.parametrize(
    "data", [b"", b"SSH-2.0-x\r\n", b"\x16\x03\x01\x02\x00", b"GET", b"get / HTTP/1.1\r\n\r\n"]
)
async def test_a_client_that_does_not_speak_http_is_hung_up_on(data: bytes) -> None:
    async with forwarding(to(free_port()), wait_s=NOT_LONG_S) as forward:
        assert await said_to(forward, data) == b""


async def test_a_request_that_comes_in_pieces_is_known_for_one() -> None:
    async with forwarding(to(free_port()), wait_s=NOT_LONG_S) as forward, client(forward) as (reader, writer):
        for byte in REQUEST:
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")


async def test_a_target_that_breaks_off_is_not_taken_for_one_that_has_ended() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"half of it")
        await writer.drain()
        link = writer.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, forwarding(to(server.sockets[0].getsockname()[1])) as forward:
        with pytest.raises(ConnectionResetError):
            await said_to(forward, b"", eof=False)
        assert await until(lambda: _is(forward.status.connections == 0))


async def test_another_target_takes_over_behind_the_same_port() -> None:
    async with serving(b"one ") as first, serving(b"two ") as second, forwarding(to(first)) as forward:
        async with client(forward) as (reader, _):
            assert await reader.readexactly(4) == b"one "
            port = forward.port
            forward.switch(to(second))
            with pytest.raises(ConnectionResetError):
                await reader.read()
        assert forward.port == port
        assert await said_to(forward, b"") == b"two <end>"


async def test_the_port_is_the_one_that_was_asked_for_or_silently_another_where_it_is_taken() -> None:
    async with serving() as port, forwarding(to(port)) as first:
        async with forwarding(to(port), first.port) as second:
            other = second.port
            assert other not in (0, first.port)
            assert await said_to(second, b"x") == b"x<end>"
        async with forwarding(to(port), other) as again:
            assert again.port == other


async def test_a_reader_that_is_slow_holds_up_the_sender() -> None:
    sent = 0

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < 1 << 28:
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent += 1 << 16

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with (
        server,
        forwarding(to(server.sockets[0].getsockname()[1])) as forward,
        client(forward) as (reader, _),
    ):
        await reader.readexactly(1)
        before = -1
        while before != sent:  # until everything on the way is full
            before = sent
            for _ in range(1000):
                await asyncio.sleep(0)
        assert sent < 1 << 26


async def test_closing_ends_what_goes_through_and_frees_the_port() -> None:
    async with serving(b"hello") as port, forwarding(to(port)) as forward, client(forward) as (reader, _):
        await reader.readexactly(5)
        local = forward.port
        n_tasks = len(asyncio.all_tasks())
        await forward.close()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert forward.port == 0
        assert len(asyncio.all_tasks()) < n_tasks
        async with forwarding(to(port), local) as again:
            assert again.port == local


async def _is(value: bool) -> bool:
    return value
