from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.cluster.cluster import Cluster
from tests.contract.connection_contract import ConnectionContract
from workbench.ports import Connection, Question
from workbench.remote import asyncssh_connection
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


@pytest.fixture
async def connection(cluster: Cluster) -> AsyncIterator[Connection]:
    connection = await asyncssh_connection.connect(SshTarget("login", cluster.ssh_config), Answers())
    yield connection
    await connection.close()


@pytest.fixture
async def folder(connection: Connection) -> str:
    made = await connection.run(["mktemp", "-d", "/home/mw123/contract.XXXXXX"])
    return made.stdout.decode().strip()


class SshContract(ConnectionContract):
    @pytest.fixture
    def here(self, cluster: Cluster) -> str:
        return cluster.laptop_address


class TestAsyncssh(SshContract):
    pass
