"""A pseudo-terminal with a real program on it, and a screen to read what it shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType

from tests.waiting import until

_CONTROL = re.compile(
    rb"\x1b\[[0-9;?>=]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][A-Z0-9]|\x1b[=>78c]"
)


def _take_terminal() -> None:
    """In the program: hear when the terminal goes, even where the tests themselves do not (`nohup`)."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Terminal:
    """A program on a terminal of its own."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], *, cwd: str | os.PathLike[str] = "/"
    ) -> None:
        self._master, slave = pty.openpty()
        self.resize(24, 80)
        self.shown = b""
        self.process = subprocess.Popen(
            argv,
            env={**env, "TERM": "xterm-256color"},
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(slave)
        os.set_blocking(self._master, False)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        with suppress(OSError):
            os.close(self._master)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def hang_up(self) -> None:
        """What closing the window does."""
        os.close(self._master)

    def text(self) -> str:
        """All that was shown, without what moves the cursor and colours it."""
        with suppress(BlockingIOError, OSError):
            while data := os.read(self._master, 1 << 16):
                self.shown += data
        return _CONTROL.sub(b"", self.shown).decode(errors="replace")

    async def shows(self, words: str, *, times: int = 1) -> None:
        """Wait until it does."""

        async def ask() -> str:
            return self.text()

        await until(ask, lambda text: text.count(words) >= times)

    async def ended(self) -> int:
        """Wait for the end of the program; its exit status."""

        async def over() -> bool:
            self.text()  # or it would wait for somebody to read
            return self.process.poll() is not None

        await until(over)
        return self.process.wait()
