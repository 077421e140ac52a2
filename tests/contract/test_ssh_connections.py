from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.contract.connection_contract import ConnectionContract
from workbench.ports import Connection, Question
from workbench.remote import asyncssh_connection, openssh_connection, paramiko_connection
from workbench.remote.ssh_config import SshTarget


class Answers:
    """A user who gives the answers that a test has laid out, and remembers what was asked."""

    def __init__(self, *answers: str | None, trusts: bool = False) -> None:
        self.answers = list(answers)
        self.trusts = trusts
        self.questions: list[Question] = []
        self.shown: list[tuple[str, str, str]] = []

    async def ask(self, question: Question) -> str | None:
        self.questions.append(question)
        return self.answers.pop(0)

    async def trust(self, host: str, kind: str, fingerprint: str) -> bool:
        self.shown.append((host, kind, fingerprint))
        return self.trusts


class SshContract(ConnectionContract):
    """The contract over SSH: a subclass says of which kind the connection is."""

    @pytest.fixture
    def here(self, cluster: Cluster) -> str:
        return cluster.laptop_address

    @pytest.fixture
    async def folder(self, connection: Connection) -> str:
        made = await connection.run(["mktemp", "-d", "/home/mw123/contract.XXXXXX"])
        return made.stdout.decode().strip()


class TestAsyncssh(SshContract):
    @pytest.fixture
    async def connection(self, cluster: Cluster) -> AsyncIterator[Connection]:
        connection = await asyncssh_connection.connect(SshTarget("login", cluster.ssh_config), Answers())
        yield connection
        await connection.close()


class TestParamiko(SshContract):
    @pytest.fixture
    async def connection(self, cluster: Cluster) -> AsyncIterator[Connection]:
        connection = await paramiko_connection.connect(SshTarget("login", cluster.ssh_config), Answers())
        yield connection
        await connection.close()


class TestOpenssh(SshContract):
    @pytest.fixture
    async def connection(self, cluster: Cluster) -> AsyncIterator[Connection]:
        target = SshTarget("login", with_master(cluster))
        connection = await openssh_connection.connect(target)
        yield connection
        await connection.close()
        await asyncio.to_thread(end_master, target)


def with_master(cluster: Cluster) -> Path:
    """A configuration in which the user has asked for master connections."""
    config = cluster.client / "ssh_config_master"
    config.write_text(f"ControlPath {cluster.client}/master-%C\nInclude {cluster.ssh_config}\n")
    return config


def end_master(target: SshTarget) -> None:
    subprocess.run(target.command("-O", "exit"), stderr=subprocess.DEVNULL, check=False)
