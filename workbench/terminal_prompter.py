"""Asks at the terminal what a connection needs, for commands; where there is no terminal, nobody answers."""

from __future__ import annotations

import asyncio
import getpass
import sys

from workbench.plain import plain
from workbench.ports import Question


class TerminalPrompter:
    """Implements `ports.Prompter` at the terminal: answers go to no file and no argument."""

    async def ask(self, question: Question) -> str | None:
        """A password, a passphrase, a one-time code; None without a terminal, or at its end."""
        if not sys.stdin.isatty():
            return None
        text = f"{plain(question.text)} "
        try:
            if question.secret:
                return await asyncio.to_thread(getpass.getpass, text)
            sys.stderr.write(text)
            sys.stderr.flush()
            return (await asyncio.to_thread(sys.stdin.readline)).rstrip("\n") or None
        except EOFError:
            return None

    async def trust(self, host: str, kind: str, fingerprint: str) -> bool:
        """Whether a host that was never seen before is the right one."""
        sys.stderr.write(f"{plain(host)} was never seen before. Its {kind} key is {plain(fingerprint)}.\n")
        question = "Compare it with what the site says. Is it the right one? (yes/no)"
        answer = await self.ask(Question(host, question, secret=False))
        return answer is not None and answer.strip().lower() == "yes"
