from __future__ import annotations

import asyncio

from textual.widgets import Input

from tests.tui.opened import SMALL, until_on
from tests.tui.recorded import RecordedWorkbench
from workbench.app import WorkbenchApp
from workbench.ports import Question
from workbench.screens.ask import ScreenPrompter

CODE = Question("login.example", "(you@login) TOTP Verification Code:\x1b[2J", secret=True)


async def test_a_code_is_asked_for_hidden_and_handed_on() -> None:
    app, prompter = opened()
    async with app.run_test(size=SMALL) as pilot:
        answer = asyncio.create_task(prompter.ask(CODE))
        await until_on(pilot, "AskScreen")
        assert app.screen.query_one(Input).password
        await pilot.press(*"123456", "enter")
        assert await answer == "123456"


async def test_giving_up_is_no_answer() -> None:
    app, prompter = opened()
    async with app.run_test(size=SMALL) as pilot:
        answer = asyncio.create_task(prompter.ask(CODE))
        await until_on(pilot, "AskScreen")
        await pilot.press("escape")
        assert await answer is None


async def test_two_questions_come_one_after_the_other() -> None:
    app, prompter = opened()
    async with app.run_test(size=SMALL) as pilot:
        answers = [asyncio.create_task(prompter.ask(CODE)) for _ in range(2)]
        for index, answer in enumerate(answers):
            await until_on(pilot, "AskScreen")
            await pilot.press(str(index), "enter")
            assert await answer == str(index)


async def test_a_host_is_trusted_by_a_clear_yes_alone() -> None:
    app, prompter = opened()
    async with app.run_test(size=SMALL) as pilot:
        for key, trusted in (("enter", False), ("escape", False), ("y", True)):
            answer = asyncio.create_task(prompter.trust("login.example", "ssh-ed25519", "SHA256:abc"))
            await until_on(pilot, "TrustScreen")
            await pilot.press(key)
            assert await answer is trusted


async def test_a_question_that_nobody_needs_any_more_goes_away() -> None:
    app, prompter = opened()
    async with app.run_test(size=SMALL) as pilot:
        answer = asyncio.create_task(prompter.ask(CODE))
        await until_on(pilot, "AskScreen")
        answer.cancel()
        await until_on(pilot, "JobsScreen")


async def test_before_there_are_screens_nobody_answers() -> None:
    assert await ScreenPrompter().ask(CODE) is None


def opened() -> tuple[WorkbenchApp, ScreenPrompter]:
    app, prompter = WorkbenchApp(RecordedWorkbench()), ScreenPrompter()
    prompter.app = app
    return app, prompter
