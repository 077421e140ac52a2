"""Site: a place where jobs run, with the connection and the scheduler that its profile asks for.

Beside `services`, the one module that names implementations of connections and schedulers.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.spec import RunSpec
from workbench.config import Config
from workbench.model.link import LinkStatus
from workbench.model.profile import ClusterProfile
from workbench.ports import Connection, Prompter, Scheduler
from workbench.remote.bundle import DeployedCode
from workbench.remote.codes import CarefulPrompter
from workbench.remote.link_keeper import LinkKeeper, Living, Pace
from workbench.remote.local import LocalConnection
from workbench.remote.ssh_config import SshTarget
from workbench.remote.supervisor import SupervisedConnection
from workbench.schedulers.process import ProcessScheduler
from workbench.schedulers.slurm import SlurmScheduler, SlurmSettings

_REMOTE_FOLDER = ".local/share/mace-workbench"
_REMOTE_PYTHON = "python3"


@dataclass(frozen=True, slots=True)
class Site:
    """A place where jobs run, connected."""

    profile: ClusterProfile
    connection: Connection
    scheduler: Scheduler
    work_folder: str
    """An absolute path."""
    python: str
    code: DeployedCode
    """The code of new runs."""

    async def command(self, run: RunSpec, spec_path: str) -> tuple[list[str], dict[str, str]]:
        """What a scheduler is to run for the spec that lies at `spec_path`, and its environment."""
        code = await self.code.folder()
        threads = str(run.threads)
        env = {
            "PYTHONPATH": code,
            "PYTHONUNBUFFERED": "1",
            "MACE_WORKBENCH_CODE": code.rpartition("/")[2],
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "NUMBA_NUM_THREADS": threads,
            **self.profile.env,
        }
        return [self.python, "-m", f"jobs.{run.experiment}", spec_path], env


class Sites:
    """The sites of all profiles, each opened when it is first asked for."""

    def __init__(self, config: Config, prompter: Prompter) -> None:
        self._config = config
        self._prompter = CarefulPrompter(prompter)
        self._connections: dict[str, Connection] = {}
        self._listeners: list[Callable[[], None]] = []
        self.opened: dict[str, Site] = {}
        """By profile, those that were asked for."""
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def of(self, profile: str | None) -> Site:
        """The site of a profile, by default of the default one.

        Raises:
            NotFound: There is no such profile.
            ConnectionFailed: The host cannot be talked to.
        """
        described = self._config.profile(profile)
        async with self._opening[described.name]:
            if described.name not in self.opened:
                self.opened[described.name] = await open_site(
                    described, self.connection(described.name), self._config.data_folder
                )
            return self.opened[described.name]

    async def reached(self, profile: str | None) -> Site:
        """The same, with its host at hand at this moment, as far as one can know.

        Raises:
            ConnectionFailed: It is not; nothing has been asked of it.
        """
        connection = self.connection(profile)
        if isinstance(connection, SupervisedConnection):
            await connection.ready()
        return await self.of(profile)

    def connection(self, profile: str | None) -> Connection:
        """The connection of a profile, made or not."""
        described = self._config.profile(profile)
        # Kept also where the host cannot be reached: it knows that a login was refused.
        if described.name not in self._connections:
            self._connections[described.name] = made = connection_of(described, self._prompter)
            if isinstance(made, SupervisedConnection):
                made.keeper.when_changed(self._tell)
        return self._connections[described.name]

    def links(self) -> Sequence[LinkStatus]:
        """The links to all hosts but this machine, in the order of the configuration."""
        made = ((name, self.connection(name)) for name in self._config.profiles)
        return [one.status(name) for name, one in made if isinstance(one, SupervisedConnection)]

    def when_links_change(self, tell: Callable[[], None]) -> None:
        """Have somebody told of every change of any link."""
        self._listeners.append(tell)

    async def reconnect(self, profile: str) -> None:
        """The user wants a link now.

        Raises:
            ConnectionFailed: It could not be made.
        """
        connection = self.connection(profile)
        if isinstance(connection, SupervisedConnection):
            await connection.reconnect()

    def _tell(self) -> None:
        for tell in self._listeners:
            tell()

    async def close(self) -> None:
        """Let go of every host."""
        for connection in self._connections.values():
            await connection.close()


def connection_of(profile: ClusterProfile, prompter: Prompter) -> Connection:
    """The connection that a profile asks for; nobody is talked to yet."""
    if profile.connection == "local":
        return LocalConnection()
    config = Path(profile.ssh_config).expanduser() if profile.ssh_config else None

    async def dial(node: str, asking: Prompter) -> Living:
        target = SshTarget(node, config)
        # Late, because they are heavy and only one of them is needed.
        match profile.connection:
            case "openssh":
                from workbench.remote import openssh_connection

                return await openssh_connection.connect(target)
            case "paramiko":
                from workbench.remote import paramiko_connection

                return await paramiko_connection.connect(target, asking)
            case _:
                from workbench.remote import asyncssh_connection

                return await asyncssh_connection.connect(target, asking)

    host, nodes = profile.host or profile.hosts[0], profile.hosts or (profile.host,)
    keeper = LinkKeeper(host, dial, prompter, nodes=nodes, pace=Pace(notice_s=profile.notice_s))
    return SupervisedConnection(keeper)


async def open_site(profile: ClusterProfile, connection: Connection, data_folder: Path) -> Site:
    """The site of a profile.

    Raises:
        ConnectionFailed: The host cannot be talked to.
    """
    work_folder = await _work_folder(profile, connection, data_folder)
    python = profile.python or (sys.executable if profile.connection == "local" else _REMOTE_PYTHON)
    code = DeployedCode(connection, work_folder)
    scheduler: Scheduler
    if profile.scheduler == "slurm":
        settings = SlurmSettings(
            account=profile.account,
            partition=profile.partition,
            qos=profile.qos,
            gpus=profile.gpus,
            members_at_once=profile.members_at_once,
            time_limit_minutes=profile.time_limit_minutes,
            setup=profile.setup,
        )
        scheduler = SlurmScheduler(connection, settings)
    else:
        scheduler = ProcessScheduler(connection, code, work_folder, slots=profile.slots, python=python)
    return Site(profile, connection, scheduler, work_folder, python, code)


async def _work_folder(profile: ClusterProfile, connection: Connection, data_folder: Path) -> str:
    """Absolute, because a run's command is started in the run's own folder."""
    if profile.connection == "local":
        return _absolute(profile.work_folder or data_folder)
    folder = (profile.work_folder or _REMOTE_FOLDER).removeprefix("~/").rstrip("/")
    if folder.startswith("/"):
        return folder
    home = (await connection.run(["sh", "-c", "cd && pwd -P"])).stdout.decode().strip()
    return f"{home}/{folder}"


def _absolute(folder: str | Path) -> str:
    return str(Path(folder).expanduser().absolute())
