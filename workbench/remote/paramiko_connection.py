"""Connections through paramiko: the fallback for servers that asyncssh cannot agree with.

paramiko blocks, so each of its calls is made in a thread; what only the user can answer is asked on the
event loop. It logs in as the asyncssh kind does: everything once, nothing again by itself.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.ports import Prompter
from workbench.remote import known_hosts
from workbench.remote.agent_connection import PING_S, AgentConnection
from workbench.remote.login import Login
from workbench.remote.paramiko_link import ParamikoLink, close
from workbench.remote.reach import REACH_S
from workbench.remote.ssh_config import SshOptions, SshTarget, resolve

if TYPE_CHECKING:
    import paramiko

_KEEPALIVE_S = 30
_KEYS_S = 15.0
"""For the exchange of keys: a thread that waits for ever could not be ended."""
_WINDOW, _PACKET = 1 << 22, 1 << 17
"""More at a time than paramiko asks for by itself, as each packet costs it much the same."""
_QUICK = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""Ciphers with which it computes no sum of its own over each packet."""


async def connect(target: SshTarget, prompter: Prompter, *, ping_s: float = PING_S) -> AgentConnection:
    """Log in to a host.

    Raises:
        HostKeyRefused: It does not show the key that it should.
        LoginRefused: It does not let the user in.
        ConnectionFailed: It cannot be reached.
    """
    transports: list[paramiko.Transport] = []
    try:
        await _log_in(target, prompter, transports)
    except BaseException:
        close(transports)
        raise
    return AgentConnection(target.alias, ParamikoLink(target.alias, transports), ping_s=ping_s)


async def _log_in(
    target: SshTarget,
    prompter: Prompter,
    transports: list[paramiko.Transport],
    before: paramiko.Transport | None = None,
) -> paramiko.Transport:
    """Log in to a host, through others where the configuration says so; all of them in `transports`."""
    options = await resolve(target)
    for jump in options.jumps if before is None else ():
        before = await _log_in(jump, prompter, transports, before)
    login = _Login(options, prompter)
    with _translated(login):
        transport = await asyncio.to_thread(_reach, options, before)
        transports.append(transport)
        await login.check_host(transport)
        try:
            await login.authenticate(transport)
        finally:
            login.close()
        transport.set_keepalive(_KEEPALIVE_S)
    return transport


def _reach(options: SshOptions, before: paramiko.Transport | None) -> paramiko.Transport:
    """A connection over which keys have been exchanged, and nothing else."""
    import paramiko

    where = (options.hostname, options.port)
    if before is not None:
        link: object = before.open_channel("direct-tcpip", where, ("127.0.0.1", 0))
    elif options.proxy_command:
        link = paramiko.ProxyCommand(options.proxy_command)
    else:
        link = direct = socket.create_connection(where, timeout=REACH_S)
        direct.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(link, _WINDOW, _PACKET)  # type: ignore[arg-type]
    try:
        security = transport.get_security_options()
        security.ciphers = _with_first(_QUICK, security.ciphers)
        # Ask for the kind of key that is known, of which it may have several.
        security.key_types = _with_first(_known(options), security.key_types)
        transport.start_client(timeout=_KEYS_S)
    except BaseException:
        transport.close()
        raise
    return transport


def _with_first(favoured: Container[str], kinds: Sequence[str]) -> Sequence[str]:
    """All of them, in an order in which the favoured ones come first."""
    return tuple(sorted(kinds, key=lambda kind: kind not in favoured))


def _known(options: SshOptions) -> dict[str, paramiko.PKey]:
    """The keys that are known of a host, by their kind."""
    import paramiko

    found: dict[str, paramiko.PKey] = {}
    for path in options.known_hosts_files:
        if path.is_file():
            for kind, key in (paramiko.HostKeys(str(path)).lookup(options.known_as) or {}).items():
                found.setdefault(kind, key)
    return found


class _Login(Login):
    """One login to one host."""

    def __init__(self, options: SshOptions, prompter: Prompter) -> None:
        super().__init__(options, prompter)
        self._agent: socket.socket | None = None

    async def check_host(self, transport: paramiko.Transport) -> None:
        """See that it is the right host, before anything of the user is sent."""
        key = transport.get_remote_server_key()
        known = _known(self.options)
        if known.get(key.get_name()) == key:
            return
        shown = known_hosts.fingerprint(key.asbytes())
        if known:
            raise known_hosts.changed(self.options, f"{key.get_name()} {shown}")
        if not await self.trusts(key.get_name(), shown):
            raise known_hosts.unknown(self.options, f"{key.get_name()} {shown}")
        known_hosts.remember(self.options, key.get_name(), key.asbytes())

    async def authenticate(self, transport: paramiko.Transport) -> None:
        """Log in, by every way that the host offers and each of them once."""
        import paramiko

        ways = {
            "publickey": self._by_key,
            "keyboard-interactive": self._by_answers,
            "password": self._by_password,
        }
        try:
            allowed = await asyncio.to_thread(transport.auth_none, self.options.user)
        except paramiko.BadAuthenticationType as error:
            allowed = error.allowed_types
        while not transport.is_authenticated():
            way = next((way for way in ways if way in allowed), None)
            if way is None:
                raise self.denied()
            more = await ways.pop(way)(transport)
            # An empty list says that this was the last step, none that it was refused.
            allowed = more if more is not None else allowed

    async def _step(self, work: Callable[..., list[str]], *args: object) -> list[str] | None:
        """What is wanted after one step; none where it was refused."""
        import paramiko

        self.offered = True
        try:
            return await asyncio.to_thread(work, *args)
        except paramiko.BadAuthenticationType:
            return None
        except paramiko.AuthenticationException:
            return None

    # -- ways to log in ----------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the agent."""
        if self._agent is not None:
            self._agent.close()

    async def _by_key(self, transport: paramiko.Transport) -> list[str] | None:
        user = self.options.user
        for agent_key in await asyncio.to_thread(self._agent_keys):
            if (more := await self._step(transport.auth_publickey, user, agent_key)) is not None:
                return more
        for path in self.options.identity_files:
            key = await self._key(path)
            if (
                key is not None
                and (more := await self._step(transport.auth_publickey, user, key)) is not None
            ):
                return more
        return None

    async def _by_password(self, transport: paramiko.Transport) -> list[str] | None:
        password = await self.ask("Password")
        if password is None:
            return None
        return await self._step(transport.auth_password, self.options.user, password, None, False)

    async def _by_answers(self, transport: paramiko.Transport) -> list[str] | None:
        loop = asyncio.get_running_loop()

        def answer(_: str, instructions: str, prompts: Sequence[tuple[str, bool]]) -> list[str]:
            answers = []
            for text, echo in prompts:
                question = self.ask(f"{instructions} {text}", secret=not echo)
                answers.append(asyncio.run_coroutine_threadsafe(question, loop).result() or "")
            return answers

        return await self._step(transport.auth_interactive, self.options.user, answer)

    def _agent_keys(self) -> Sequence[paramiko.PKey]:
        import paramiko

        place = self.options.agent_socket
        if place is None:
            return []

        class Agent(paramiko.agent.AgentSSH):
            # paramiko's own looks for the one of SSH_AUTH_SOCK only.
            def __init__(self, link: socket.socket) -> None:
                super().__init__()
                self._connect(link)  # type: ignore[attr-defined]

        try:
            self._agent = socket.socket(socket.AF_UNIX)
            self._agent.connect(place)
            keys = Agent(self._agent).get_keys()
        except (OSError, paramiko.SSHException):
            return []  # no agent there
        if not self.options.identities_only:
            return keys
        named = {path.read_text().split()[1] for path in self.options.public_keys}
        return [key for key in keys if key.get_base64() in named]

    async def _key(self, path: Path) -> paramiko.PKey | None:
        import paramiko

        try:
            return await asyncio.to_thread(paramiko.PKey.from_path, path)
        except paramiko.PasswordRequiredException:
            pass
        except TypeError:  # how cryptography says the same of some formats
            pass
        except (OSError, ValueError, paramiko.SSHException) as error:
            raise self.bad_key(path, error) from error
        passphrase = await self.ask_passphrase(path)
        if passphrase is None:
            return None
        try:
            # Its stub says str; what it calls takes nothing but bytes.
            return await asyncio.to_thread(paramiko.PKey.from_path, path, passphrase.encode())  # type: ignore[arg-type]
        except (ValueError, paramiko.SSHException) as error:
            raise self.bad_key(path, error) from error


@contextmanager
def _translated(login: _Login) -> Iterator[None]:
    import paramiko

    where = f"{login.options.hostname}:{login.options.port}"
    try:
        yield
    except (paramiko.SSHException, EOFError) as error:
        raise login.broken_off(where, str(error) or "it closed the connection") from error
    except OSError as error:
        raise login.options.unreachable(error) from error
