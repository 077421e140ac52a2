"""Kinds of SSH connections for tests, and a user who answers what they ask."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import files, site
from tests.cluster.cluster import Cluster
from tests.relay import Relay
from workbench.ports import Connection, Question
from workbench.remote import asyncssh_connection, openssh_connection, paramiko_connection
from workbench.remote.agent_connection import PING_S
from workbench.remote.ssh_config import SshTarget


@dataclass
class Answers:
    """Gives the answers that a test has laid out, and remembers what was asked."""

    answers: list[str | None] = field(default_factory=list)
    trusts: bool = False
    questions: list[Question] = field(default_factory=list)
    shown: list[tuple[str, str, str]] = field(default_factory=list)

    async def ask(self, question: Question) -> str | None:
        self.questions.append(question)
        return self.answers.pop(0)

    async def trust(self, host: str, kind: str, fingerprint: str) -> bool:
        self.shown.append((host, kind, fingerprint))
        return self.trusts


@asynccontextmanager
async def by_asyncssh(
    target: SshTarget, answers: Answers | None = None, ping_s: float = PING_S
) -> AsyncIterator[Connection]:
    connection = await asyncssh_connection.connect(target, answers or Answers(), ping_s=ping_s)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def by_paramiko(
    target: SshTarget, answers: Answers | None = None, ping_s: float = PING_S
) -> AsyncIterator[Connection]:
    connection = await paramiko_connection.connect(target, answers or Answers(), ping_s=ping_s)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def by_openssh(
    target: SshTarget, answers: Answers | None = None, ping_s: float = PING_S
) -> AsyncIterator[Connection]:
    """It asks nothing; the master that it leaves behind is ended."""
    try:
        connection = await openssh_connection.connect(target, ping_s=ping_s)
        try:
            yield connection
        finally:
            await connection.close()
    finally:
        await asyncio.to_thread(end_master, target)


def end_master(target: SshTarget) -> None:
    subprocess.run(target.command("-O", "exit"), stderr=subprocess.DEVNULL, check=False)


class Laptop:
    """A laptop's ssh configuration and keys, in a folder of its own."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.known_hosts = folder / "known_hosts"
        self.config = folder / "config"
        # The names of sockets have to be short, and the folders of tests are not.
        self.master = cluster.client / f"master-{secrets.token_hex(4)}"
        shutil.copy(cluster.client / "known_hosts", self.known_hosts)

    def target(self, alias: str = "login", *lines: str) -> SshTarget:
        """The site, with these lines of configuration before the usual ones."""
        usual = [
            f"UserKnownHostsFile {self.known_hosts}",
            f"ControlPath {self.master}-%n",
            f"Include {self.cluster.ssh_config}",
        ]
        self.config.write_text("\n".join([*lines, *usual, ""]))
        return SshTarget(alias, self.config)

    def through(self, relay: Relay) -> SshTarget:
        """The site's first way in, through a relay."""
        key = files.public_key(self.cluster.state / "etc/ssh/host_keys" / site.LOGIN.name)
        with self.known_hosts.open("a") as known:
            known.write(f"[127.0.0.1]:{relay.port} {key}\n")
        return self.target("login", "HostName 127.0.0.1", f"Port {relay.port}")

    def program(self, target: SshTarget, python: str = sys.executable) -> Mapping[str, str]:
        """The environment of the program, with a configuration that has the site for its default place."""
        settings = (self.cluster.client / "mace-workbench/config.toml").read_text()
        settings = settings.replace(str(self.cluster.ssh_config), str(target.config))
        place = self.folder / ".config/mace-workbench/config.toml"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(settings.replace(sys.executable, python))
        return {"HOME": str(self.folder), "PATH": os.environ["PATH"]}

    def port(self, port: int, *lines: str) -> SshTarget:
        """One of the site's further ways in."""
        return self.target("login", f"Port {port}", *lines)
