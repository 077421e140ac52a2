"""What only the user can answer, and who asks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Question:
    """Something that only the user can answer."""

    host: str
    text: str
    """As the host, or the program that holds the key, has put it."""
    secret: bool
    """Whether the answer is not to be shown."""
    note: str = ""
    """What this program has to say to it."""
    ready_at: float | None = None
    """When the answer can be known at the earliest, in seconds since 1970: a new code has to come first."""


class Prompter(Protocol):
    """Asks the user what a connection needs. None and False are what a user says who gives up."""

    async def ask(self, question: Question) -> str | None:
        """A password, a passphrase, a one-time code; never written down anywhere."""

    async def trust(self, host: str, kind: str, fingerprint: str) -> bool:
        """Whether a host that was never seen before is the right one."""
