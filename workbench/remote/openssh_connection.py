"""Connections through the user's own OpenSSH, over a master connection that they may have already.

One login in any terminal then serves the program as well, and the master outlives it. Nothing here ever
asks: commands run with BatchMode, away from the terminal, and on the master only, so that a dead master
fails at once. A host that wants a password or a code is logged in to in a terminal.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from workbench.errors import (
    ConnectionFailed,
    HostKeyRefused,
    LinkLost,
    LoginBroken,
    LoginRefused,
    Unreachable,
)
from workbench.ports import ByteStream
from workbench.remote import known_hosts, openssh_mux
from workbench.remote.agent_connection import PING_S, AgentConnection
from workbench.remote.reach import REACH_S
from workbench.remote.ssh_config import SshOptions, SshTarget, resolve

_PIECE = 1 << 16
_TAIL = 2000
"""Bytes of stderr that are kept for a message."""
_LAST_WORDS_S = 2.0
"""How long the end of stderr may take after that of stdout."""
_PERSIST = "8h"
"""How long a master of ours, which nobody uses, waits for somebody."""
_ALIVE = ("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=2", "-o", f"ConnectTimeout={REACH_S:.0f}")


async def connect(target: SshTarget, *, ping_s: float = PING_S) -> AgentConnection:
    """Use the master connection to a host, or make one where that needs no answer from the user.

    Raises:
        HostKeyRefused: The host does not show the key that it should, or was never seen before.
        LoginRefused: It asks for something; the sentence says what to run in a terminal.
        ConnectionFailed: It cannot be reached.
    """
    options = await resolve(target)
    socket = options.control_path or await asyncio.to_thread(_own_socket, options)
    link = _OpensshLink(target, socket)
    if not await link.alive():
        await _make_master(options, socket)
    return AgentConnection(target.alias, link, ping_s=ping_s)


async def _make_master(options: SshOptions, socket: str) -> None:
    """Log in without asking anybody, and leave the connection behind as a master."""
    persist = () if options.control_path else ("-o", f"ControlPersist={_PERSIST}")
    master = ("-o", "BatchMode=yes", "-o", "ControlMaster=auto", "-o", f"ControlPath={socket}", *persist)
    # A master in the background keeps stderr open for as long as it lives: it gets a file, not a pipe.
    with tempfile.TemporaryFile() as stderr:
        process = await asyncio.create_subprocess_exec(
            *options.target.command("-f", "-N", "-T", *master, *_ALIVE),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        stderr.seek(0)
        said = stderr.read().decode(errors="replace")
    if status != 0:
        raise _refusal(options, socket, said)


def _refusal(options: SshOptions, socket: str, said: str) -> ConnectionFailed:
    """Why `ssh` did not make a connection, by what it has said."""
    alias = options.target.alias
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"]
    login = " ".join(options.target.command("-f", "-N", "-M", "-S", socket))
    if "IDENTIFICATION HAS CHANGED" in said:
        shown = re.search(r"SHA256:\S+", said)
        return known_hosts.changed(options, shown[0].rstrip(".") if shown else "another")
    if "Host key verification failed" in said:
        return HostKeyRefused(
            alias,
            f"its host key is not known; run `{login}` in a terminal and compare it with what the site says",
        )
    if "Permission denied" in said or "Too many authentication failures" in said:
        return LoginRefused(
            alias,
            f"it asks for a password, a passphrase or a code ({lines[-1]}), and this kind of connection "
            f"never does: run `{login}` in a terminal, then connect again",
        )
    if re.search(r"connect to host|resolve hostname", said):
        return Unreachable(alias, f"`ssh` could not connect ({lines[-1]}); check the network, or the name")
    if re.search(r"^(Connection (closed|reset)|Received disconnect|Disconnected from)", said, re.MULTILINE):
        return LoginBroken(alias, f"the connection ended during the login ({lines[-1]})")
    return ConnectionFailed(alias, f"`ssh` could not connect ({lines[-1]}); check the network, or the name")


def _own_socket(options: SshOptions) -> str:
    """A place for a master of ours; short, as the names of sockets have to be."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    folder = Path(base, f"mace-workbench-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ConnectionFailed(options.target.alias, f"{folder} can be used by others; remove it")
    told = f"{options.target} {options.user}@{options.hostname}:{options.port} {options.jumps}"
    return str(folder / hashlib.sha256(told.encode()).hexdigest()[:16])


class _OpensshLink:
    """Implements `agent_connection.Link` on a master connection."""

    def __init__(self, target: SshTarget, socket: str) -> None:
        self._target = target
        self._socket = socket

    async def alive(self) -> bool:
        """Whether there is a master that answers."""
        return await openssh_mux.answers(self._socket)

    async def start(self, shell_command: str) -> _OpensshPipe:
        """Have the login shell run a command."""
        if not await self.alive():
            raise LinkLost(self._target.alias, "its master connection has ended")
        # Where the master ends between now and then, `false` is what a new login would go through.
        only_master = (
            "-o",
            "ControlMaster=no",
            "-o",
            f"ControlPath={self._socket}",
            "-o",
            "ProxyCommand=false",
        )
        command = self._target.command("-T", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", *only_master)
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(
            lambda: asyncio.subprocess.SubprocessStreamProtocol(limit=_PIECE, loop=loop),
            *command,
            shell_command,
            start_new_session=True,
        )
        process = asyncio.subprocess.Process(transport, protocol, loop)
        return _OpensshPipe(self._target.alias, process, transport)

    def channel(self, host: str, port: int) -> AbstractAsyncContextManager[ByteStream]:
        """A channel of the master's; whether anything answers there is said by the agent, where none does."""
        return openssh_mux.channel(self._target.alias, self._socket, host, port)

    async def close(self) -> None:
        """The master is left, for the next time and for the user's terminals."""


class _OpensshPipe:
    """Implements `agent_session.Pipe`."""

    def __init__(
        self, host: str, process: asyncio.subprocess.Process, transport: asyncio.SubprocessTransport
    ) -> None:
        self._host = host
        self._process = process
        self._transport = transport
        self._said = bytearray()
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(_PIECE):
            self._said = (self._said + data)[-_TAIL:]
        await self._process.wait()

    async def read(self) -> bytes:
        """Some of its stdout; none at its end."""
        assert self._process.stdout is not None
        data = await self._process.stdout.read(_PIECE)
        if not data:
            # Of a master that was stopped, the other end is held open without end.
            await asyncio.wait([self._listening], timeout=_LAST_WORDS_S)
        return data

    async def write(self, data: bytes) -> None:
        """To its stdin, waiting while the other side is slow."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except OSError as error:
            raise LinkLost(self._host, self.said() or "the connection was lost") from error

    def close(self) -> None:
        """Let go of it."""
        # The master has been handed these pipes, and holds its ends of them as long as the link seems
        # to be there: their end is not waited for.
        self._transport.close()

    async def wait_closed(self) -> None:
        """Until nothing of it is left on this side."""
        await self._process.wait()
        await self._listening

    def said(self) -> str:
        """The end of its stderr."""
        return self._said.decode(errors="replace").strip()
