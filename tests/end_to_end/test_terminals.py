"""Shells on the cluster's nodes, on a real terminal: attached to, left, kept when everything else goes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cluster import site
from tests.cluster.cluster import Cluster
from tests.end_to_end.sessions import environment, opened, ready
from tests.end_to_end.terminals import Terminal
from tests.waiting import until
from workbench.errors import NotAllowed, SchedulerError
from workbench.model.session import SessionKind
from workbench.services import Services

ROOT = Path(__file__).parents[2]
MINUTES = ("interactive_minutes = 30",)
INTR = ('interactive_qos = "INTR"', *MINUTES)


def attached(session_id: str, env: Mapping[str, str]) -> Terminal:
    command = [sys.executable, "-m", "workbench", "session", "attach", session_id]
    return Terminal(command, env, cwd=ROOT)


@pytest.mark.parametrize("kind", ["asyncssh", "openssh", "paramiko"])
async def test_a_shell_is_attached_to_left_and_found_as_it_was(
    cluster: Cluster, tmp_path: Path, kind: str
) -> None:
    env = environment(cluster, tmp_path, *MINUTES)
    config = tmp_path / ".config/mace-workbench/config.toml"
    config.write_text(config.read_text().replace('"asyncssh"', f'"{kind}"'))
    async with opened(env) as services:
        view = await ready(services, await services.desk.start(SessionKind.SHELL))
        assert view.place is not None
        with attached(view.session.id, env) as terminal:
            await terminal.shows("$ ")
            terminal.type("stty size; echo on-$(hostname) as-$((6*7)) job-$SLURM_JOB_ID\r")
            assert view.job is not None
            assert view.job.key is not None
            await terminal.shows(f"on-{view.place.node} as-42 job-{view.job.key.native_id}")
            assert "23 80" in terminal.text()  # tmux keeps a line for itself
            terminal.resize(40, 132)
            await until(lambda: _typed(terminal, "stty size\r"), lambda text: "39 132" in text)
            terminal.type("\x02d")
            assert await terminal.ended() == 0
        with attached(view.session.id, env) as terminal:
            await terminal.shows(f"on-{view.place.node} as-42")
            terminal.hang_up()
            await terminal.ended()
        assert services.desk.view(view.session).state == "ready"
        with attached(view.session.id, env) as terminal:
            await terminal.shows("as-42")
            terminal.type("exit\r")
            await terminal.ended()
        await until(lambda: _state(services, view.session.id), lambda state: state == "ended")


async def test_the_screens_give_the_terminal_to_a_shell_and_take_it_back(
    cluster: Cluster, tmp_path: Path
) -> None:
    env = environment(cluster, tmp_path, *MINUTES)
    async with opened(env) as services:
        view = await ready(services, await services.desk.start(SessionKind.SHELL))
        with Terminal([sys.executable, "-m", "workbench"], env, cwd=ROOT) as terminal:
            await terminal.shows("session")
            terminal.type("S")
            await until(lambda: _typed(terminal, ""), lambda text: f"{view.session.id}" in text)
            await terminal.shows("● ready")
            terminal.type("a")
            await terminal.shows("[session]")
            terminal.type("echo in-$((6*7))\r")
            await terminal.shows("in-42")
            terminal.type("\x02d")
            await terminal.shows(f"Session {view.session.id} goes on")
            terminal.type("q")
            assert await terminal.ended() == 0


async def test_intr_is_renewed_when_it_has_ended_and_by_one_press_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with opened(environment(cluster, tmp_path, *INTR)) as services:
        session = await services.desk.start(SessionKind.SHELL, work_folder="rds/hpc-work")
        view = await ready(services, session)
        assert (await services.desk.renew(session.id)).renews
        with pytest.raises(NotAllowed, match="renewed already"):
            await services.desk.renew(session.id)
        assert _in_queue(cluster) == 1
        await services.cancel(view.session.job)
        await until(lambda: _job(services, session.id), lambda job: job != session.job)
        again = await ready(services, session)
        assert again.place is not None
        assert again.place.work_folder.endswith("/rds/hpc-work")
        assert not again.session.renews
        await services.cancel(again.session.job)
        await until(lambda: _state(services, session.id), lambda state: state == "ended")
        renewed = await services.desk.renew(session.id)  # one that is over: at once
        assert renewed.job not in (session.job, again.session.job)


async def test_elsewhere_a_renewal_waits_in_the_queue_for_the_end_of_the_job(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with opened(environment(cluster, tmp_path, *MINUTES)) as services:
        view = await ready(services, await services.desk.start(SessionKind.SHELL))
        renewed = await services.desk.renew(view.session.id)
        assert renewed.job == view.session.job
        waiting = services.job(renewed.next_job)
        assert waiting.spec.resources.dependency
        assert _in_queue(cluster) == 2
        await services.cancel(view.session.job)
        await until(lambda: _job(services, renewed.id), lambda job: job == renewed.next_job)
        await ready(services, renewed)


async def test_the_sites_own_command_survives_what_kills_it_bare(cluster: Cluster, tmp_path: Path) -> None:
    bare = ["ssh", "-F", str(cluster.ssh_config), "-tt", "login", "sintr"]
    asked = ["-A", "MACE-SL3-CPU", "-p", "icelake", "-t", "10"]
    with Terminal([*bare, *asked], {"PATH": "/usr/bin:/bin"}) as terminal:
        await terminal.shows("mw123@cpu-q")
        assert _in_queue(cluster) == 1
        terminal.hang_up()
        await terminal.ended()
    await until(lambda: asyncio.to_thread(_in_queue, cluster), lambda n_jobs: n_jobs == 0)

    env = environment(cluster, tmp_path, *INTR)
    async with opened(env) as services:
        session = await services.desk.start(SessionKind.SINTR)
        await until(lambda: _state(services, session.id), lambda state: state == "ready")
        with pytest.raises(SchedulerError, match="job submit limit"):
            await services.desk.start(SessionKind.SINTR)
        with attached(session.id, env) as terminal:
            await terminal.shows("mw123@cpu-q")
            terminal.type("echo kept-$((6*7))\r")
            await terminal.shows("kept-42")
            terminal.hang_up()
            await terminal.ended()
        await asyncio.to_thread(cluster.cut)
        try:
            await until(lambda: _down(services))
        finally:
            await asyncio.to_thread(cluster.mend)
        with attached(session.id, env) as terminal:
            await terminal.shows("kept-42")
            terminal.type("\x02d")
            assert await terminal.ended() == 0
        assert _in_queue(cluster) == 1
        await services.desk.stop(session.id)
        await until(lambda: asyncio.to_thread(_in_queue, cluster), lambda n_jobs: n_jobs == 0)


async def _typed(terminal: Terminal, typed: str) -> str:
    """All that is shown, after something more was typed."""
    terminal.type(typed)
    await asyncio.sleep(0.1)  # not for as long as it takes: or hundreds of lines are typed meanwhile
    return terminal.text()


async def _state(services: Services, session_id: str) -> str:
    return services.desk.view(services.desk.session(session_id)).state


async def _job(services: Services, session_id: str) -> str:
    return services.desk.session(session_id).job


async def _down(services: Services) -> bool:
    return services.links()[0].link.down_since is not None


def _in_queue(cluster: Cluster) -> int:
    return len(cluster.login.run("squeue", "-h", "-u", site.USER.name).stdout.splitlines())
