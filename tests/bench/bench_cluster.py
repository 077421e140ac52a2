"""What a real cluster costs: submitting, asking its queue, following a run, and the first table.

On the test cluster (`tests/cluster`): a real Slurm behind a real sshd, on this machine, so that both ends
share one clock and one processor. Where no cluster can be brought up, this says so and measures nothing.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rich.style import Style
from textual.strip import Strip
from textual_plotext.plot import Plot

from jobs.spec import RunSpec
from tests.bench.measure import quantile, show
from tests.bench.terminal import Terminal
from tests.cluster import site
from tests.cluster.cluster import Cluster, why_not
from tests.contract.ssh import Laptop
from tests.relay import Relay, relayed
from tests.waiting import until
from workbench import app
from workbench.config import load_config
from workbench.model.job import Job, JobKey, JobSpec, JobState, JobStatus, Resources
from workbench.model.queue import QueueEntry
from workbench.painting import Painter
from workbench.ports import Completed, Connection
from workbench.ports.painting import PAINT
from workbench.remote import asyncssh_connection
from workbench.remote.asking import NoPrompter
from workbench.remote.ssh_config import SshTarget
from workbench.schedulers.slurm import SlurmScheduler
from workbench.schedulers.slurm.pace import Pace
from workbench.services import STORE_FILE, Services, open_services
from workbench.store import Store
from workbench.widgets.timing import TimingChart

_DELAY_S = 0.5
_SUBMISSIONS = 5
_STARTS = 10
_JOBS = 10_000
_FEW = 20
_POLLS = 20
_EVENTS = {"0.05–0.4 s": (150, 0.05, 0.4), "2–4 s": (15, 2.0, 4.0)}
"""By how far apart they are: how many, and the least and the most seconds between two."""
_RESOURCES = Resources(time_limit_s=3600)

_STAMPED = """\
import random, sys, time
from pathlib import Path
from jobs.protocol import Start, Timing
from jobs.writer import EventWriter

spec = Path(sys.argv[-1])
n, least, most = map(float, (spec.parent.parent / "pattern").read_text().split())
with EventWriter(spec.parent / "events.jsonl") as writer:
    writer.emit(Start("benchmark"))
    for index in range(int(n)):
        time.sleep(random.uniform(least, most))
        writer.emit(Timing("exact", random.gauss(5, 1), case="liquid-96", index=index, n_atoms=96))
"""
"""Runs in the place of an experiment: events of which each is stamped with the time of its writing."""


def main() -> None:
    if reason := why_not():
        print(f"Nothing was measured on a cluster. {reason}")
        return
    cluster = Cluster.reserve()
    try:
        cluster.up()
        with tempfile.TemporaryDirectory() as home:
            asyncio.run(_measure(cluster, Path(home)))
    finally:
        cluster.down()


async def _measure(cluster: Cluster, home: Path) -> None:
    user = _User(Laptop(cluster, home))
    _note_points()
    await show_round_trips(user)
    for apart, pattern in _EVENTS.items():
        show_latency(
            f"event on the node to point on the chart, {apart} apart", await latencies(user, pattern)
        )
    show("start of the program to first table of the cluster", await first_tables(user), "s", "< 2 s")
    few, many = site.USER.name, site.NOISY_USER.name
    await asyncio.to_thread(fill, cluster, few, _FEW)
    await asyncio.to_thread(fill, cluster, many, _JOBS)
    await show_polls(user, few)
    await show_polls(user, many)


@dataclass
class _User:
    """The user's side: a laptop whose program has the cluster for its default place."""

    laptop: Laptop

    @property
    def cluster(self) -> Cluster:
        return self.laptop.cluster

    def environment(self, target: SshTarget | None = None) -> Mapping[str, str]:
        """Of the program, with the stamped events in the place of experiments."""
        home = self.cluster.state / "home" / site.USER.name
        (home / "stamped.py").write_text(_STAMPED)
        python = home / "stamped"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} ~/stamped.py "$@"\n')
        python.chmod(0o755)
        return self.laptop.program(target or self.laptop.target(), f"/home/{site.USER.name}/stamped")

    @asynccontextmanager
    async def services(self, relay: Relay | None = None) -> AsyncIterator[Services]:
        """The program without its screens; through a relay where one is given."""
        target = self.laptop.through(relay) if relay is not None else None
        async with open_services(load_config(self.environment(target))) as services:
            yield services

    def set_pattern(self, *numbers: float) -> None:
        """What the next runs write: how many events, and the least and the most seconds between two."""
        runs = self.cluster.state / "home" / site.USER.name / "rds/hpc-work/mace-workbench/runs"
        runs.mkdir(parents=True, exist_ok=True)
        (runs / "pattern").write_text(" ".join(map(str, numbers)))


# -- submitting ------------------------------------------------------------------------------------


async def show_round_trips(user: _User) -> None:
    """Time a submission on a slow link and on a quick one: the difference is made of round trips."""
    async with relayed(user.cluster.address, site.LOGINS[0].port) as relay, user.services(relay) as services:
        await services.submit(RunSpec(name="first"), _RESOURCES)  # it deploys the code
        quick = [await _submit(services) for _ in range(_SUBMISSIONS)]
        relay.delay_s = _DELAY_S
        slow = [await _submit(services) for _ in range(_SUBMISSIONS)]
        relay.delay_s = 0.0
    trips = [(late - statistics.median(quick)) / (2 * _DELAY_S) for late in slow]
    show("submit to job id, quick link", quick, "s", "–")
    show(f"submit to job id, {2e3 * _DELAY_S:.0f} ms round trip", slow, "s", "–")
    show("… which makes round trips", trips, "", "≤ 2")
    await asyncio.to_thread(_cancel_all, user.cluster)


async def _submit(services: Services) -> float:
    """Seconds from the wish to the number that Slurm has given it."""
    began = time.perf_counter()
    job = await services.submit(RunSpec(name="next"), _RESOURCES)
    assert job.key is not None
    return time.perf_counter() - began


# -- following -------------------------------------------------------------------------------------


class _Picture(list[Strip]):
    """A picture of a chart that knows how many points are in it."""

    n_points = 0


def _note_points() -> None:
    """Have every picture of the chart of times know how many points it shows."""
    draw, painter = TimingChart.draw, Painter()

    def noting_draw(self: TimingChart, plot: Plot, width: int, height: int) -> str | None:
        vars(plot)["n_points"] = sum(len(line.values) for line in self.lines.values())
        return draw(self, plot, width, height)

    def noting_build(plot: Plot, style: Style) -> list[Strip]:
        picture = _Picture(painter.paint(plot, style))
        picture.n_points = vars(plot)["n_points"]
        return picture

    TimingChart.draw = noting_draw  # type: ignore[method-assign]
    PAINT.set(noting_build)


class _Watched(app.WorkbenchApp):
    """The app, noting when it has painted which number of points."""

    CSS_PATH = str(Path(app.__file__).with_name("app.tcss"))

    def __init__(self, services: Services, job_id: str, n_points: int) -> None:
        super().__init__(services, job_id)
        self.painted = [(0.0, 0)]
        self.all_painted = asyncio.Event()
        self._n_points = n_points

    def post_display_hook(self) -> None:
        """A frame was written out."""
        for drawn in self.screen.query(TimingChart):
            n_points = getattr(drawn._lines, "n_points", 0)
            if n_points > self.painted[-1][1]:
                self.painted.append((time.time(), n_points))
            if n_points >= self._n_points:
                self.all_painted.set()


def show_latency(name: str, seconds: Sequence[float]) -> None:
    show(f"{name}, p50", [statistics.median(seconds)], f"s (n = {len(seconds)})", "–")
    show(f"{name}, p95", [quantile(seconds, 0.95)], "s", "< 0.5 s")


async def latencies(user: _User, pattern: tuple[int, float, float]) -> list[float]:
    """Seconds from the stamp of each event to the frame with its point."""
    user.set_pattern(*pattern)
    async with user.services() as services:
        job = await services.submit(RunSpec(name="stamped"), _RESOURCES)
        watched = _Watched(services, job.id, pattern[0])
        async with asyncio.timeout(120), watched.run_test(size=(160, 50)):
            await watched.all_painted.wait()
    events = (user.cluster.state / job.folder.lstrip("/") / "events.jsonl").read_text().splitlines()
    stamps = [event["t"] for event in map(json.loads, events) if event["kind"] == "timing"]
    return [next(at for at, n in watched.painted if n > index) - stamp for index, stamp in enumerate(stamps)]


# -- connecting ------------------------------------------------------------------------------------


async def first_tables(user: _User) -> list[float]:
    """Seconds from the start of the process until the table says what only the cluster can know."""
    user.set_pattern(1, 3000, 3000)
    async with user.services() as services:
        job = await services.submit(RunSpec(name="stamped"), _RESOURCES)
        await until(services.refresh, lambda _: services.job(job.id).state == JobState.RUNNING)
    found = []
    store_file = load_config(user.environment()).state_folder / STORE_FILE
    for _ in range(_STARTS):
        store_file.unlink()
        store = Store(store_file)
        store.save(job)  # as it was before it was known to run
        store.close()
        with Terminal(env=user.environment()) as terminal:
            shown = await asyncio.to_thread(terminal.wait_for, "▶ running")
            found.append(shown - terminal.started)
    await asyncio.to_thread(_cancel_all, user.cluster)
    return found


# -- asking the queue ------------------------------------------------------------------------------


class _Timed:
    """A connection that times its commands, and remembers the last one."""

    def __init__(self, connection: Connection) -> None:
        self.host = connection.host
        self.n_commands = self.n_bytes = 0
        self.seconds = 0.0
        self._connection = connection
        self._last: tuple[Sequence[str], bytes] = ((), b"")

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", check: bool = True) -> Completed:
        began = time.perf_counter()
        done = await self._connection.run(argv, stdin=stdin, check=check)
        self.seconds = time.perf_counter() - began
        self.n_commands, self.n_bytes = self.n_commands + 1, len(done.stdout) + len(stdin)
        self._last = argv, stdin
        return done

    async def seconds_there(self) -> float:
        """Of the last command once more, its output left on the host."""
        argv, stdin = self._last
        began = time.perf_counter()
        await self._connection.run(["sh", "-c", '"$@" >/dev/null', "sh", *argv], stdin=stdin)
        return time.perf_counter() - began


def fill(cluster: Cluster, user: str, n_jobs: int) -> None:
    """Submit held jobs, each by an sbatch and with a token of its own."""
    options = f"-Q -A MACE-SL3-CPU -p icelake -t 60 --hold -D /home/{user}/runs"
    script = f"""
        cd /home/{user} && mkdir -p runs && printf '#!/bin/sh\\ntrue\\n' >empty.sh || exit
        index=0
        while [ $index -lt {n_jobs} ]; do
            sbatch {options} -J "seed $index" --comment="mw:j$index:1" empty.sh || exit
            index=$((index + 1))
        done
    """
    cluster.login.run("bash", "-c", script, user=user)


async def show_polls(user: _User, name: str) -> None:
    """Ask for all jobs of a user's, and say what the time goes into."""
    target = user.laptop.target("login", f"User {name}")
    connection = await asyncssh_connection.connect(target, NoPrompter())
    timed = _Timed(connection)
    slurm = SlurmScheduler(cast("Connection", timed), pace=Pace(0, 0))
    await slurm.poll([])
    jobs = [_known(entry) for entry in slurm.desk.entries]
    first = await _seconds(slurm, jobs)
    whole, command, there = [], [], []
    for _ in range(_POLLS):
        asked = timed.n_commands
        whole.append(await _seconds(slurm, jobs))
        assert timed.n_commands == asked + 1
        command.append(timed.seconds)
        there.append(await timed.seconds_there())
    here = [all_of_it - asking for all_of_it, asking in zip(whole, command, strict=True)]
    title = f"poll, {len(jobs):,} jobs of ours, {_JOBS:,} in the queue"
    show(f"{title}, the first", [first], "s", "< 0.25 s")
    show(f"{title}, then", whole, "s", "< 0.25 s")
    show("… on the host (squeue, awk, gzip)", there, "s", "–")
    show("… and its way there and back", [a - b for a, b in zip(command, there, strict=True)], "s", "–")
    show("… parsed and judged", here, "s", "–")
    show("… sent both ways", [timed.n_bytes / 1e3], "kB", "–")
    await connection.close()


async def _seconds(slurm: SlurmScheduler, jobs: Sequence[Job]) -> float:
    began = time.perf_counter()
    statuses = await slurm.poll(jobs)
    assert len(statuses) == len(jobs)
    return time.perf_counter() - began


def _known(entry: QueueEntry) -> Job:
    """A job of the queue as the program would know it."""
    job_id = entry.token.split(":")[1]
    return Job(
        id=job_id,
        profile="cluster",
        folder=f"/home/{site.USER.name}/rds/hpc-work/mace-workbench/runs/{job_id}",
        spec=JobSpec(RunSpec(name=entry.name), Resources()),
        status=JobStatus(JobState.PENDING),
        created_at=0.0,
        key=JobKey("csd3", entry.native_id, entry.submitted_at or 0.0),
    )


def _cancel_all(cluster: Cluster) -> None:
    cluster.login.run("scancel", "-u", site.USER.name, user=site.USER.name)


if __name__ == "__main__":
    main()
