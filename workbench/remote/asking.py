"""Who is asked while a login goes on: nobody, or the user, of whom is noted that they were needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from workbench.errors import ConnectionFailed, LoginRefused
from workbench.ports import Prompter, Question


class NoPrompter:
    """Implements `ports.Prompter` where nobody is there to be asked."""

    async def ask(self, question: Question) -> str | None:
        """No answer."""
        return None

    async def trust(self, host: str, kind: str, fingerprint: str) -> bool:
        """No."""
        return False


class WitnessedPrompter:
    """Implements `ports.Prompter` by another one, and says when the user is needed, and when not any more."""

    def __init__(self, prompter: Prompter, needed: Callable[[bool], None], free: Callable[[], None]) -> None:
        """Call `needed`, with whether it is for the login itself, and `free` once there is an answer."""
        self._prompter = prompter
        self._needed = needed
        self._free = free
        self._unanswered: Question | None = None
        self._over = False

    async def ask(self, question: Question) -> str | None:
        """A password, a passphrase, a one-time code."""
        if self._over:
            return None
        async with self._asking(for_login=True):
            answer = await self._prompter.ask(question)
        if answer is None:
            self._unanswered = question
        return answer

    async def trust(self, host: str, kind: str, fingerprint: str) -> bool:
        """Whether a host that was never seen before is the right one."""
        if self._over:
            return False
        async with self._asking(for_login=False):
            return await self._prompter.trust(host, kind, fingerprint)

    def over(self) -> None:
        """Ask nothing more: the login has ended, and what it has left running may not know."""
        self._over = True

    def refusal(self, error: ConnectionFailed) -> ConnectionFailed:
        """Why there is no login, where it may have been for want of an answer."""
        if self._unanswered is None:
            return error
        return LoginRefused(
            self._unanswered.host,
            f"it asks for {self._unanswered.text!r} and got no answer: log in where you can give one, or use "
            '`connection = "openssh"` and log in with `ssh` in another terminal',
        )

    @asynccontextmanager
    async def _asking(self, *, for_login: bool) -> AsyncIterator[None]:
        self._needed(for_login)
        try:
            yield
        finally:
            if not self._over:
                self._free()
