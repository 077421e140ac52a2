"""EventWriter: the one appender of a run's `events.jsonl`.

The file only ever grows, so that whoever follows it by byte offset is never misled. A process that
is killed in the middle of a line leaves a torn line behind; the next attempt ends that line with a
newline, which makes it a line that is no event, and goes on after it with the next `seq`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from jobs.protocol import Body, Event, decode, encode

_BLOCK = 1 << 16
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""Some network file systems offer no locks; there the scheduler alone keeps attempts apart."""


class WriterBusy(RuntimeError):
    """Another process is writing these events."""


class EventWriter:
    """Appends events to a file, each in one write, numbered on from what the file already holds."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Open `path`, mend its last line if it is torn, and take the next attempt's number.

        Raises:
            WriterBusy: Another process is writing these events.
            OSError: The file cannot be written.
        """
        self._clock = clock
        self._writing = threading.Lock()  # the resource sampler writes from a thread of its own
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            self._lock(path)
            last = self._last_event()
            self._torn = self._ends_torn()
        except BaseException:
            os.close(self._fd)
            raise
        self._seq = last.seq if last else 0
        self.attempt = last.attempt + 1 if last else 1

    def emit(self, body: Body, *, durable: bool = False) -> Event:
        """Append one event; `durable` returns only once it is on the disk.

        Raises:
            OSError: The disk is full or the file is gone; nothing that was written before is lost.
        """
        with self._writing:
            # A number is never given twice, even where a write fails after its last byte.
            self._seq += 1
            event = Event(self._seq, self.attempt, self._clock(), body)
            rest = (b"\n" if self._torn else b"") + encode(event)
            self._torn = True
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            self._torn = False
            if durable:
                os.fsync(self._fd)
        return event

    def close(self) -> None:
        """Let go of the file and of its lock."""
        os.close(self._fd)

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lock(self, path: Path) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WriterBusy(
                f"{path} is being written by another process: this run is already going."
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                raise

    def _ends_torn(self) -> bool:
        size = os.fstat(self._fd).st_size
        return size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"

    def _last_event(self) -> Event | None:
        """The last whole event in the file, looked for from its end."""
        start = os.fstat(self._fd).st_size
        rest = b""
        while start > 0:
            length = min(_BLOCK, start)
            start -= length
            first, *lines = (os.pread(self._fd, length, start) + rest).split(b"\n")
            for line in reversed(lines):
                event = decode(line)
                if event is not None:
                    return event
            rest = first
        return decode(rest)
