"""The hop into a node: a connection to a host that only another one reaches, and only inside a job.

It is a connection like any other (`AgentConnection`), whose link is a command that runs on the login node:
`ssh`, which most sites allow into a node on which one has a job; else a step inside the job (`srun
--overlap`), which needs no login of its own but takes some 40 ms for an answer, as Slurm hands on what the
step says. One such command serves every channel.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from workbench.errors import CommandFailed, ConnectionFailed, LinkLost
from workbench.ports import Connection, RemoteProcess
from workbench.remote.agent_connection import AgentConnection

_PING_S = 5.0
"""A node that dies takes its job with it, which comes up on another: that is to be noticed soon."""


def by_step(login: Connection, job_id: str, node: str, *, ping_s: float = _PING_S) -> AgentConnection:
    """A connection to where a job runs, as a step of it."""
    # Otherwise Slurm hands on whole lines only, and the agent speaks in none.
    how = ("--overlap", f"--jobid={job_id}", "--nodes=1", "--ntasks=1", "--mem=0", "--unbuffered")
    # A job that does not run yet would be waited for.
    return AgentConnection(node, _HopLink(login, ["srun", "--immediate=10", *how]), ping_s=ping_s)


def by_ssh(login: Connection, node: str, *, ping_s: float = _PING_S) -> AgentConnection:
    """A connection to a node on which a job of the user's runs, by ssh from the login node."""
    options = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR")
    return AgentConnection(node, _HopLink(login, ["ssh", *options, node], quoted=True), ping_s=ping_s)


class _HopLink:
    """Implements `agent_connection.Link` by a command on another host."""

    def __init__(self, login: Connection, argv: Sequence[str], *, quoted: bool = False) -> None:
        self._login = login
        self._argv = argv
        self._quoted = quoted
        self._pipes: list[_HopPipe] = []

    async def start(self, shell_command: str) -> _HopPipe:
        """Have a shell on the node run a command."""
        command = [shell_command] if self._quoted else ["sh", "-c", shell_command]
        pipe = _HopPipe(self._login, [*self._argv, *command])
        await pipe.begin()
        self._pipes.append(pipe)
        return pipe

    def channel(self, host: str, port: int) -> None:
        """None: there is nothing but the command's stdin and stdout."""

    async def close(self) -> None:
        """End the commands."""
        for pipe in self._pipes:
            pipe.close()
            await pipe.wait_closed()


class _HopPipe:
    """Implements `agent_session.Pipe`."""

    def __init__(self, login: Connection, argv: Sequence[str]) -> None:
        self._login = login
        self._argv = argv
        self._said = ""
        self._running: asyncio.Task[None] | None = None
        self._begun: asyncio.Future[RemoteProcess] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        self._output: AsyncIterator[bytes] | None = None

    async def begin(self) -> None:
        """Start the command."""
        # A task of its own, for a context has to be left by the task that has entered it.
        self._running = asyncio.create_task(self._run())
        try:
            self._output = (await asyncio.shield(self._begun)).stdout()
        except BaseException:
            self.close()
            raise

    async def _run(self) -> None:
        try:
            async with self._login.stream(self._argv) as process:
                self._begun.set_result(process)
                await self._closing.wait()
        except (ConnectionFailed, CommandFailed) as error:
            self._said = str(error)
            if not self._begun.done():
                self._begun.set_exception(ConnectionFailed(self._login.host, self._said))

    async def read(self) -> bytes:
        """Some of its stdout; none at its end."""
        assert self._output is not None
        try:
            return await anext(self._output)
        except StopAsyncIteration:
            with suppress(ConnectionFailed):
                done = await self._begun.result().wait()
                self._said = done.stderr.decode(errors="replace").strip()
            return b""

    async def write(self, data: bytes) -> None:
        """To its stdin, waiting while the other side is slow."""
        if self._closing.is_set():
            raise LinkLost(self._login.host, "the way into the node was closed")
        await self._begun.result().write(data)

    def close(self) -> None:
        """Let go of it."""
        self._closing.set()

    async def wait_closed(self) -> None:
        """Until nothing of it is left on this side."""
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)

    def said(self) -> str:
        """The end of its stderr."""
        return self._said
