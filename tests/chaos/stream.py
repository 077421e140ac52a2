"""A run that writes, and a reader that follows it through whatever happens to the link."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from jobs.protocol import EventDecoder, Progress
from jobs.spec import RunSpec
from jobs.writer import EventWriter
from tests.chaos.link import Link
from tests.chaos.small_disk import SmallDisk
from tests.cluster import site
from tests.cluster.cluster import Cluster
from tests.waiting import until
from workbench.config import Config
from workbench.following import Following
from workbench.model.job import Job, JobKey, JobSpec, JobState, JobStatus
from workbench.model.profile import ClusterProfile
from workbench.patience import through_outages
from workbench.services import STORE_FILE, Services
from workbench.store import Store

JOB = "chaos2"
_BURST = 20


@dataclass
class Writer:
    """A run on the login node, as far as a reader can tell: its events and its log, growing."""

    folder: Path
    """Of the run, as this machine sees it."""
    n_events: int
    per_s: float

    @property
    def events(self) -> bytes:
        """All that it has told."""
        return (self.folder / "events.jsonl").read_bytes()

    @property
    def log(self) -> bytes:
        """All that it has printed."""
        return (self.folder / "stdout.log").read_bytes()

    def told(self) -> int:
        """How many events it has written, none of them torn."""
        return sum(isinstance(event.body, Progress) for event in EventDecoder().feed(self.events))

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Start it; its process is ended when the context is left."""
        program = [sys.executable, "-m", "tests.chaos.stream"]
        process = await asyncio.create_subprocess_exec(
            *program, str(self.folder), str(self.n_events), str(self.per_s), cwd=Path(__file__).parents[2]
        )
        try:
            yield
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def write(folder: Path, n_events: int, per_s: float) -> None:
    """Write so many events and lines of log, at about this pace."""
    with EventWriter(folder / "events.jsonl") as events, (folder / "stdout.log").open("ab", 0) as log:
        began = time.monotonic()
        for number in range(1, n_events + 1):
            _until_there_is_room(lambda number=number: events.emit(Progress(number, n_events)))  # type: ignore[misc]
            _until_there_is_room(lambda number=number: log.write(b"line %07d\n" % number))  # type: ignore[misc]
            if number % _BURST == 0:
                time.sleep(max(0.0, began + number / per_s - time.monotonic()))


def _until_there_is_room(write_one: Callable[[], object]) -> None:
    """Write something, again and again while the disk is full."""
    while True:
        try:
            write_one()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            time.sleep(0.05)
        else:
            return


@dataclass
class Reader:
    """Follows a run as the screens do, and its log as `logs --follow` does."""

    services: Services
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by every event."""
    log: bytearray = field(default_factory=bytearray)
    troubles: list[str] = field(default_factory=list)

    @property
    def n_events(self) -> int:
        """So many were taken in."""
        return self.services.run(JOB).n_events

    async def event_of(self, when: float) -> None:
        """Until an event is here that was written then or later."""
        while (self.services.run(JOB).heard_at or 0.0) < when:
            await self.next_event()

    def has_all(self, writer: Writer) -> bool:
        """Whether it has got to the end of what is written."""
        progress = self.services.run(JOB).progress
        return progress is not None and progress.done == writer.n_events and len(self.log) == len(writer.log)

    def _hear_trouble(self, _: str, sentence: str) -> None:
        if sentence:
            self.troubles.append(sentence)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow until the context is left."""
        following = Following(
            self.services,
            heard_jobs=lambda: None,
            heard_run=self._hear,
            heard_log=lambda job_id, data: None,
            trouble=self._hear_trouble,
            is_open=lambda job_id: True,
        )
        self.services.when_links_change(following.links_changed)
        tasks = [asyncio.create_task(following.open_run(JOB)), asyncio.create_task(self._follow_log())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def next_event(self) -> None:
        """Until an event comes in that is not here yet."""
        self.heard.clear()
        await self.heard.wait()

    def _hear(self, job_id: str) -> None:
        if self.n_events != self._before:
            self._before = self.n_events
            self.heard.set()

    _before = 0

    async def _follow_log(self) -> None:
        while True:
            chunk = await through_outages(lambda: self.services.log_chunk(JOB, len(self.log)))
            self.log += chunk.data
            await asyncio.sleep(0.05)


class Bench:
    """A laptop whose only way to the cluster is a link that can fail, and the folder of a run there."""

    def __init__(self, cluster: Cluster, folder: Path, disk: SmallDisk | None = None) -> None:
        """With `disk` the run is on one of the login node's that can be full."""
        self.cluster = cluster
        self.folder = folder
        home = f"/home/{site.USER.name}" if disk is None else str(disk.seen_as)
        self.remote_run = f"{home}/chaos-{folder.name}"
        self.run = (
            (cluster.state / self.remote_run[1:])
            if disk is None
            else disk.folder / self.remote_run[len(home) + 1 :]
        )
        self.run.mkdir()
        self.run.chmod(0o755)

    def config(self, *ports: int, **profile: object) -> Config:
        """The user's configuration, where the host is reached through ports of this machine: login nodes."""
        known, lines = self.folder / "known_hosts", []
        key = " ".join((self.cluster.client / "known_hosts").read_text().splitlines()[0].split()[1:])
        names = ["chaos", *(f"chaos-{number}" for number in range(2, len(ports) + 1))]
        for name, port in zip(names, ports, strict=True):
            lines += [f"Host {name}", "  HostName 127.0.0.1", f"  Port {port}", "  HostKeyAlias chaos"]
        lines += [
            "Host *",
            f"  User {site.USER.name}",
            f"  IdentityFile {self.cluster.client}/id_ed25519",
            "  IdentitiesOnly yes",
            f"  UserKnownHostsFile {known}",
            "  GlobalKnownHostsFile /dev/null",
            "",
        ]
        known.write_text("".join(f"[chaos]:{port} {key}\n" for port in ports))
        (self.folder / "ssh_config").write_text("\n".join(lines))
        return self.configured("chaos", str(self.folder / "ssh_config"), hosts=names, **profile)

    def configured(self, host: str, ssh_config: str, **changed: object) -> Config:
        """The user's configuration with one profile."""
        described = ClusterProfile("chaos", "asyncssh", host, ssh_config, **changed)  # type: ignore[arg-type]
        state = self.folder / "state"
        return Config({"chaos": described}, "chaos", state_folder=state, data_folder=self.folder / "data")

    def store(self, config: Config) -> Store:
        """The store, with the run in it."""
        store = Store(config.state_folder / STORE_FILE)
        key = JobKey("chaos", "1", 1.0)
        status = JobStatus(JobState.RUNNING)
        store.save(Job(JOB, "chaos", self.remote_run, JobSpec(RunSpec()), status, created_at=1.0, key=key))
        return store

    @asynccontextmanager
    async def opened(self, config: Config) -> AsyncIterator[Reader]:
        """A reader that follows the run."""
        services = Services(config, self.store(config))
        try:
            reader = Reader(services)
            async with reader.following():
                yield reader
        finally:
            await services.close()

    @asynccontextmanager
    async def linked(self, **profile: object) -> AsyncIterator[tuple[Link, Reader]]:
        """A reader that follows the run through a link that can fail."""
        async with (
            Link(self.cluster.address, 22).open() as link,
            self.opened(self.config(link.port, **profile)) as reader,
        ):
            yield link, reader


def assert_nothing_lost_or_doubled(writer: Writer, reader: Reader, store: Path) -> None:
    """All events and the whole log are here, each of them once, and byte by byte what was written."""
    run, told = reader.services.run(JOB), EventDecoder().feed(writer.events)
    seqs = [event.seq for event in told]
    assert (run.n_events, run.last_seq) == (len(seqs), seqs[-1])
    assert seqs == sorted(set(seqs))
    # What a full disk has kept from being written was written again, under another number.
    done = {event.body.done for event in told if isinstance(event.body, Progress)}
    assert done == set(range(1, writer.n_events + 1))
    kept = Store(store / STORE_FILE)
    pieces = kept.pieces(JOB)
    kept.close()
    assert b"".join(data for _, data in pieces) == writer.events
    assert bytes(reader.log) == writer.log


async def wait_for(holds: Callable[[], bool]) -> None:
    """Look until something is true, as long as tests wait for anything."""

    async def ask() -> bool:
        return holds()

    await until(ask)


def session_pids(cluster: Cluster) -> list[str]:
    """Of the sshd processes that serve the user's sessions on the login node."""
    listing = cluster.login.run("ps", "-eo", "pid=,args=").stdout.splitlines()
    return [line.split()[0] for line in listing if f"sshd: {site.USER.name}" in line]


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    sys.exit(os.EX_OK)
