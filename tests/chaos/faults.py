"""What is done to the link, to the cluster and to the laptop, and how long it takes to be back after each.

Being back is three things: an event of the run is here that was written afterwards, a request through a
tunnel to the login node is answered, and so is one through the tunnel of a notebook on a node.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.chaos.program import Program
from tests.chaos.small_disk import SmallDisk
from tests.chaos.stream import Reader, session_pids
from tests.chaos.visitor import Visitor
from tests.cluster import host
from tests.cluster.cluster import Cluster

EVENT, TUNNEL, NOTEBOOK = "next event", "tunnel", "notebook"


@dataclass
class Scene:
    """All that a fault can hit, and all who look on."""

    cluster: Cluster
    disk: SmallDisk
    """That of the run, on the cluster."""
    reader: Reader
    program: Program
    visitors: dict[str, Visitor]
    node: Callable[[], str]
    """Where the notebook is."""
    chance: random.Random
    killed: str = ""
    """The node that is down."""

    async def do(self, work: Callable[..., object], *arguments: object) -> None:
        """Something that blocks."""
        await asyncio.to_thread(work, *arguments)

    async def pause(self, longest_s: float) -> None:
        """A random time up to this."""
        await asyncio.sleep(self.chance.uniform(0, longest_s))


async def _nothing(_: Scene) -> None:
    """Nothing is left to be done."""


@dataclass
class Fault:
    """One way in which something fails, and what was measured of it."""

    name: str
    happen: Callable[[Scene], Awaitable[None]]
    """Returns when it is over, as far as it is ever over by itself."""
    often: int
    of_link: bool = True
    is_silent: bool = False
    """Whether it has to be noticed, which takes its time."""
    tidy: Callable[[Scene], Awaitable[None]] = _nothing
    """What is to be done when all is back."""
    back_s: dict[str, list[float]] = field(default_factory=lambda: {EVENT: [], TUNNEL: [], NOTEBOOK: []})
    """From its end until each is back."""

    @property
    def number(self) -> int:
        """So often it has happened."""
        return len(self.back_s[EVENT])

    async def strike(self, scene: Scene) -> float:
        """Have it happen while everything is in use; since when, by then, both links are back, in seconds."""
        async with asyncio.TaskGroup() as meanwhile:
            asking = [meanwhile.create_task(one.goes_on_asking()) for one in scene.visitors.values()]
            await self.happen(scene)
            for task in asking:
                task.cancel()
        began, now = time.monotonic(), time.time()

        async def timed(what: str, back: Awaitable[object]) -> None:
            await back
            self.back_s[what].append(time.monotonic() - began)

        async with asyncio.TaskGroup() as all_back:
            all_back.create_task(timed(EVENT, scene.reader.event_of(now)))
            for what, visitor in scene.visitors.items():
                all_back.create_task(timed(what, visitor.answered()))
        links_back_s = max(self.back_s[EVENT][-1], self.back_s[TUNNEL][-1])
        lasted_s = time.monotonic() - began - links_back_s
        await self.tidy(scene)
        return lasted_s


# -- the link --------------------------------------------------------------------------------------


async def _reset(scene: Scene) -> None:
    await scene.do(scene.cluster.reset_connections)
    await scene.pause(1.0)
    await scene.do(scene.cluster.mend)


async def _vanish(scene: Scene) -> None:
    await scene.do(scene.cluster.cut)
    await scene.pause(2.0)
    await scene.do(scene.cluster.mend)


async def _kill_sessions(scene: Scene) -> None:
    pids = await asyncio.to_thread(session_pids, scene.cluster)
    await asyncio.to_thread(
        lambda: scene.cluster.login.run("kill", "-9", *pids, check=False) if pids else None
    )


async def _lose_packets(scene: Scene) -> None:
    await scene.do(scene.cluster.lose_packets, 0.3)
    await scene.pause(2.0)
    await scene.do(scene.cluster.mend)


async def _forget(scene: Scene) -> None:
    await scene.do(scene.cluster.forget_connections)


# -- the cluster -----------------------------------------------------------------------------------


async def _restart_slurmctld(scene: Scene) -> None:
    await scene.do(scene.cluster.master.stop, "slurmctld", "KILL")
    await scene.pause(1.0)
    await scene.do(scene.cluster.start_slurmctld)
    await scene.do(host.wait_for, scene.cluster.is_up, "Slurm to be up again")


async def _restart_slurmdbd(scene: Scene) -> None:
    await scene.do(scene.cluster.master.stop, "slurmdbd", "KILL")
    await scene.pause(1.0)
    await scene.do(scene.cluster.start_slurmdbd)
    await scene.do(scene.cluster.wait_for_slurmdbd)


async def _restart_database(scene: Scene) -> None:
    await scene.do(scene.cluster.master.stop, "mariadbd")
    await scene.pause(1.0)
    await scene.do(scene.cluster.start_database)
    await scene.do(scene.cluster.wait_for_database)


async def _kill_node(scene: Scene) -> None:
    scene.killed = scene.node()
    await scene.do(scene.cluster.hosts[scene.killed].kill)


async def _boot_node(scene: Scene) -> None:
    await scene.do(scene.cluster.revive, scene.killed)


async def _fill_run(scene: Scene) -> None:
    await scene.do(scene.disk.fill)
    await scene.pause(2.0)
    await scene.do(scene.disk.free)


# -- the laptop ------------------------------------------------------------------------------------


async def _kill_program(scene: Scene) -> None:
    await scene.program.kill()
    await scene.program.start()


async def _fill_store(scene: Scene) -> None:
    await scene.do(scene.program.disk.fill)
    await scene.pause(2.0)
    await scene.do(scene.program.disk.free)


def faults() -> list[Fault]:
    """All kinds, by how often each is to happen among those of its sort."""
    return [
        Fault("reset: connections broken, new ones refused, up to 1 s", _reset, 46),
        Fault("vanished: packets vanish, up to 2 s", _vanish, 30),
        Fault("killed: the server's sessions end", _kill_sessions, 22),
        Fault("lossy: 30 % of the packets are lost, up to 2 s", _lose_packets, 5),
        Fault("forgotten: packets of the connections vanish for good", _forget, 1, is_silent=True),
        Fault("slurmctld killed and started again", _restart_slurmctld, 3, of_link=False),
        Fault("slurmdbd killed and started again", _restart_slurmdbd, 3, of_link=False),
        Fault("MariaDB stopped and started again", _restart_database, 3, of_link=False),
        Fault("the notebook's node killed", _kill_node, 2, of_link=False, tidy=_boot_node),
        Fault("the disk of the run full, up to 2 s", _fill_run, 4, of_link=False),
        Fault("the disk of the store full, up to 2 s", _fill_store, 4, of_link=False),
        Fault("the program killed and started again", _kill_program, 4, of_link=False),
    ]
