"""The Slurm scheduler over every kind of connection; over one, at length, in `test_slurm_scheduler`."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.cluster import site
from tests.cluster.cluster import Cluster
from tests.contract import slurm_core
from tests.contract.ssh import Laptop, by_asyncssh, by_openssh, by_paramiko

ROOT = Path(__file__).parents[2]


async def test_jobs_are_the_same_over_ssh_of_every_kind(cluster: Cluster, tmp_path: Path) -> None:
    target = Laptop(cluster, tmp_path).target()

    async def over(connect: Any) -> None:
        async with connect(target) as connection:
            await slurm_core.Core(connection).all()

    async with asyncio.TaskGroup() as group:  # of which each job waits for Slurm most of the time
        for kind in (by_asyncssh, by_openssh, by_paramiko):
            group.create_task(over(kind), name=kind.__name__)


def test_jobs_are_the_same_for_who_works_on_the_login_node(cluster: Cluster) -> None:
    there = cluster.state / "home" / site.USER.name / "program"
    for package in ("jobs", "workbench"):
        shutil.copytree(
            ROOT / package, there / package, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(slurm_core.__file__, there)
    home = f"/home/{site.USER.name}"
    environment = ["env", "-i", f"HOME={home}", f"PYTHONPATH={home}/program", "PATH=/usr/bin:/bin"]
    program = [sys.executable, f"{home}/program/{Path(slurm_core.__file__).name}"]
    done = cluster.login.run(*environment, *program, user=site.USER.name, check=False)
    assert done.returncode == 0, done.stderr
