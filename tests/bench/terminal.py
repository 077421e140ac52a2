"""The real program in a real pseudo-terminal: what a person sees, and when."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[2]
_PATIENCE_S = 60.0


class Terminal:
    """`mace-workbench` as started by a person; times are counted from the start of its process."""

    def __init__(self, *arguments: str, env: Mapping[str, str], columns: int = 120, rows: int = 40) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workbench", *arguments],
            cwd=ROOT,
            env={**env, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def press(self, keys: str) -> float:
        """Type; the moment at which it was typed."""
        self.drain()
        os.write(self._master, keys.encode())
        return time.perf_counter()

    def drain(self) -> None:
        """Forget what is on its way, so that only what comes after a key can be its answer."""
        try:
            while select.select([self._master], [], [], 0)[0]:
                os.read(self._master, 1 << 20)
        except OSError as error:
            if error.errno != errno.EIO:  # the program has ended, and nothing is on its way
                raise

    def wait_for(self, *texts: str) -> float:
        """The moment at which one of the texts came in.

        Raises:
            AssertionError: It did not come.
        """
        wanted, seen = [text.encode() for text in texts], b""
        deadline = time.perf_counter() + _PATIENCE_S
        while time.perf_counter() < deadline:
            if select.select([self._master], [], [], 0.05)[0]:
                seen = seen[-200:] + os.read(self._master, 1 << 20)
                if any(text in seen for text in wanted):
                    return time.perf_counter()
        raise AssertionError(f"None of {texts} was drawn; the last was {seen[-2000:]!r}")

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._master)
