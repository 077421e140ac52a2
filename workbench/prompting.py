"""TerminalPrompter: asks for what a login needs on the terminal that the program was started in."""

from __future__ import annotations

import asyncio
import getpass
import math
import sys
import time

from workbench.ports import Question


class TerminalPrompter:
    """Implements `ports.Prompter`. Where there is no terminal, nobody answers."""

    async def ask(self, question: Question) -> str | None:
        """What is typed, not shown where it is secret; none where the input ends."""
        note = question.note
        if question.ready_at is not None:
            note += f"; the next one is there in {max(0, math.ceil(question.ready_at - time.time()))} s"
        said = f" ({_plain(note)})" if note else ""
        text = f"{_plain(question.host)}: {_plain(question.text)}{said} "
        return await asyncio.to_thread(_typed, text, secret=question.secret)

    async def trust(self, host: str, kind: str, fingerprint: str) -> bool:
        """Whether `yes` is typed."""
        text = f"{_plain(host)} was never seen before; its {kind} key is {fingerprint}."
        answer = await asyncio.to_thread(_typed, f"{text} Is it the right one (yes)? ", secret=False)
        return answer is not None and answer.strip().lower() == "yes"


def _typed(text: str, *, secret: bool) -> str | None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    try:
        if secret:
            return getpass.getpass(text, stream=sys.stderr)
        print(text, end="", file=sys.stderr, flush=True)  # noqa: T201  # standard output is for results
        return sys.stdin.readline().rstrip("\n") or None
    except EOFError:
        return None


def _plain(text: str) -> str:
    """Without control characters: a host has written it."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
