"""A program that follows a run in a process of its own: it can be killed, and its disk can be full."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.chaos.small_disk import SmallDisk, on_laptop
from tests.chaos.stream import JOB, Bench
from tests.waiting import until
from workbench.config import Config
from workbench.services import STORE_FILE
from workbench.store import Store

_REPOSITORY = Path(__file__).parents[2]


class Program:
    """`tests.chaos.follower` with its state on a small disk."""

    def __init__(self, config: Config, disk: SmallDisk) -> None:
        self._config = config
        self.disk = disk
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it."""
        (profile,) = self._config.profiles.values()
        follower = [sys.executable, "-m", "tests.chaos.follower", str(self.disk.seen_as)]
        self._process = await asyncio.create_subprocess_exec(
            *(*self.disk.enter, *follower, profile.ssh_config, profile.host),
            env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
            start_new_session=True,
        )

    async def kill(self) -> None:
        """With no chance to tidy up."""
        if self._process is not None:
            assert self._process.returncode is None, "it has ended by itself"
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
            self._process = None

    def kept(self, aside: Path) -> bytes:
        """What it has kept of the events; read from a copy, which is laid aside."""
        aside.mkdir(exist_ok=True)
        for path in self.disk.folder.glob(f"{STORE_FILE}*"):
            shutil.copy(path, aside)
        store = Store(aside / STORE_FILE)
        pieces = store.pieces(JOB)
        store.close()
        return b"".join(data for _, data in pieces)

    async def keeps(self, events: bytes, aside: Path) -> None:
        """Wait until it has kept this, which is all."""

        async def ask() -> bool:
            return await asyncio.to_thread(self.kept, aside) == events

        await until(ask)


@asynccontextmanager
async def program(bench: Bench, config: Config, megabytes: int = 64) -> AsyncIterator[Program]:
    """One that is running, with the run in its store."""
    state = bench.folder / "program"
    state.mkdir()
    bench.store(config).close()
    with on_laptop(state, megabytes) as disk:
        for path in config.state_folder.glob(f"{STORE_FILE}*"):
            shutil.copy(path, disk.folder)
        running = Program(config, disk)
        await running.start()
        try:
            yield running
        finally:
            await running.kill()
