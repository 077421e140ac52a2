"""One-time codes are given to a site once: some sites count a second time as an attack, all refuse it."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import replace

from workbench.ports import Prompter, Question

PERIOD_S = 30.0
"""Of nearly every site's codes (RFC 6238); they change at whole multiples of it since 1970."""
_REMEMBERED_S = 4 * PERIOD_S
"""Sites take codes of a window or two around now."""
_CODE = re.compile(
    r"t?otp\b|one.?time|verification|passcode|\btoken|authenticator|\b2fa\b|\bmfa\b|\bcode\b", re.IGNORECASE
)
_PASSPHRASE = re.compile(r"passphrase", re.IGNORECASE)
_USED = "this code was used already, and every code counts once: take the next one"
_WAIT = "the last code was used up"


class CarefulPrompter:
    """Implements `ports.Prompter` by another one, and never gives the same one-time code twice.

    Codes are remembered as salted hashes, in memory, for two minutes.
    """

    def __init__(self, prompter: Prompter, clock: Callable[[], float] = time.time) -> None:
        self._prompter = prompter
        self._clock = clock
        self._salt = secrets.token_bytes(16)
        self._used: dict[bytes, float] = {}
        """When a code was given, by its hash."""
        self._last: dict[str, float] = {}
        """When a code was given last, by host."""

    async def ask(self, question: Question) -> str | None:
        """A password, a passphrase, a one-time code."""
        if not is_for_code(question):
            return await self._prompter.ask(question)
        note = ""
        while True:
            next_at = self._next_at(question.host)
            note = note or (_WAIT if next_at is not None else "")
            answer = await self._prompter.ask(replace(question, note=note, ready_at=next_at))
            if answer is None:
                return None
            if self._take(question.host, answer.strip()):
                return answer
            note = _USED

    async def trust(self, host: str, kind: str, fingerprint: str) -> bool:
        """Whether a host that was never seen before is the right one."""
        return await self._prompter.trust(host, kind, fingerprint)

    def _next_at(self, host: str) -> float | None:
        """When the next code is there, where the present one was given to this host already."""
        now = self._clock()
        window = now // PERIOD_S
        if host in self._last and self._last[host] // PERIOD_S == window:
            return (window + 1) * PERIOD_S
        return None

    def _take(self, host: str, code: str) -> bool:
        """Use a code, where it was not used before."""
        now = self._clock()
        self._used = {known: at for known, at in self._used.items() if now - at < _REMEMBERED_S}
        known = hashlib.blake2b(code.encode(), key=self._salt).digest()
        if known in self._used:
            return False
        self._used[known] = self._last[host] = now
        return True


def is_for_code(question: Question) -> bool:
    """Whether a one-time code is asked for, as far as the host's words tell."""
    return bool(_CODE.search(question.text)) and not _PASSPHRASE.search(question.text)
