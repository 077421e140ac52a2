"""A one-time code is never given twice, and who has used theirs is told when the next one comes."""

from __future__ import annotations

import pytest

from workbench.ports import Question
from workbench.remote.asking import NoPrompter
from workbench.remote.codes import CarefulPrompter, is_for_code
from workbench.screens.ask import noted

CODE = Question("csd3", "(me@login) TOTP Verification Code:", secret=True)
NOW = 1_790_000_010.0  # the window ends 20 s later: at a multiple of 30 s


class Person(NoPrompter):
    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.heard: list[Question] = []

    async def ask(self, question: Question) -> str | None:
        self.heard.append(question)
        return self.answers.pop(0)


async def test_a_code_that_was_used_is_asked_for_again_until_it_is_another() -> None:
    person = Person("123456", "123456", " 123456", "654321")
    careful = CarefulPrompter(person, lambda: NOW)
    assert await careful.ask(CODE) == "123456"
    assert await careful.ask(CODE) == "654321"
    assert person.heard[0].note == ""
    assert person.heard[1].ready_at == 1_790_000_010 // 30 * 30 + 30
    assert "used up" in person.heard[1].note
    assert "used already" in person.heard[2].note
    assert person.answers == []


async def test_who_gives_up_over_a_used_code_gives_none() -> None:
    careful = CarefulPrompter(Person("123456", "123456", None), lambda: NOW)
    assert await careful.ask(CODE) == "123456"
    assert await careful.ask(CODE) is None


async def test_a_code_is_forgotten_when_no_site_would_take_it_any_more() -> None:
    now = NOW
    person = Person("123456", "123456")
    careful = CarefulPrompter(person, lambda: now)
    await careful.ask(CODE)
    now += 121
    assert await careful.ask(CODE) == "123456"
    assert person.heard[1].ready_at is None


async def test_a_password_may_be_the_same_each_time() -> None:
    person = Person("hunter2", "hunter2")
    careful = CarefulPrompter(person, lambda: NOW)
    question = Question("csd3", "Password:", secret=True)
    assert [await careful.ask(question) for _ in range(2)] == ["hunter2", "hunter2"]


async def test_no_code_is_kept_as_it_is() -> None:
    careful = CarefulPrompter(Person("123456"), lambda: NOW)
    await careful.ask(CODE)
    assert "123456" not in repr(vars(careful))


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("TOTP Verification Code:", True),
        ("Duo passcode or option", True),
        ("One-time password (OATH) for me:", True),
        ("Enter your 2FA token", True),
        ("Password:", False),
        ("Passphrase of the key /home/me/.ssh/token_ed25519", False),
    ],
)
def test_questions_for_codes_are_known_by_their_words(text: str, is_one: bool) -> None:
    assert is_for_code(Question("h", text, secret=True)) is is_one


def test_the_wait_for_the_next_code_is_counted_down() -> None:
    question = Question("h", "Code", secret=True, note="the last code was used up", ready_at=NOW + 20)
    assert noted(question, NOW) == "the last code was used up; the next one is there in 20 s"
    assert noted(question, NOW + 20) == "the last code was used up; the next one is there"
