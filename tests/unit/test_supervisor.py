"""A connection that comes back by itself: real commands of this machine, the dial and the network made up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from tests.waiting import until
from workbench.errors import (
    ConnectionFailed,
    HostKeyRefused,
    LinkLost,
    LoginBroken,
    LoginRefused,
    Unreachable,
)
from workbench.model.link import LinkState, Patience
from workbench.patience import waiting_for_link
from workbench.ports import Completed, Prompter, Question
from workbench.remote.asking import NoPrompter
from workbench.remote.link_keeper import LinkKeeper, Pace
from workbench.remote.local import LocalConnection
from workbench.remote.supervisor import SupervisedConnection

QUICK = Pace(notice_s=0.2, patience=Patience(first_s=0.01, growth=1.0, steady_s=0.0))


class Breaking(LocalConnection):
    """This machine, with a link to it that can break."""

    def __init__(self) -> None:
        self.is_broken = self.is_closed = False
        self.is_slow = asyncio.Event()
        self.is_slow.set()
        self._tell: Callable[[], None] = lambda: None

    def lose(self) -> None:
        self.is_broken = True
        self._tell()

    def when_lost(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    async def beat(self, within_s: float) -> None:
        await self.is_slow.wait()
        if self.is_broken:
            raise LinkLost("here", "the connection was lost")

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> Completed:
        if self.is_broken:
            raise LinkLost("here", "the connection was lost")
        return await super().run(argv, stdin=stdin, cwd=cwd, env=env, check=check)

    async def close(self) -> None:
        self.is_closed = True


class Answering(NoPrompter):
    async def ask(self, question: Question) -> str | None:
        return "123456"


class Site:
    """A host that can be logged in to, or not."""

    def __init__(self, *, asks: bool = False) -> None:
        self.asks = asks
        self.fails: dict[str, ConnectionFailed] = {}
        """What a login to a node comes to, by the node's name."""
        self.dialled: list[str] = []
        self.at_once = 0
        self.made: list[Breaking] = []

    async def dial(self, node: str, prompter: Prompter) -> Breaking:
        self.dialled.append(node)
        self.at_once += 1
        assert self.at_once == 1, "there are two logins at a time"
        try:
            await asyncio.sleep(0)
            if isinstance(failure := self.fails.get(node), Unreachable):
                raise failure
            if self.asks and await prompter.ask(Question("here", "Code", secret=True)) != "123456":
                raise LoginRefused("here", "it does not let you in")
            if failure is not None:
                raise failure
            self.made.append(Breaking())
            return self.made[-1]
        finally:
            self.at_once -= 1


@asynccontextmanager
async def supervised(
    site: Site, prompter: Prompter | None = None, *, nodes: Sequence[str] = (), pace: Pace = QUICK
) -> AsyncIterator[SupervisedConnection]:
    keeper = LinkKeeper("here", site.dial, prompter or NoPrompter(), nodes=nodes, pace=pace, spread=lambda: 0)
    connection = SupervisedConnection(keeper)
    try:
        yield connection
    finally:
        await connection.close()


async def until_state(connection: SupervisedConnection, *states: LinkState) -> None:
    async def state() -> LinkState:
        return connection.keeper.link.state

    await until(state, lambda found: found in states)


async def until_made(site: Site, number: int) -> None:
    async def made() -> int:
        return len(site.made)

    await until(made, lambda found: found == number)


async def test_nobody_is_dialled_before_the_first_use_and_then_once() -> None:
    site = Site()
    async with supervised(site) as connection:
        assert connection.keeper.link.state is LinkState.OFFLINE
        answers = await asyncio.gather(*(connection.run(["echo", str(number)]) for number in range(5)))
        assert [answer.stdout for answer in answers] == [b"%d\n" % number for number in range(5)]
    assert site.dialled == ["here"]
    assert site.made[0].is_closed


async def test_a_connection_that_nobody_used_is_closed_without_a_dial() -> None:
    site = Site()
    async with supervised(site):
        pass
    assert site.dialled == []


async def test_a_lost_connection_comes_back_without_anybody_using_it() -> None:
    site = Site()
    async with supervised(site) as connection:
        await connection.run(["true"])
        site.made[0].lose()
        await until_made(site, 2)
        await until_state(connection, LinkState.CONNECTED)
        assert (await connection.run(["echo", "again"])).stdout == b"again\n"
    assert len(site.dialled) == 2
    assert site.made[0].is_closed


async def test_a_command_under_way_when_the_link_dies_is_told_so() -> None:
    site = Site()
    async with supervised(site) as connection:
        await connection.run(["true"])
        site.made[0].is_broken = True
        with pytest.raises(LinkLost):
            await connection.run(["true"])
        with waiting_for_link(30):
            assert (await connection.run(["echo", "again"])).stdout == b"again\n"


async def test_while_the_host_cannot_be_reached_calls_fail_at_once_or_wait_as_they_like() -> None:
    site = Site()
    site.fails["here"] = Unreachable("here", "nothing answers")
    async with supervised(site) as connection:
        with pytest.raises(ConnectionFailed, match="nothing answers"):
            await connection.run(["true"])
        n_dialled = len(site.dialled)
        with pytest.raises(ConnectionFailed, match=r"no connection since .* tried again by itself"):
            await connection.run(["true"])
        assert len(site.dialled) == n_dialled, "a call does not dial"
        with waiting_for_link(30):
            waiting = asyncio.ensure_future(connection.run(["echo", "back"]))
        site.fails.clear()
        assert (await waiting).stdout == b"back\n"


async def test_a_late_answer_shows_and_passes() -> None:
    site = Site()
    async with supervised(site) as connection:
        await connection.run(["true"])
        site.made[0].is_slow.clear()
        await until_state(connection, LinkState.DEGRADED)
        assert (await connection.run(["echo", "slowly"])).stdout == b"slowly\n"
        site.made[0].is_slow.set()
        await until_state(connection, LinkState.CONNECTED)
    assert len(site.dialled) == 1


async def test_a_connection_that_needed_the_user_is_not_made_again_without_them() -> None:
    site = Site(asks=True)
    async with supervised(site, Answering()) as connection:
        await connection.run(["true"])
        site.made[0].lose()
        await until_state(connection, LinkState.OFFLINE)
        for _ in range(3):
            with pytest.raises(ConnectionFailed, match="needs you"):
                await connection.run(["true"])
        connection.keeper.hurry()
        assert len(site.dialled) == 1
        await connection.reconnect()
        await connection.run(["true"])
    assert len(site.dialled) == 2


async def test_the_network_is_tried_again_for_a_user_who_was_not_asked_yet() -> None:
    site = Site(asks=True)
    site.fails["here"] = Unreachable("here", "nothing answers")
    async with supervised(site, Answering()) as connection:
        with pytest.raises(ConnectionFailed):
            await connection.run(["true"])
        site.fails.clear()
        await until_state(connection, LinkState.CONNECTED)


async def test_a_login_that_breaks_off_after_a_question_waits_for_the_user() -> None:
    site = Site(asks=True)
    site.fails["here"] = LoginBroken("here", "it ended")
    async with supervised(site, Answering()) as connection:
        with pytest.raises(LoginBroken):
            await connection.run(["true"])
        assert connection.keeper.link.needs_user
    assert len(site.dialled) == 1


@pytest.mark.parametrize("refusal", [LoginRefused, HostKeyRefused])
async def test_a_refused_login_is_not_tried_again_unasked_on_any_node(
    refusal: type[ConnectionFailed],
) -> None:
    site = Site()
    site.fails = dict.fromkeys(("one", "two"), refusal("here", "it does not let you in"))
    async with supervised(site, nodes=("one", "two")) as connection:
        for _ in range(3):
            with pytest.raises(refusal):
                await connection.run(["true"])
        connection.keeper.hurry()
        assert site.dialled == ["one"]
        with pytest.raises(refusal):
            await connection.reconnect()
    assert site.dialled == ["one", "one"]


async def test_logins_that_end_without_a_word_are_a_refusal_at_the_third() -> None:
    site = Site()
    site.fails["here"] = LoginBroken("here", "it ended")
    async with supervised(site) as connection:
        with pytest.raises(ConnectionFailed):
            await connection.run(["true"])
        await until_state(connection, LinkState.OFFLINE)
        with pytest.raises(LoginBroken):
            await connection.run(["true"])
    assert len(site.dialled) == 3


async def test_many_key_presses_during_a_login_are_one_login() -> None:
    site = Site(asks=True)
    async with supervised(site, Answering()) as connection:
        await asyncio.gather(*(connection.reconnect() for _ in range(5)))
    assert len(site.dialled) == 1


async def test_another_login_node_takes_over_from_a_dead_one_and_is_kept() -> None:
    site = Site()
    site.fails["one"] = Unreachable("one", "nothing answers")
    async with supervised(site, nodes=("one", "two")) as connection:
        with waiting_for_link(30):
            await connection.run(["true"])
        assert connection.status("p").link.node == "two"
        site.made[0].lose()
        await until_made(site, 2)
        await until_state(connection, LinkState.CONNECTED)
    assert site.dialled == ["one", "two", "two"]


async def test_a_question_that_nobody_answers_is_named() -> None:
    site = Site(asks=True)
    async with supervised(site) as connection:
        for _ in range(2):
            with pytest.raises(LoginRefused, match="asks for 'Code' and got no answer"):
                await connection.run(["true"])
    assert len(site.dialled) == 1


async def test_a_user_may_take_longer_to_answer_than_a_login_may_take() -> None:
    site = Site(asks=True)
    asked, answered = asyncio.Event(), asyncio.Event()

    class Slow(NoPrompter):
        async def ask(self, question: Question) -> str | None:
            asked.set()
            await answered.wait()
            return "123456"

    pace = Pace(notice_s=0.2, dial_s=0.05)
    async with supervised(site, Slow(), pace=pace) as connection:
        running = asyncio.ensure_future(connection.run(["echo", "at last"]))
        await asked.wait()
        assert connection.keeper.link.state is LinkState.ASKING
        clock = asyncio.get_running_loop().time
        asked_at = clock()

        async def waited_s() -> float:
            return clock() - asked_at

        await until(waited_s, lambda seconds: seconds > 2 * pace.dial_s)
        answered.set()
        assert (await running).stdout == b"at last\n"


async def test_what_goes_wrong_in_a_way_that_nobody_foresaw_is_told_to_who_waits() -> None:
    class Odd(Site):
        async def dial(self, node: str, prompter: Prompter) -> Breaking:
            raise RuntimeError("odd")

    async with supervised(Odd()) as connection:
        with pytest.raises(ConnectionFailed, match="odd"):
            await connection.run(["true"])


async def test_the_last_commands_and_changes_are_remembered() -> None:
    site = Site()
    async with supervised(site) as connection:
        await connection.run(["echo", "a b"])
        await connection.run(["false"], check=False)
        site.made[0].is_broken = True
        with pytest.raises(LinkLost):
            await connection.run(["true"])
        status = connection.status("p")
    assert [(one.text, one.outcome) for one in status.commands] == [
        ("echo 'a b'", ""),
        ("false", ""),
        ("true", "the link was lost"),
    ]
    states = [change.state for change in status.history]
    assert states[:3] == [LinkState.WAITING, LinkState.CONNECTING, LinkState.CONNECTED]
