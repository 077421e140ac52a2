"""Connections through asyncssh: the default kind, which asks for what it needs within the program.

Everything that the user has set in ~/.ssh/config holds (`ssh_config`); nothing is asked twice, and a
refused login is never tried again by itself: some sites lock the account after three.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from workbench.errors import ConnectionFailed, HostKeyRefused, LinkLost
from workbench.ports import ByteStream, Prompter
from workbench.remote import known_hosts
from workbench.remote.agent_connection import PING_S, AgentConnection, NotForwarded
from workbench.remote.login import Login
from workbench.remote.reach import reach
from workbench.remote.ssh_config import SshOptions, SshTarget, resolve

if TYPE_CHECKING:
    import asyncssh

_PIECE = 1 << 16
_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
"""Before all others: they cost Python a third of what chacha20 does, which is what limits a tunnel."""
_TAIL = 2000
"""Bytes of stderr that are kept for a message."""


async def connect(target: SshTarget, prompter: Prompter, *, ping_s: float = PING_S) -> AgentConnection:
    """Log in to a host.

    Raises:
        HostKeyRefused: It does not show the key that it should.
        LoginRefused: It does not let the user in.
        ConnectionFailed: It cannot be reached.
    """
    async with AsyncExitStack() as stack:
        connection = await _log_in(target, prompter, stack, ping_s)
        return AgentConnection(
            target.alias, _AsyncsshLink(target.alias, connection, stack.pop_all()), ping_s=ping_s
        )


async def _log_in(
    target: SshTarget,
    prompter: Prompter,
    stack: AsyncExitStack,
    ping_s: float,
    tunnel: asyncssh.SSHClientConnection | None = None,
) -> asyncssh.SSHClientConnection:
    """Log in to a host, through others where the configuration says so; `stack` closes all of them."""
    options = await resolve(target)
    for jump in options.jumps if tunnel is None else ():
        tunnel = await _log_in(jump, prompter, stack, ping_s, tunnel)
    login = _Login(options, prompter, ping_s, tunnel)
    try:
        connection = await login.attempt()
    except HostKeyRefused:
        # Nothing of the user has been sent yet: it may be tried again once the host is trusted.
        if not await login.trusted():
            raise
        connection = await login.attempt()
    finally:
        login.close()
    stack.push_async_callback(_closed, connection)
    return connection


async def _closed(connection: asyncssh.SSHClientConnection) -> None:
    connection.abort()


class _Login(Login):
    """One login to one host."""

    def __init__(
        self,
        options: SshOptions,
        prompter: Prompter,
        ping_s: float,
        tunnel: asyncssh.SSHClientConnection | None,
    ) -> None:
        super().__init__(options, prompter)
        self._ping_s = ping_s
        self._tunnel = tunnel
        self._shown: asyncssh.SSHKey | None = None
        self._accepted: asyncssh.SSHKey | None = None
        self._identities = list(options.identity_files)
        self._agent: asyncssh.SSHAgentClient | None = None

    @property
    def is_direct(self) -> bool:
        """Whether it goes to the host itself, and not through something else."""
        return self._tunnel is None and not self.options.proxy_command

    async def attempt(self) -> asyncssh.SSHClientConnection:
        """Connect and log in, once."""
        import asyncssh

        options = self.options
        reached = await self._reached()
        with _translated(self):
            return await asyncssh.connect(
                options.hostname,
                options.port,
                sock=reached,
                username=options.user,
                config=None,
                tunnel=self._tunnel if self._tunnel is not None else (),
                proxy_command=options.proxy_command or None,
                host_key_alias=options.key_alias,
                known_hosts=self._known(),
                client_factory=lambda: _client(self),
                client_keys=None,
                # A dead link ends the forwarded channels too, of which the agent knows nothing.
                keepalive_interval=self._ping_s,
                keepalive_count_max=2,
                encryption_algs=_CIPHERS,
            )

    async def _reached(self) -> socket.socket | None:
        """A connection to the host itself; none where it is reached through something else."""
        if not self.is_direct:
            return None
        try:
            return await reach(self.options.hostname, self.options.port)
        except OSError as error:
            raise self.options.unreachable(error) from error

    def _known(self) -> asyncssh.SSHKnownHosts:
        import asyncssh

        text = "".join(
            path.read_text(errors="replace") + "\n"
            for path in self.options.known_hosts_files
            if path.is_file()
        )
        return asyncssh.import_known_hosts(text)

    # -- the host's key ----------------------------------------------------------------------------

    def show(self, key: asyncssh.SSHKey) -> bool:
        """The host's key, which is not among those that are known of it."""
        self._shown = key
        return key == self._accepted

    def refusal(self) -> HostKeyRefused:
        """Why the host's key is not taken."""
        if self._shown is None:
            return HostKeyRefused(self.alias, "its host key or certificate is revoked or not valid")
        shown = f"{self._shown.get_algorithm()} {self._shown.get_fingerprint()}"
        if self._is_known():
            return known_hosts.changed(self.options, shown)
        return known_hosts.unknown(self.options, shown)

    def _is_known(self) -> bool:
        """Whether any key of this host is."""
        known = self._known().match(self.options.key_alias, "", self.options.port)
        return any(known)

    async def trusted(self) -> bool:
        """Whether the user trusts a host that was never seen before; asked once."""
        key = self._shown
        if key is None or self._is_known():
            return False
        kind = key.get_algorithm()
        if not await self.trusts(kind, key.get_fingerprint()):
            return False
        known_hosts.remember(self.options, kind, key.public_data)
        self._accepted = key
        return True

    # -- the user ----------------------------------------------------------------------------------

    async def next_key(self) -> Any:
        """The next of the user's keys; its passphrase is asked for only when its turn comes."""
        import asyncssh

        self.offered = True

        if self.once("agent") and (keys := await self._agent_keys()):
            return keys
        while self._identities:
            path = self._identities.pop(0)
            try:
                return await asyncio.to_thread(asyncssh.load_keypairs, [str(path)])
            except asyncssh.KeyImportError:
                pass  # it may only want a passphrase
            except OSError as error:
                raise self.bad_key(path, error) from error
            passphrase = await self.ask_passphrase(path)
            if passphrase is not None:
                try:
                    return await asyncio.to_thread(asyncssh.load_keypairs, [str(path)], passphrase)
                except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
                    raise self.bad_key(path, error) from None
        return None

    async def _agent_keys(self) -> Sequence[asyncssh.SSHKeyPair]:
        import asyncssh

        if (path := self.options.agent_socket) is None:
            return []
        wanted = None
        if self.options.identities_only:
            wanted = [asyncssh.read_public_key(path).public_data for path in self.options.public_keys]
            if not wanted:
                return []
        try:
            self._agent = await asyncssh.connect_agent(path)
            return await self._agent.get_keys(wanted)
        except (OSError, ValueError):
            return []  # no agent there, or one without a key

    def close(self) -> None:
        """Let go of the agent."""
        if self._agent is not None:
            self._agent.close()


def _client(login: _Login) -> asyncssh.SSHClient:
    import asyncssh

    class Client(asyncssh.SSHClient):
        def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
            return login.show(key)

        async def public_key_auth_requested(self) -> Any:
            return await login.next_key()

        async def password_auth_requested(self) -> str | None:
            return await login.ask("Password") if login.once("password") else None

        def password_change_requested(self, prompt: str, lang: str) -> Any:
            return NotImplemented

        def kbdint_auth_requested(self) -> str | None:
            return "" if login.once("keyboard-interactive") else None

        async def kbdint_challenge_received(
            self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
        ) -> list[str] | None:
            answers = []
            for text, echo in prompts:
                answer = await login.ask(f"{instructions} {text}", secret=not echo)
                if answer is None:
                    return None
                answers.append(answer)
            return answers

    return Client()


@contextmanager
def _translated(login: _Login) -> Iterator[None]:
    import asyncssh

    alias = login.alias
    where = f"{login.options.hostname}:{login.options.port}"
    try:
        yield
    except asyncssh.HostKeyNotVerifiable:
        raise login.refusal() from None
    except asyncssh.PermissionDenied as error:
        raise login.denied() from error
    except asyncssh.KeyExchangeFailed as error:
        reason = f'it offers only old or unusual ciphers ({error.reason}); set `connection = "paramiko"`'
        raise ConnectionFailed(alias, reason) from error
    except asyncssh.ConnectionLost as error:
        raise login.broken_off(where, error.reason) from error
    except asyncssh.DisconnectError as error:
        if login.offered:  # it has taken its leave after what it was given: that is a no
            raise login.denied(error.reason) from error
        raise login.broken_off(where, error.reason) from error
    except asyncssh.Error as error:
        raise login.broken_off(where, error.reason) from error
    except OSError as error:
        if login.is_direct:
            raise login.broken_off(where, error.strerror or str(error)) from error
        raise login.options.unreachable(error) from error


class _AsyncsshLink:
    """Implements `agent_connection.Link`."""

    def __init__(self, host: str, connection: asyncssh.SSHClientConnection, stack: AsyncExitStack) -> None:
        self._host = host
        self._connection = connection
        self._stack = stack
        self._forwards = True

    async def start(self, shell_command: str) -> _AsyncsshPipe:
        """Have the login shell run a command."""
        with _losing(self._host):
            process = await self._connection.create_process(shell_command, encoding=None)
        return _AsyncsshPipe(self._host, process)

    def channel(self, host: str, port: int) -> AbstractAsyncContextManager[ByteStream] | None:
        """A forwarded channel, unless the server has refused to forward any."""
        return self._channel(host, port) if self._forwards else None

    @asynccontextmanager
    async def _channel(self, host: str, port: int) -> AsyncIterator[ByteStream]:
        import asyncssh

        try:
            with _losing(self._host):
                reader, writer = await self._connection.open_connection(host, port, encoding=None)
        except LinkLost as error:
            refused = error.__cause__
            if not isinstance(refused, asyncssh.ChannelOpenError) or self._connection.is_closed():
                raise
            if refused.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
                self._forwards = False
                raise NotForwarded from error
            reason = f"nothing answers at {host}:{port} ({refused.reason})"
            raise ConnectionFailed(self._host, reason) from error
        try:
            yield _AsyncsshChannel(self._host, self._connection, reader, writer)
        finally:
            writer.channel.abort()

    async def close(self) -> None:
        """End it, and the connections that it goes through."""
        await self._stack.aclose()


class _AsyncsshPipe:
    """Implements `agent_session.Pipe`."""

    def __init__(self, host: str, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self._host = host
        self._process = process
        self._said = bytearray()
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        with _losing(self._host):
            while data := await self._process.stderr.read(_PIECE):
                self._said = (self._said + data)[-_TAIL:]

    async def read(self) -> bytes:
        """Some of its stdout; none at its end."""
        with _losing(self._host):
            data = await self._process.stdout.read(_PIECE)
        if not data:
            await asyncio.wait([self._listening])  # the end of a channel is that of its stderr as well
        return data

    async def write(self, data: bytes) -> None:
        """To its stdin, waiting while the other side is slow."""
        with _losing(self._host):
            self._process.stdin.write(data)
            await self._process.stdin.drain()

    def close(self) -> None:
        """Let go of it."""
        self._listening.cancel()
        self._process.close()

    async def wait_closed(self) -> None:
        """Until nothing of it is left on this side."""
        await asyncio.gather(self._listening, return_exceptions=True)

    def said(self) -> str:
        """The end of its stderr."""
        return self._said.decode(errors="replace").strip()


class _AsyncsshChannel:
    """A forwarded channel."""

    def __init__(
        self,
        host: str,
        connection: asyncssh.SSHClientConnection,
        reader: asyncssh.SSHReader[bytes],
        writer: asyncssh.SSHWriter[bytes],
    ) -> None:
        self._host = host
        self._connection = connection
        self._reader = reader
        self._writer = writer

    async def read(self, most: int) -> bytes:
        """At least one byte and at most `most`; none at the end."""
        with _losing(self._host):
            data = await self._reader.read(most)
        if not data and self._connection.is_closed():
            raise LinkLost(self._host, "the connection was lost")  # what asyncssh takes for an end
        return data

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is slow."""
        with _losing(self._host):
            self._writer.write(data)
            await self._writer.drain()

    async def write_eof(self) -> None:
        """Say that nothing more will be sent."""
        with _losing(self._host):
            self._writer.write_eof()


@contextmanager
def _losing(host: str) -> Iterator[None]:
    import asyncssh

    try:
        yield
    except asyncssh.Error as error:
        raise LinkLost(host, f"the connection was lost ({error.reason})") from error
    except OSError as error:
        raise LinkLost(host, f"the connection was lost ({error.strerror or error})") from error
