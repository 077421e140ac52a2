"""The kernels of a Jupyter server, asked for through its tunnel: one request over a channel of bytes."""

from __future__ import annotations

import json
from typing import Any

from workbench.errors import WorkbenchError
from workbench.model.session import Kernel
from workbench.ports import ByteStream

_MOST_BYTES = 1 << 22


class JupyterFailed(WorkbenchError):
    """A Jupyter server answered with something else than was asked for."""


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
