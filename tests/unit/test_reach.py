"""A TCP connection as soon as there can be one, and what tells that the network may be another one now."""

from __future__ import annotations

import asyncio
import socket

import pytest

from workbench.remote.reach import reach
from workbench.remote.wake import local_address, slept


@pytest.fixture
def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


async def test_a_host_that_listens_is_reached(listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    with listening, await reach("127.0.0.1", port) as made:
        assert made.getpeername() == ("127.0.0.1", port)


async def test_a_host_that_refuses_is_named_at_once(listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    listening.close()
    with pytest.raises(ConnectionRefusedError):
        await reach("127.0.0.1", port, within_s=60)


async def test_a_host_that_is_full_is_reached_as_soon_as_it_has_room() -> None:
    """Linux drops what comes to a full queue, as a dead network would."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        port = listening.getsockname()[1]
        filling = [socket.create_connection(("127.0.0.1", port))]
        with pytest.raises(TimeoutError):
            await reach("127.0.0.1", port, within_s=0.05, again_s=0.02)
        reaching = asyncio.ensure_future(reach("127.0.0.1", port, within_s=30, again_s=0.05))
        await asyncio.sleep(0)
        filling.append(listening.accept()[0])
        with await reaching as made:
            assert made.getpeername()[1] == port
        for held in filling:
            held.close()


@pytest.mark.parametrize(
    ("wall_s", "steady_s", "has_slept"),
    [(1.0, 1.0, False), (1.4, 1.2, False), (3601.0, 1.0, True), (3601.0, 3601.0, True), (-60.0, 1.0, True)],
)
def test_a_sleep_shows_in_the_clocks(wall_s: float, steady_s: float, has_slept: bool) -> None:
    assert slept(wall_s, steady_s, 1.0) is has_slept


def test_the_addresses_of_this_machine_can_be_read() -> None:
    assert local_address() == local_address()
    for address in local_address().split():
        assert socket.getaddrinfo(address, None)
