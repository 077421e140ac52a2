"""A connection that is made when it is first used: real commands of this machine, the dial counted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from workbench.errors import ConnectionFailed, LinkLost, LoginRefused
from workbench.ports import Completed, Prompter, Question
from workbench.remote.dialled import DialledConnection, NoPrompter
from workbench.remote.local import LocalConnection


class Breaking(LocalConnection):
    """This machine, with a link to it that can break."""

    broken = False

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> Completed:
        if self.broken:
            raise LinkLost("here", "the connection was lost")
        return await super().run(argv, stdin=stdin, cwd=cwd, env=env, check=check)


class Answering(NoPrompter):
    async def ask(self, question: Question) -> str | None:
        return "123456"


class Dialler:
    def __init__(self, *, asks: bool = False, refuses: bool = False) -> None:
        self.n_dialled = 0
        self.made: list[Breaking] = []
        self._asks = asks
        self._refuses = refuses

    async def __call__(self, prompter: Prompter) -> Breaking:
        self.n_dialled += 1
        await asyncio.sleep(0)
        if self._asks:
            answer = await prompter.ask(Question("here", "Code", secret=True))
            if answer != "123456":
                raise LoginRefused("here", "it does not let you in")
        if self._refuses:
            raise LoginRefused("here", "it does not let you in")
        self.made.append(Breaking())
        return self.made[-1]


async def test_nobody_is_dialled_before_the_first_use_and_then_once() -> None:
    dial = Dialler()
    connection = DialledConnection("here", dial, NoPrompter())
    await connection.close()
    assert dial.n_dialled == 0
    answers = await asyncio.gather(*(connection.run(["echo", str(number)]) for number in range(5)))
    assert [answer.stdout for answer in answers] == [b"%d\n" % number for number in range(5)]
    assert dial.n_dialled == 1


async def test_a_lost_connection_is_made_again_at_the_next_use() -> None:
    dial = Dialler()
    connection = DialledConnection("here", dial, NoPrompter())
    await connection.run(["true"])
    dial.made[0].broken = True
    with pytest.raises(LinkLost):
        await connection.run(["true"])
    assert (await connection.run(["echo", "again"])).stdout == b"again\n"
    assert dial.n_dialled == 2


async def test_a_connection_that_needed_the_user_is_not_made_again_without_them() -> None:
    dial = Dialler(asks=True)
    connection = DialledConnection("here", dial, Answering())
    await connection.run(["true"])
    dial.made[0].broken = True
    with pytest.raises(LinkLost):
        await connection.run(["true"])
    for _ in range(3):
        with pytest.raises(ConnectionFailed, match="needs you"):
            await connection.run(["true"])
    assert dial.n_dialled == 1
    connection.redial()
    await connection.run(["true"])
    assert dial.n_dialled == 2


async def test_a_refused_login_is_not_tried_again_unasked() -> None:
    dial = Dialler(refuses=True)
    connection = DialledConnection("here", dial, NoPrompter())
    for _ in range(3):
        with pytest.raises(LoginRefused):
            await connection.run(["true"])
    assert dial.n_dialled == 1
    connection.redial()
    with pytest.raises(LoginRefused):
        await connection.run(["true"])
    assert dial.n_dialled == 2


async def test_a_question_that_nobody_answers_is_named() -> None:
    dial = Dialler(asks=True)
    connection = DialledConnection("here", dial, NoPrompter())
    for _ in range(2):
        with pytest.raises(LoginRefused, match="asks for 'Code' and got no answer"):
            await connection.run(["true"])
    assert dial.n_dialled == 1
