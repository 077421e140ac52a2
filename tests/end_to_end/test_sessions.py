"""Notebooks on the cluster's nodes, through a real Slurm, sshd and Jupyter, and what may happen to them."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cluster import site
from tests.cluster.cluster import Cluster
from tests.end_to_end.sessions import Browser, environment, opened, ready
from tests.waiting import until
from workbench.model.job import JobState
from workbench.schedulers.slurm import SlurmScheduler
from workbench.services import Services

SETTINGS = ('interactive_qos = "INTR"', "interactive_minutes = 30")


@pytest.fixture
def env(cluster: Cluster, tmp_path: Path) -> Mapping[str, str]:
    return environment(cluster, tmp_path, *SETTINGS)


async def test_a_notebooks_token_is_seen_by_nobody_else(
    env: Mapping[str, str], cluster: Cluster, tmp_path: Path
) -> None:
    async with opened(env) as services:
        view = await ready(services, await services.desk.start(page="tree"))
        token = view.session.token
        assert len(token) >= 32
        tab = Browser(view.session)
        await tab.run(await tab.kernel(), "print(1)")
        services.desk.page(view.session)
        for host in cluster.hosts.values():
            assert token not in host.run("ps", "-eo", "args").stdout
        here = await asyncio.create_subprocess_exec("ps", "-eo", "args", stdout=asyncio.subprocess.PIPE)
        assert token.encode() not in (await here.communicate())[0]
        _check_private(tmp_path, token)
        _check_private(cluster.state / "home" / site.USER.name / "rds", token)
        tab.token = "something else"
        assert (await tab.get("/api/kernels"))[0] == 403


def _check_private(folder: Path, token: str) -> None:
    """Whatever holds the token is the user's alone."""
    holding = [
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and token.encode() in path.read_bytes()
    ]
    assert holding
    for path in holding:
        shut = [part for part in (path, *path.parents) if not stat.S_IMODE(part.stat().st_mode) & 0o077]
        assert any(part.is_relative_to(folder) for part in shut), path


async def test_a_notebook_is_reached_by_the_nodes_name_where_the_site_wants_that(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with opened(environment(cluster, tmp_path, 'notebook_reach = "hostname"')) as services:
        view = await ready(services, await services.desk.start())
        assert view.place is not None
        assert view.place.address == view.place.node
        tab = Browser(view.session)
        assert await tab.run(await tab.kernel(), "print(2)") == "2\n"


async def test_kernels_are_listed_and_a_computing_one_is_known_for_it(env: Mapping[str, str]) -> None:
    async with opened(env) as services:
        view = await ready(services, await services.desk.start())
        tab = Browser(view.session)
        kernel = await tab.kernel()
        computing = asyncio.ensure_future(tab.run(kernel, "import time; time.sleep(600)"))
        await until(lambda: services.desk.busy_kernels(view.session), lambda busy: busy == 1)
        computing.cancel()
        await asyncio.gather(computing, return_exceptions=True)


async def test_an_environment_without_jupyter_is_named_as_the_trouble(
    cluster: Cluster, tmp_path: Path
) -> None:
    env = environment(cluster, tmp_path, 'env = { PYTHONNOUSERSITE = "1" }')
    config = tmp_path / ".config/mace-workbench/config.toml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("python =")]
    config.write_text("\n".join([*lines, 'python = "/usr/bin/python3"', ""]))
    async with opened(env) as services:
        session = await services.desk.start()
        await until(lambda: _state(services, session.id), lambda state: state == "ended")
        job = services.job(services.desk.session(session.id).job)
        assert job.state is JobState.FAILED
        assert b"Install mace-workbench[notebook] for /usr/bin/python3" in await services.log(job.id)


async def _state(services: Services, session_id: str) -> str:
    return services.desk.view(services.desk.session(session_id)).state


async def test_a_session_that_has_waited_long_is_found_as_soon_as_it_runs(
    env: Mapping[str, str], cluster: Cluster
) -> None:
    def partition(state: str) -> None:
        cluster.master.run("scontrol", "update", "PartitionName=icelake", f"State={state}")

    async with opened(env) as services:
        partition("DOWN")
        try:
            session = await services.desk.start()
            scheduler = (await services.desk.site(None)).scheduler
            assert isinstance(scheduler, SlurmScheduler)
            assert services.job(session.job).state is JobState.PENDING
            await services.refresh()
            scheduler.pace.interval_s = 3600.0  # the queue's turn is not in this test's time
        finally:
            partition("UP")
        view = await ready(services, session)
        assert (await Browser(view.session).get("/api"))[0] == 200
