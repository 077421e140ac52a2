"""Leaving a supervisor behind: a process that no parent, terminal or connection takes along."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
import traceback
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from jobs.detach.record import LOCK_FILE, LOG_FILE, Record, Refused, sentence
from jobs.detach.supervisor import Supervisor

_MOST_FILES = 1024
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Keep others from starting the same job; a supervisor that is being started holds on as well."""
    fd = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:
            raise
    try:
        yield fd
    finally:
        os.close(fd)


def detach(folder: Path, state: Record, lock: int) -> None:
    """Leave a supervisor behind; returns once `state.json` names it."""
    answer, say = os.pipe()
    sys.stdout.flush()
    first = os.fork()
    if first == 0:
        _become_supervisor(folder, state, say, keep={lock, say})
    os.close(say)
    os.waitpid(first, 0)
    with os.fdopen(answer, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    if said != "ready":
        raise Refused(said or f"The supervisor ended before it had begun; {folder / LOG_FILE} may say why.")


def _become_supervisor(folder: Path, state: Record, say: int, keep: set[int]) -> NoReturn:
    """Fork once more, so that nobody is its parent and no terminal can become its own."""
    try:
        os.setsid()
        if os.fork() == 0:
            try:
                _standard_streams(folder)
                # An end of a pipe that is kept open keeps its reader waiting.
                for below, above in pairwise(sorted({2, *keep, _MOST_FILES})):
                    os.closerange(below + 1, above)
                supervisor = Supervisor(folder, state)
                supervisor.enqueue()
                with contextlib.suppress(BrokenPipeError):  # whoever asked was killed meanwhile
                    os.write(say, b"ready")
            except OSError as error:
                os.write(
                    say, f"The job in {folder} cannot be started: {sentence(error)}.".encode(errors="replace")
                )
                os._exit(1)
            for fd in keep:
                os.close(fd)
            supervisor.run()
    except BaseException:  # noqa: BLE001  # the top of a process: what went wrong goes to the run's log
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _standard_streams(folder: Path) -> None:
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
