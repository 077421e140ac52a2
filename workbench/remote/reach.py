"""A TCP connection to a host, as soon as there can be one.

While a network is away, packets are dropped, and TCP itself asks again after 1, 3, 7, 15 … seconds: who
waits for that is back long after the network is. So a new attempt is added every second, beside those that
are under way (which a slow network needs), and the first that succeeds is taken.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
import sys
from typing import TypeAlias

_Address: TypeAlias = tuple[socket.AddressFamily, tuple[object, ...]]
REACH_S = 5.0
_AGAIN_S = 1.0
_TCP_THIN_LINEAR_TIMEOUTS = 16
"""Of Linux: what is lost of a stream of small messages is sent again at a steady pace."""


async def reach(
    hostname: str, port: int, *, within_s: float = REACH_S, again_s: float = _AGAIN_S
) -> socket.socket:
    """Connect to any of a host's addresses, each in its turn.

    Raises:
        OSError: None of them answers, or all of them refuse.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    found = await loop.getaddrinfo(hostname, port, type=socket.SOCK_STREAM)
    addresses: list[_Address] = [(family, address) for family, _, _, _, address in found]
    trying: set[asyncio.Task[socket.socket]] = set()
    refused: list[OSError] = []
    try:
        for family, address in itertools.cycle(addresses):
            trying.add(asyncio.create_task(_connect(family, address)))
            pause = min(again_s, max(0.0, end - loop.time()))
            done, trying = await asyncio.wait(trying, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            connected = [task.result() for task in done if task.exception() is None]
            for spare in connected[1:]:
                spare.close()
            if connected:
                return connected[0]
            refused += [error for task in done if isinstance(error := task.exception(), OSError)]
            if len(refused) >= len(addresses) and not trying:
                raise refused[0]
            if loop.time() >= end:
                break
    finally:
        await _drop(trying)
    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


async def _connect(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    connecting = socket.socket(family, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connecting, address)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "linux":
            connecting.setsockopt(socket.IPPROTO_TCP, _TCP_THIN_LINEAR_TIMEOUTS, 1)
    except BaseException:
        connecting.close()
        raise
    return connecting


async def _drop(trying: set[asyncio.Task[socket.socket]]) -> None:
    """Let go of the attempts that nobody needs any more."""
    for task in trying:
        task.cancel()
    for made in await asyncio.gather(*trying, return_exceptions=True):
        if isinstance(made, socket.socket):
            made.close()
