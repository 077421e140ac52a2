"""A real browser without a window, spoken to in its own protocol (Chrome DevTools)."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.waiting import until

_MOST_BYTES = 1 << 26


class Tab:
    """One tab, at one address."""

    def __init__(self, link: ClientConnection) -> None:
        self._link = link
        self._numbers = itertools.count(1)

    async def _ask(self, method: str, **parameters: object) -> Any:
        number = next(self._numbers)
        await self._link.send(json.dumps({"id": number, "method": method, "params": parameters}))
        async for said in self._link:
            answer = json.loads(said)
            if answer.get("id") == number:  # what it tells without being asked is of no interest
                assert "result" in answer, answer
                return answer["result"]
        raise ConnectionResetError("the browser has ended")

    async def go(self, url: str) -> None:
        """What typing into the address line does."""
        await self._ask("Page.navigate", url=url)

    async def value(self, expression: str) -> Any:
        """Of a piece of JavaScript in the page; none while there is no page to ask."""
        answer = await self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    async def shows(self, selector: str, text: str) -> None:
        """Wait until something on the page holds a text."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText)"

        async def ask() -> list[str]:
            return await self.value(found) or []

        await until(ask, lambda texts: any(text in one for one in texts))

    async def click(self, selector: str) -> None:
        """Where the middle of the first such element is."""
        place = await self.value(
            f"(() => {{ const r = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self._ask(
                "Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1
            )

    async def run_cell(self) -> None:
        """Press shift and enter, which runs the cell with the cursor and goes on to the next."""
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "modifiers": 8}
        await self._ask("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
        await self._ask("Input.dispatchKeyEvent", type="keyUp", **key)


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Tab]:
    """A browser with one tab, whose files are in a folder."""
    process = await asyncio.create_subprocess_exec(
        "chromium",
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--remote-debugging-port=0", f"--user-data-dir={folder}", "--window-size=1200,900", "about:blank"),
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "DBUS_SESSION_BUS_ADDRESS": "none"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with connect(await _address(folder), proxy=None, max_size=_MOST_BYTES, close_timeout=1) as link:
            yield Tab(link)
    finally:
        os.killpg(process.pid, 9)
        await process.wait()


async def _address(folder: Path) -> str:
    """Of its first tab."""

    async def ask() -> str:
        try:
            port = (folder / "DevToolsActivePort").read_text().split()[0]
            tabs = await asyncio.to_thread(_tabs, port)
        except (OSError, IndexError):
            return ""
        return next((str(tab["webSocketDebuggerUrl"]) for tab in tabs if tab["type"] == "page"), "")

    return await until(ask)


def _tabs(port: str) -> list[dict[str, str]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
        found: list[dict[str, str]] = json.loads(answer.read())
        return found
