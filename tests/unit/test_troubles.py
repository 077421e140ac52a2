from __future__ import annotations

from workbench.troubles import Troubles


def test_a_trouble_is_news_once_until_the_same_thing_works_again() -> None:
    troubles = Troubles()
    assert troubles.failed("log", "login: the network is unreachable")
    assert not troubles.failed("log", "login: the network is unreachable")
    assert not troubles.failed("states", "login: the network is unreachable")
    assert not troubles.worked("progress")
    assert not troubles.failed("log", "login: the network is unreachable")
    assert troubles.text == "login: the network is unreachable"
    assert troubles.worked("log")
    assert troubles.worked("states")
    assert troubles.text == ""
    assert troubles.failed("log", "login: the network is unreachable")


def test_another_sentence_is_news_and_the_oldest_is_shown() -> None:
    troubles = Troubles()
    assert troubles.failed("states", "one")
    assert troubles.failed("log", "two")
    assert troubles.text == "one"
    assert troubles.failed("states", "three")
