"""Somebody who asks for a page at a local port, again and again until it is there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

_ANSWER_S = 15.0
"""Longer than a port takes to say that nothing is behind it."""
_PAUSE_S = 0.05


@dataclass(frozen=True)
class Visitor:
    """Of one page."""

    url: str
    token: str = ""
    """Of Jupyter, where it asks for one."""

    async def answered(self) -> None:
        """Ask until the page is there: a new connection each time, as a browser's reload makes it."""
        while not await self._is_answered():  # noqa: ASYNC110
            await asyncio.sleep(_PAUSE_S)

    async def goes_on_asking(self) -> None:
        """Ask whether it is there or not, without end."""
        while True:
            await self._is_answered()
            await asyncio.sleep(_PAUSE_S)

    async def _is_answered(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await self._ask()
        except (OSError, TimeoutError):
            return False

    async def _ask(self) -> bool:
        url = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        try:
            login = f"Authorization: token {self.token}\r\n" if self.token else ""
            writer.write(f"GET {url.path} HTTP/1.0\r\nHost: {url.netloc}\r\n{login}\r\n".encode())
            status, body = await reader.readline(), await reader.read()
        finally:
            writer.close()
        return b" 200 " in status and bool(body)
