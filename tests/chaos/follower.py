"""A program that follows a run until it is killed: `python -m tests.chaos.follower STATE SSH_CONFIG HOST`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.chaos.stream import JOB
from workbench.config import Config
from workbench.model.profile import ClusterProfile
from workbench.patience import through_outages
from workbench.services import open_services


async def follow(state: Path, ssh_config: str, host: str) -> None:
    """Without end."""
    profile = ClusterProfile("chaos", "asyncssh", host, ssh_config)
    config = Config({"chaos": profile}, "chaos", state_folder=state, data_folder=state)
    async with open_services(config) as services:
        while True:
            await through_outages(lambda: services.fetch(JOB))
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(follow(Path(sys.argv[1]), *sys.argv[2:]))
