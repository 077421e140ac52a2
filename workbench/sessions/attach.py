"""Attaching: this terminal becomes one on the session's node, until one detaches or the link goes.

The bytes go over the connection that there is, so that no second login is needed whatever its kind.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib.resources
import os
import signal
import struct
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from workbench.errors import ConnectionFailed, NotAllowed
from workbench.model.session import Place
from workbench.ports import Connection, RemoteProcess
from workbench.sessions.pty_relay import HEADER

_PIECE = 1 << 16
# What the keyboard and the screen may have been set to: cursor shown, no mouse, no alternate screen.
_RESET = b"\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1049l\x1b[0m"


def argv_of(place: Place) -> Sequence[str]:
    """What attaches on the node itself.

    Raises:
        NotAllowed: There is nothing to attach to.
    """
    if place.shell == "tmux":
        return ["tmux", "-u", "-S", place.socket, "attach"]
    if place.shell == "screen":
        return ["env", f"SCREENDIR={place.socket}", "screen", "-x", "session"]
    raise NotAllowed(f"There is neither tmux nor screen on {place.node}: nothing can be attached to.")


async def on_terminal(connection: Connection, argv: Sequence[str]) -> int:
    """Run a command on this program's terminal, as if it ran here; its exit status."""
    env = {"TERM": os.environ.get("TERM", "xterm-256color"), "LANG": os.environ.get("LANG", "C.UTF-8")}
    rows, columns = _size()
    source = importlib.resources.files("workbench.sessions").joinpath("pty_relay.py").read_text()
    relay = ["python3", "-ISuc", source, str(rows), str(columns), *argv]
    async with connection.stream(relay, env=env) as process:
        with _raw():
            status = await _relayed(process)
    return status


async def _relayed(process: RemoteProcess) -> int:
    """Hand on what is typed, what is shown, and the size of the window, until the command ends."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Queue[bytes] = asyncio.Queue()
    keyboard = sys.stdin.fileno()

    def resized() -> None:
        rows, columns = _size()
        typed.put_nowait(_frame(b"W", f"{rows} {columns}".encode()))

    async def send() -> None:
        while True:
            await process.write(await typed.get())

    loop.add_reader(keyboard, lambda: typed.put_nowait(_frame(b"I", os.read(keyboard, _PIECE))))
    loop.add_signal_handler(signal.SIGWINCH, resized)
    sending = asyncio.ensure_future(send())
    try:
        async for data in process.stdout():
            _show(data)
        return (await process.wait()).exit_status
    finally:
        loop.remove_reader(keyboard)
        loop.remove_signal_handler(signal.SIGWINCH)
        sending.cancel()
        with suppress(asyncio.CancelledError, ConnectionFailed):
            await sending


def _frame(kind: bytes, payload: bytes) -> bytes:
    return HEADER.pack(kind, len(payload)) + payload


def _show(data: bytes) -> None:
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


def _size() -> tuple[int, int]:
    rows, columns, _, _ = struct.unpack(
        "HHHH", fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
    )
    return rows or 24, columns or 80


@contextmanager
def _raw() -> Iterator[None]:
    """Every key as it is, and the terminal as it was in the end, however it ends."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setraw(keyboard, termios.TCSANOW)  # what was typed ahead is for the shell
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        _show(_RESET)
