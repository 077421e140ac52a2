"""The story that the project began with, as it is lived now.

Before: `sintr` for a node; on it `conda activate`, `jupyter notebook --no-browser --ip=* --port=8081`,
`hostname`; the token copied out of what it prints; in another terminal `ssh -L 8081:NODE:8081`; the URL
pieced together in a browser. An hour later, or when the train goes into a tunnel, all of it once more.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.end_to_end.sessions import Browser, environment, opened, ready
from tests.waiting import until
from workbench.services import Services


@pytest.fixture
def laptop(cluster: Cluster, tmp_path: Path) -> dict[str, str]:
    """Of somebody who has told the program about the cluster, once: INTR, and how to activate conda."""
    return dict(
        environment(
            cluster,
            tmp_path,
            'interactive_qos = "INTR"',
            "interactive_minutes = 60",
            'setup = ["export CONDA_DEFAULT_ENV=mace"]',
        )
    )


async def test_the_story_of_a_day_with_a_notebook_on_a_node(laptop: dict[str, str], cluster: Cluster) -> None:
    async with opened(laptop, stops=False) as program:
        # In the morning: one key, in place of sintr, conda, jupyter, hostname, ssh -L and the token.
        session = await program.desk.start(work_folder="rds/hpc-work")
        morning = await ready(program, session)
        assert morning.place is not None
        assert morning.session.url.startswith("http://127.0.0.1:")

        # The tab is open. Somebody else on the node has port 8081, and it does not matter.
        tab = Browser(morning.session)
        assert b"JupyterLab" in await tab.lasting("/lab")
        kernel = await tab.kernel()
        assert await tab.run(kernel, "import os; print(os.environ['CONDA_DEFAULT_ENV'])") == "mace\n"
        assert await tab.run(kernel, "print(os.uname().nodename)") == f"{morning.place.node}\n"
        await tab.run(kernel, "energies = [1, 2, 3]")

        # The train goes into a tunnel.
        try:
            await asyncio.to_thread(cluster.cut)
            await until(lambda: _is_down(program))
        finally:
            await asyncio.to_thread(cluster.mend)

        # It comes out again. Nothing was typed, and the next cell knows what the last one did.
        assert await tab.run_at_last(kernel, "print(sum(energies))") == "6\n"

        # The laptop is shut, with the program in it, and the job does not notice.

    async with opened(laptop) as program:
        # Lunch is over. The same tab, at the same address, with the same kernel.
        assert await tab.run_at_last(kernel, "print(max(energies))") == "3\n"
        assert program.desk.session(session.id).url == morning.session.url

        # The node is taken away, and Slurm puts the job on another one. The tab comes back by itself.
        before = program.desk.view(program.desk.session(session.id))
        assert before.job is not None
        assert before.job.key is not None
        cluster.master.run(
            "scontrol", "update", f"nodename={morning.place.node}", "state=drain", "reason=story"
        )
        try:
            cluster.master.run("scontrol", "requeue", before.job.key.native_id)
            await until(lambda: _moved(program, morning.place.node if morning.place else ""))
            assert b"JupyterLab" in await tab.lasting("/lab")
        finally:
            cluster.master.run("scontrol", "update", f"nodename={morning.place.node}", "state=resume")

        # The hour is over. Only one INTR job may be in the queue, so it is one key now, and no more.
        await program.cancel(before.job.id)
        await until(lambda: _is_over(program))
        renewed = await program.desk.renew(session.id)
        evening = await ready(program, renewed)
        assert evening.session.url == morning.session.url
        assert evening.place is not None
        assert evening.place.work_folder == morning.place.work_folder
        assert b"JupyterLab" in await tab.lasting("/lab")
        assert await tab.run_at_last(await tab.kernel(), "print('good night')") == "good night\n"


async def _is_down(program: Services) -> bool:
    return program.links()[0].link.down_since is not None


async def _is_over(program: Services) -> bool:
    return program.desk.sessions()[0].state == "ended"


async def _moved(program: Services, before: str) -> bool:
    return _node(program) not in ("", before)


def _node(program: Services) -> str:
    view = program.desk.sessions()[0]
    return view.place.node if view.place else ""
