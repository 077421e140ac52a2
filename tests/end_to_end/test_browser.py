"""A notebook in a real browser, whose tab is left open while the link goes and comes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.end_to_end.chromium import Tab, chromium
from tests.end_to_end.sessions import Browser, environment, opened, ready
from tests.waiting import until
from workbench.services import Services

_OUTAGE_S = 20.0
_CELLS = ("x = 6; print('first', x * 7)", "print('second', x + 1)")


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Tab]:
    folder = tmp_path / "chromium"
    folder.mkdir()
    async with chromium(folder) as tab:
        yield tab


async def test_the_next_cell_runs_in_the_same_tab_after_an_outage(
    cluster: Cluster, tmp_path: Path, browser: Tab
) -> None:
    async with opened(environment(cluster, tmp_path)) as services:
        view = await ready(services, await services.desk.start(page="tree"))
        asking = Browser(view.session)
        await asyncio.to_thread(asking._ask, "PUT", "/api/contents/story.ipynb", _notebook())
        await browser.go(view.session.url)
        await browser.shows("body", "story.ipynb")
        await browser.go(f"{asking.base}/notebooks/story.ipynb")
        await browser.shows(".jp-Notebook", "second")
        await until(lambda: asking.get("/api/kernels"), _is_connected)
        await until(lambda: _clicked(browser), lambda focused: focused == "cm-content")
        await browser.run_cell()
        await browser.shows(".jp-OutputArea-output", "first 42")

        began = time.monotonic()
        try:
            await asyncio.to_thread(cluster.cut)
            await until(lambda: _down_for(services, began, _OUTAGE_S))
        finally:
            await asyncio.to_thread(cluster.mend)
        await browser.run_cell()
        await browser.shows(".jp-OutputArea-output", "second 7")


async def _down_for(services: Services, began: float, seconds: float) -> bool:
    down = services.links()[0].link.down_since is not None
    return down and time.monotonic() - began >= seconds


def _is_connected(answer: tuple[int, bytes]) -> bool:
    """Whether the notebook has its kernel."""
    kernels = json.loads(answer[1]) if answer[0] == 200 else []
    return any(kernel["connections"] and kernel["execution_state"] == "idle" for kernel in kernels)


async def _clicked(browser: Tab) -> object:
    """What has the cursor, after a click into the first cell."""
    await browser.click(".jp-Cell .cm-content")
    return await browser.value("document.activeElement.className")


def _notebook() -> bytes:
    cells: list[dict[str, object]] = [
        {
            "cell_type": "code",
            "source": code,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "id": f"c{n}",
        }
        for n, code in enumerate(_CELLS)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    return json.dumps({"type": "notebook", "content": content}).encode()
