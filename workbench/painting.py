"""Painting: a process of its own builds the charts, so that no key shares its interpreter with plotext."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from rich.style import Style
    from textual.strip import Strip
    from textual_plotext.plot import Plot

_PATIENCE_S = 10.0
"""A picture takes some 30 ms: a painter that has taken so long is given up."""
_MOST_STARTS = 3
_NICE = 5
_LOG = logging.getLogger(__name__)


class Painter:
    """Has pictures built beside this process; until that is ready, and wherever it fails, builds them here.

    The other process ends by itself with this one, however that ends: its pipe has no other end then.
    """

    def __init__(self) -> None:
        self._one_by_one = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._starts = 0
        self.is_apart = False
        """Whether the other process takes pictures."""

    def paint(self, plot: Plot, style: Style) -> list[Strip]:
        """Build a picture; this takes its time, in a thread."""
        with self._one_by_one:
            try:
                if self._is_ready():
                    return self._ask(plot, style)
            except (OSError, EOFError) as error:
                _LOG.warning("the process that builds charts was lost (%s)", error or "it has ended")
                self.close()
        return _build(plot, style)

    def close(self) -> None:
        """Let go of the other process."""
        if self._process is not None and self._pipe is not None:
            self._process.kill()
            self._process.wait()
            self._pipe.close()
        self._process, self._pipe, self.is_apart = None, None, False

    def _is_ready(self) -> bool:
        if self._pipe is None and self._starts < _MOST_STARTS:
            self._starts += 1
            self._process, self._pipe = _start()
        if self._pipe is not None and not self.is_apart and self._pipe.poll():
            self.is_apart = self._pipe.recv()
        return self.is_apart

    def _ask(self, plot: Plot, style: Style) -> list[Strip]:
        assert self._pipe is not None
        self._pipe.send((plot, style))
        if not self._pipe.poll(_PATIENCE_S):
            raise TimeoutError(f"no picture within {_PATIENCE_S:g} s")
        picture: list[Strip] = self._pipe.recv()
        return picture


def _start() -> tuple[subprocess.Popen[bytes], Connection]:
    from multiprocessing import Pipe

    near, far = Pipe()
    with far:
        process = subprocess.Popen(
            [sys.executable, "-m", "workbench.painting", str(far.fileno())],
            cwd=Path(__file__).parent.parent,
            pass_fds=[far.fileno()],
            start_new_session=True,  # the terminal's signals are not for it
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    return process, near


def _build(plot: Plot, style: Style) -> list[Strip]:
    from workbench.widgets.chart import build  # with plotext, which the first frame does not wait for

    return build(plot, style)


def _serve(number: int) -> None:
    """Paint whatever is asked for until nobody is left who could ask."""
    from multiprocessing.connection import Connection

    import workbench.widgets.chart  # noqa: F401  # so that the first picture comes at once

    near = Connection(number)
    near.send(True)
    while True:
        try:
            plot, style = near.recv()
            near.send(_build(plot, style))
        except (EOFError, ConnectionError):
            return


if __name__ == "__main__":
    os.nice(_NICE)
    _serve(int(sys.argv[1]))
