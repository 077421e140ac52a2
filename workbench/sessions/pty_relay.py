"""The far end of an attached terminal: a command on a pseudo-terminal, behind two plain pipes.

It travels as its own source text, for whatever Python 3.6 or later a host has. On stdin it reads frames
(kind, length, payload): `I` what was typed, `W` the size of the window as `rows columns`. What the command
writes comes out as it is. When stdin ends, the terminal hangs up, as when one closes its window.
"""
# Python 3.6 has to read this:
# ruff: noqa: UP031, SIM105

import errno
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios

HEADER = struct.Struct(">cI")
PIECE = 1 << 16


def resize(terminal: int, rows: int, columns: int) -> None:
    """Tell the command how large its window is."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def main(rows: int, columns: int, argv: "list[str]") -> int:
    """Run a command to its end, or to that of stdin; its exit status, as a shell has it."""
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            # The size first, so that the command never draws for another.
            resize(0, rows, columns)
            os.execvp(argv[0], argv)
        except OSError as error:
            os.write(2, ("%s: %s\r\n" % (argv[0], error.strerror)).encode())
        os._exit(127)
    try:
        relay(terminal)
    finally:
        os.close(terminal)
        try:
            os.kill(pid, signal.SIGHUP)
        except ProcessLookupError:
            pass
    _, status = os.waitpid(pid, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def relay(terminal: int) -> None:
    """Both directions, until one of them ends."""
    held = b""
    while True:
        ready, _, _ = select.select([0, terminal], [], [])
        if terminal in ready:
            try:
                data = os.read(terminal, PIECE)
            except OSError as error:
                if error.errno != errno.EIO:  # how Linux says that nobody has the terminal open any more
                    raise
                data = b""
            if not data:
                return
            write(1, data)
        if 0 in ready:
            data = os.read(0, PIECE)
            if not data:
                return
            held = take(terminal, held + data)


def take(terminal: int, held: bytes) -> bytes:
    """Do what whole frames ask for; what is left of them."""
    while len(held) >= HEADER.size:
        kind, length = HEADER.unpack(held[: HEADER.size])
        end = HEADER.size + length
        if len(held) < end:
            break
        payload, held = held[HEADER.size : end], held[end:]
        if kind == b"I":
            write(terminal, payload)
        elif kind == b"W":
            rows, columns = payload.split()
            resize(terminal, int(rows), int(columns))
    return held


def write(fd: int, data: bytes) -> None:
    """All of it."""
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
