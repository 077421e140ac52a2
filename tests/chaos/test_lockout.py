"""Nobody is ever locked out: no login is made twice for one key press, whatever happens to the network.

A day of faults passes in virtual time, against a site that counts; and a few minutes' worth of them
against a real sshd with one-time codes, whose log is counted.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.chaos import virtual
from tests.chaos.link import Link
from tests.chaos.stream import Bench, wait_for
from tests.cluster.cluster import Cluster
from tests.contract.ssh import Answers
from workbench.errors import ConnectionFailed, LinkLost, LoginBroken, LoginRefused, Unreachable
from workbench.model.link import LinkState
from workbench.ports import Prompter, Question
from workbench.remote import asyncssh_connection
from workbench.remote.agent_connection import AgentConnection
from workbench.remote.asking import NoPrompter
from workbench.remote.link_keeper import LinkKeeper, Pace
from workbench.remote.local import LocalConnection
from workbench.remote.ssh_config import SshTarget
from workbench.remote.supervisor import SupervisedConnection

DAY_S = 86_400.0


@dataclass
class Day:
    """A site, a network, a laptop that sleeps, and a person who now and then presses the key."""

    chance: random.Random
    needs_code: bool
    network: bool = True
    refuses: bool = False
    slept_s: float = 0.0
    told: list[str] = field(default_factory=list)
    """What happened, in order: presses, questions, logins that the site has judged."""
    at_once: int = 0

    def wall(self) -> float:
        """The laptop's clock, which goes on while it sleeps."""
        return 1.8e9 + asyncio.get_running_loop().time() + self.slept_s

    async def dial(self, node: str, prompter: Prompter) -> DayConnection:
        """One login."""
        self.at_once += 1
        assert self.at_once == 1, "there are two logins at a time"
        try:
            await asyncio.sleep(self.chance.uniform(0.05, 3))
            if not self.network:
                raise Unreachable(node, "nothing answers")
            if self.needs_code:
                self.told.append("question")
                answer = await prompter.ask(Question(node, "Code", secret=True))
                if answer is None:
                    raise LoginRefused(node, "the login was given up")
            if not self.network or self.chance.random() < 0.1:
                raise LoginBroken(node, "the connection ended")
            self.told.append("refused" if self.refuses else "let in")
            if self.refuses:
                raise LoginRefused(node, "it does not let you in")
            return DayConnection(self)
        finally:
            self.at_once -= 1

    async def ask(self, question: Question) -> str | None:
        """The person takes their time, and gives up now and then."""
        await asyncio.sleep(self.chance.expovariate(1 / 20))
        return None if self.chance.random() < 0.1 else "123456"

    async def trust(self, host: str, kind: str, fingerprint: str) -> bool:
        return True


class DayConnection(LocalConnection):
    """Answers as long as the network is there."""

    def __init__(self, day: Day) -> None:
        self._day = day

    def when_lost(self, tell: object) -> None:
        """It dies in silence."""

    async def beat(self, within_s: float) -> None:
        await asyncio.sleep(0.05)
        if not self._day.network:
            await asyncio.sleep(within_s)
            raise LinkLost("here", "it has not answered")

    async def close(self) -> None:
        """Nothing is held."""


async def _network(day: Day, keeper: LinkKeeper) -> None:
    """Cuts of all lengths, other networks, and a lid that is shut."""
    while True:
        await asyncio.sleep(day.chance.expovariate(1 / 300))
        day.network = False
        await asyncio.sleep(day.chance.choice((0.5, 5, 60, 1200)) * day.chance.random())
        if day.chance.random() < 0.2:
            day.slept_s += day.chance.uniform(10, 3600)
        day.network = True
        day.refuses = day.chance.random() < 0.3


async def _polls(connection: SupervisedConnection) -> None:
    """What the screens ask for, all the time."""
    while True:
        await asyncio.sleep(5)
        with suppress(ConnectionFailed):
            await connection.keeper.connection(0)


async def _person(day: Day, connection: SupervisedConnection) -> None:
    """Now and then presses the key, or more than once; what counts is a press while nothing is tried."""
    async with asyncio.TaskGroup() as pressing:
        while True:
            await asyncio.sleep(day.chance.expovariate(1 / 900))
            for _ in range(day.chance.choice((1, 1, 1, 3))):
                if connection.keeper.link.state is LinkState.OFFLINE:
                    day.told.append("press")
                pressing.create_task(_pressed(connection))
                await asyncio.sleep(0.1)


async def _pressed(connection: SupervisedConnection) -> None:
    with suppress(ConnectionFailed):
        await connection.reconnect()


async def _live(seed: int, *, needs_code: bool) -> Day:
    day = Day(random.Random(seed), needs_code)
    keeper = LinkKeeper(
        "here",
        day.dial,
        day if needs_code else NoPrompter(),
        nodes=("one", "two"),
        clock=day.wall,
        spread=day.chance.random,
        address=lambda: "10.0.0.1" if day.network else "",
    )
    connection = SupervisedConnection(keeper)
    day.told.append("press")  # the program was started
    tasks = [_network(day, keeper), _polls(connection), _person(day, connection)]
    running = [asyncio.ensure_future(task) for task in tasks]
    await asyncio.sleep(DAY_S)
    for task in running:
        task.cancel()
    outcomes = await asyncio.gather(*running, return_exceptions=True)
    await connection.close()
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes
    return day


@pytest.mark.parametrize("needs_code", [True, False])
def test_in_a_day_of_faults_nobody_is_asked_or_refused_twice_for_one_key_press(needs_code: bool) -> None:
    seed = secrets.randbelow(10**6)
    print(f"seed: {seed}")  # noqa: T201  # shown where the test fails
    day = virtual.run(_live(seed, needs_code=needs_code))
    since_press: Counter[str] = Counter()
    for what in day.told:
        if what == "press":
            since_press.clear()
        since_press[what] += 1
        assert since_press["refused"] <= 1
        if needs_code:
            assert since_press["question"] <= 1
            assert since_press["let in"] <= 1
    counted = Counter(day.told)
    assert counted["refused"] > 3, "the day was too quiet to prove anything"
    assert counted["let in"] > 3, "the day was too quiet to prove anything"


@pytest.fixture
def bench(cluster: Cluster, tmp_path: Path) -> Bench:
    return Bench(cluster, tmp_path)


def judged(cluster: Cluster, before: int = 0) -> Counter[str]:
    """What the site's sshd for one-time codes says in its log of the logins that it judged."""
    log = (cluster.state / "log/login-q-1.sshd-key-code").read_text()[before:]
    words = ("Accepted keyboard-interactive", "Failed keyboard-interactive", "Connection from")
    return Counter({word: log.count(word) for word in words})


async def test_a_real_sshd_with_codes_counts_one_login_for_each_key_press(
    bench: Bench, cluster: Cluster
) -> None:
    log = len((cluster.state / "log/login-q-1.sshd-key-code").read_text())
    answers = Answers([cluster.codes.next(), cluster.codes.next(), "000000", cluster.codes.next()])
    n_presses = 0
    async with Link(cluster.address, 2222).open() as link:
        bench.config(link.port)
        target = SshTarget("chaos", bench.folder / "ssh_config")

        async def dial(_: str, prompter: Prompter) -> AgentConnection:
            return await asyncssh_connection.connect(target, prompter)

        connection = SupervisedConnection(LinkKeeper("chaos", dial, answers, pace=Pace(notice_s=2)))
        try:
            async with asyncio.timeout(60):
                await connection.run(["true"])
            n_presses += 1
            for fault in (link.cut, link.drop):
                fault()
                await wait_for(lambda: connection.keeper.link.state is LinkState.OFFLINE)
                link.mend()
                await _nag(connection)
                assert judged(cluster, log)["Accepted keyboard-interactive"] == n_presses
                if n_presses == 2:
                    break
                await connection.reconnect()
                n_presses += 1
            with pytest.raises(LoginRefused):
                await connection.reconnect()
            await _nag(connection)
            # What sshd's child says reaches the log some time after the client has its answer.
            await wait_for(lambda: judged(cluster, log)["Failed keyboard-interactive"] > 0)
            assert judged(cluster, log) == {
                "Accepted keyboard-interactive": 2,
                "Failed keyboard-interactive": 1,
                "Connection from": 3,
            }
            await connection.reconnect()
            assert judged(cluster, log)["Accepted keyboard-interactive"] == 3
            assert judged(cluster, log)["Failed keyboard-interactive"] == 1
        finally:
            await connection.close()


async def _nag(connection: SupervisedConnection) -> None:
    """What goes on by itself while the user does nothing: polls, a waking laptop, another network."""
    for _ in range(20):
        connection.keeper.hurry()
        with pytest.raises(ConnectionFailed):
            await connection.run(["true"])
