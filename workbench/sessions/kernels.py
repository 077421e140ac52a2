"""The kernels of a Jupyter server, asked for through its tunnel: one request over a channel of bytes."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

from workbench.errors import WorkbenchError
from workbench.model.session import Kernel, Session
from workbench.ports import ByteStream
from workbench.sessions.way import Way

_MOST_BYTES = 1 << 22
_EVERY_S = 10.0
_ANSWER_S = 10.0
"""How long Jupyter has to say which kernels there are."""


class JupyterFailed(WorkbenchError):
    """A Jupyter server answered with something else than was asked for."""


class Kernels:
    """Of all sessions, as they were when their servers were asked last."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[float, tuple[Kernel, ...]]] = {}

    def of(self, session: Session) -> tuple[Kernel, ...] | None:
        """What was heard last; None before that."""
        asked = self._asked.get(session.id)
        return asked[1] if asked else None

    def forget(self, session: Session) -> None:
        """Its server is another one now."""
        self._asked.pop(session.id, None)

    async def look(self, session: Session, way: Way) -> None:
        """Ask a server, if that is some time ago; one that does not answer has none to be seen."""
        now = asyncio.get_running_loop().time()
        asked = self._asked.get(session.id)
        if asked is None or now - asked[0] >= _EVERY_S:
            found: tuple[Kernel, ...] = ()
            with suppress(TimeoutError):
                found = await ask(session, way)
            self._asked[session.id] = (now, found)


async def ask(session: Session, way: Way) -> tuple[Kernel, ...]:
    """The kernels of a session's server now.

    Raises:
        WorkbenchError: It cannot be reached, or does not say.
        TimeoutError: It does not answer.
    """
    async with asyncio.timeout(_ANSWER_S), way.channel() as channel:
        assert way.place is not None
        return await kernels(channel, way.place.base_url, session.token)


async def kernels(channel: ByteStream, base_url: str, token: str) -> tuple[Kernel, ...]:
    """What runs on the server at the other end.

    Raises:
        JupyterFailed: It does not say.
    """
    request = (
        f"GET {base_url}api/kernels HTTP/1.0\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
        f"Authorization: token {token}\r\n\r\n"
    )
    await channel.write(request.encode())
    answer = bytearray()
    while data := await channel.read(1 << 16):
        answer += data
        if len(answer) > _MOST_BYTES:
            raise JupyterFailed("Jupyter's list of kernels has no end.")
    return parse(bytes(answer))


def parse(answer: bytes) -> tuple[Kernel, ...]:
    """The kernels in a whole HTTP response.

    Raises:
        JupyterFailed: There are none to be understood.
    """
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].decode(errors="replace")
    if status.split()[1:2] != ["200"]:
        raise JupyterFailed(f"Jupyter does not say which kernels run ({status[:80] or 'no answer'}).")
    try:
        return tuple(_kernel(record) for record in json.loads(body))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise JupyterFailed(f"Jupyter's list of kernels cannot be understood ({error!r}).") from error


def _kernel(record: dict[str, Any]) -> Kernel:
    return Kernel(
        id=str(record["id"]),
        name=str(record["name"]),
        busy=record.get("execution_state") == "busy",
        connections=int(record.get("connections", 0)),
        last_activity=str(record.get("last_activity", "")),
    )
