"""A user at a laptop with sessions on the test cluster: the program's services, and a browser's requests."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.cluster.cluster import Cluster
from tests.waiting import until
from workbench.config import load_config
from workbench.errors import WorkbenchError
from workbench.model.session import Session, SessionView
from workbench.services import STORE_FILE, Services
from workbench.store import Store

_TURN_S = 0.1


def environment(cluster: Cluster, home: Path, *settings: str, notice_s: int = 2) -> Mapping[str, str]:
    """Of a user whose default place is the cluster, with these lines more in its profile."""
    config = home / ".config/mace-workbench/config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    usual = (cluster.client / "mace-workbench/config.toml").read_text()
    config.write_text("\n".join([usual, f"notice_s = {notice_s}", *settings, ""]))
    return {"HOME": str(home), "PATH": os.environ["PATH"]}


@asynccontextmanager
async def opened(env: Mapping[str, str], *, stops: bool = True) -> AsyncIterator[Services]:
    """The program, which looks after what is wanted for as long as it is open, and in the end stops it."""
    config = load_config(env)
    services = Services(config, Store(config.state_folder / STORE_FILE))

    async def tend() -> None:
        while True:
            with suppress(WorkbenchError):  # the link is down: it comes back
                await services.refresh()
            await services.desk.tend()
            await asyncio.sleep(_TURN_S)

    tending = asyncio.create_task(tend())
    try:
        yield services
    finally:
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)
        for view in services.desk.sessions() if stops else ():
            if view.job is not None and not view.job.state.is_over:
                await services.desk.stop(view.session.id)
        await services.close()


async def ready(services: Services, session: Session) -> SessionView:
    """The session, once it can be used."""

    async def ask() -> SessionView:
        return services.desk.view(services.desk.session(session.id))

    def done(view: SessionView) -> bool:
        return view.state in ("ready", "ended")

    view = await until(ask, done)
    if view.state == "ended":
        raise AssertionError((await services.log(view.session.job)).decode(errors="replace"))
    return view


class Browser:
    """An open tab: what it asks of a URL that stays the same."""

    def __init__(self, session: Session) -> None:
        self.base = session.url.partition(f"/{session.page}")[0]
        self.token = session.token

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        return await asyncio.to_thread(self._ask, "GET", path, None)

    async def post(self, path: str, record: object) -> Any:
        """What came back, as JSON."""
        status, body = await asyncio.to_thread(self._ask, "POST", path, json.dumps(record).encode())
        assert status in (200, 201), body
        return json.loads(body)

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        asked = urllib.request.Request(self.base + path, data=body, method=method)
        asked.add_header("Authorization", f"token {self.token}")
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError as error:
            return 0, str(error).encode()

    async def lasting(self, path: str) -> bytes:
        """The body, as soon as it is to be had."""
        return (await until(lambda: self.get(path), lambda answer: answer[0] == 200))[1]

    async def kernel(self) -> str:
        """The id of a new one."""
        return str((await self.post("/api/kernels", {"name": "python3"}))["id"])

    async def run(self, kernel: str, code: str) -> str:
        """What a cell prints, over a websocket, as a notebook does it."""
        url = f"ws{self.base.removeprefix('http')}/api/kernels/{kernel}/channels?token={self.token}"
        cell = secrets.token_hex(8)
        header = {"msg_id": cell, "msg_type": "execute_request", "username": "", "session": cell}
        content = {"code": code, "silent": False, "allow_stdin": False}
        rest = {"parent_header": {}, "metadata": {}, "buffers": [], "channel": "shell"}
        printed = ""
        async with connect(url, proxy=None, close_timeout=1) as link:
            await link.send(json.dumps({"header": {**header, "version": "5.3"}, "content": content, **rest}))
            async for said in link:
                message = json.loads(said)
                if message["parent_header"].get("msg_id") != cell:
                    continue
                if message["msg_type"] == "stream":
                    printed += message["content"]["text"]
                if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                    return printed
        raise ConnectionResetError("the websocket was closed")

    async def run_at_last(self, kernel: str, code: str) -> str:
        """The same, by a notebook that connects again until it gets through."""

        async def ask() -> str | None:
            try:
                return await self.run(kernel, code)
            except (OSError, WebSocketException):
                return None

        return str(await until(ask, lambda printed: printed is not None))


def left_s(view: SessionView) -> float:
    """How much time it has."""
    left = view.left_s(time.time())
    assert left is not None
    return left
