"""Login: what is asked of the user while they are let in to a host, and that nothing is asked twice."""

from __future__ import annotations

from workbench.errors import ConnectionFailed, LoginBroken, LoginRefused
from workbench.ports import Prompter, Question
from workbench.remote.ssh_config import SshOptions


class Login:
    """One login to one host; the kinds of connections add the ways."""

    def __init__(self, options: SshOptions, prompter: Prompter) -> None:
        self.options = options
        self.alias = options.target.alias
        self._prompter = prompter
        self._tried: set[str] = set()
        self._given_up = False
        self.offered = False
        """Whether anything was given to the host by which it could know the user."""

    def once(self, way: str) -> bool:
        """Whether a way to log in was not tried yet."""
        first = way not in self._tried
        self._tried.add(way)
        return first

    async def ask(self, text: str, *, secret: bool = True) -> str | None:
        """An answer of the user's; none, for good, once they have given up."""
        if self._given_up:
            return None
        self.offered = True
        # What a host says is not to be believed: no control sequences, and one line.
        plain = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
        answer = await self._prompter.ask(Question(self.alias, plain, secret))
        self._given_up = answer is None
        return answer

    async def ask_passphrase(self, path: object) -> str | None:
        """What opens a key."""
        return await self.ask(f"Passphrase of the key {path}")

    async def trusts(self, kind: str, fingerprint: str) -> bool:
        """Whether the user takes a key for that of a host that was never seen before."""
        if self.options.strict or self.options.accepts_new:
            return self.options.accepts_new
        return await self._prompter.trust(self.alias, kind, fingerprint)

    def broken_off(self, where: str, said: str) -> ConnectionFailed:
        """The connection has ended before there was an answer."""
        if self.offered:
            return LoginBroken(self.alias, f"the connection to {where} ended during the login ({said})")
        return ConnectionFailed(self.alias, f"the connection to {where} was broken off ({said})")

    def denied(self, said: str = "") -> LoginRefused:
        """Why the user is not let in."""
        if self._given_up:
            return LoginRefused(self.alias, "the login was given up")
        said = f" ({said})" if said else ""
        return LoginRefused(
            self.alias,
            f"it does not let {self.options.user} in{said}; check user, key, password or code, and connect "
            "again when you are ready: it is not tried again by itself",
        )

    def bad_key(self, path: object, error: Exception) -> LoginRefused:
        """Why a key is of no use."""
        reason = (
            f"the key {path} cannot be used ({error}); was the passphrase right, and is it a private key?"
        )
        return LoginRefused(self.alias, reason)
