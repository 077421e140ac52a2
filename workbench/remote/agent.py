"""The far end of `AgentConnection`: runs commands and reads and writes files where it is started.

It travels as its own source text and is run by whatever Python 3.6 or later a host has, with nothing
installed. On its stdin and stdout it speaks frames (kind, task, length, payload). A task is one thing
asked for (payload: a JSON record); it has an input, an output and a result:

    to it:    Q begin a task   I input   E end of input   K end it now   C take so many more bytes   P ping
    from it:  S it has begun   O stdout  e stderr         T so much input is taken   X result   p pong

A reader that is slow holds up its own task and no other: no more than `WINDOW` bytes of a task are ever
under way in either direction. When stdin ends, or nothing has come for `SILENCE_S`, every command ends:
nothing is left on the host, not even by those who start it and die without closing its stdin (`srun` does).
"""
# Python 3.6 has to read this, and has no `strict=`:
# ruff: noqa: UP031, SIM105, B905, PTH102, PTH103, PTH104, PTH105, PTH108, PTH111, PTH112, PTH118, PTH120

import errno
import json
import os
import queue
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from typing import IO, Any, Callable, Iterable  # noqa: UP035 -- not in collections.abc then

HEADER = struct.Struct(">cII")
WINDOW = 1 << 20
PIECE = 1 << 16
DRAIN_S = 2.0
GRACE_S = 1.0
SILENCE_S = 120.0
NOT_STARTED, NOT_FOUND = 126, 127


class Cancelled(Exception):
    """Nobody waits for this task any more."""


class Task:
    """One thing that is being done."""

    def __init__(self, agent: "Agent", number: int) -> None:
        self.agent = agent
        self.number = number
        self.input = queue.Queue()  # type: queue.Queue[bytes | None]
        self.cancelled = threading.Event()
        self.doing = None  # type: threading.Thread | None
        self.credit = WINDOW
        self.credited = threading.Condition()

    def send(self, kind: bytes, data: bytes = b"") -> None:
        """Say something about this task."""
        self.agent.send(kind, self.number, data)

    def put(self, kind: bytes, data: bytes) -> None:
        """Send output, once the other side has room for it."""
        with self.credited:
            while self.credit <= 0 and not self.cancelled.is_set():
                self.credited.wait()
            self.credit -= len(data)
        if not self.cancelled.is_set():
            self.send(kind, data)

    def more(self, credit: int) -> None:
        """The other side has room for more."""
        with self.credited:
            self.credit += credit
            self.credited.notify_all()

    def get(self) -> bytes:
        """The next piece of input; none at its end."""
        data = self.input.get()
        if self.cancelled.is_set():
            raise Cancelled
        if data is None:
            return b""
        self.send(b"T", str(len(data)).encode())
        return data

    def cancel(self) -> None:
        """Have it end."""
        self.cancelled.set()
        self.more(0)
        self.input.put(None)


class Agent:
    """Reads what is asked for and has it done, everything at the same time."""

    def __init__(self, source: "IO[bytes]", sink: "IO[bytes]") -> None:
        self.source = source
        self.sink = sink
        self.sending = threading.Lock()
        self.heard = threading.Event()
        self.tasks = {}  # type: dict[int, Task]

    def send(self, kind: bytes, number: int, data: bytes) -> None:
        """Send one frame."""
        try:
            with self.sending:
                self.sink.write(HEADER.pack(kind, number, len(data)) + data)
                self.sink.flush()
        except OSError:
            pass  # nobody listens any more: stdin ends as well

    def serve(self) -> None:
        """Until stdin ends, or the other side is silent."""
        listening = start(self.listen)
        while listening.is_alive() and self.heard.wait(SILENCE_S):
            self.heard.clear()
            listening.join(1.0)
        left = list(self.tasks.values())
        for task in left:
            task.cancel()
        for task in left:
            if task.doing is not None:
                task.doing.join(DRAIN_S)

    def listen(self) -> None:
        """Until stdin ends."""
        while True:
            header = self.source.read(HEADER.size)
            self.heard.set()
            if len(header) < HEADER.size:
                break
            kind, number, length = HEADER.unpack(header)
            self.take(kind, number, self.source.read(length))

    def take(self, kind: bytes, number: int, data: bytes) -> None:
        """One frame."""
        if kind == b"P":
            self.send(b"p", 0, b"")
        elif kind == b"Q":
            new = self.tasks[number] = Task(self, number)
            new.doing = start(self.do, new, json.loads(data.decode()))
        else:
            task = self.tasks.get(number)
            if task is None:
                pass  # it has ended in the meantime
            elif kind == b"I":
                task.input.put(data)
            elif kind == b"E":
                task.input.put(None)
            elif kind == b"C":
                task.more(int(data))
            elif kind == b"K":
                task.cancel()

    def do(self, task: Task, asked: "dict[str, Any]") -> None:
        """A task from its beginning to its end."""
        result = {"errno": "", "said": "it could not be done, for a reason that was not foreseen"}  # type: dict[str, object]
        try:
            result = TASKS[asked.pop("do")](task, **asked)
        except OSError as error:
            result = {
                "errno": errno.errorcode.get(error.errno or 0, ""),
                "said": error.strerror or str(error),
            }
        except Cancelled:
            result = {}
        finally:
            del self.tasks[task.number]
            task.send(b"X", json.dumps(result).encode())
            task.cancel()  # lets go of the threads that wait for that


def start(work: "Callable[..., object]", *args: object) -> threading.Thread:
    """Have it done at the same time."""
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


def at_home(path: str) -> str:
    """A path that may be relative to the home folder."""
    return os.path.join(os.path.expanduser("~"), path)


# -- commands --------------------------------------------------------------------------------------


def run(task: Task, argv: "list[str]", cwd: str, env: "dict[str, str]", stdin: bool) -> "dict[str, object]":
    """A command, to its end or to that of the wait for it."""
    folder = at_home(cwd)
    if not os.path.isdir(folder):
        return not_started(NOT_STARTED, "there is no folder %s to run in" % folder)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=dict(os.environ, **env),
            start_new_session=True,
        )
    except FileNotFoundError:
        return not_started(NOT_FOUND, "%s: command not found" % argv[0])
    except (OSError, ValueError) as error:
        return not_started(NOT_STARTED, "%s: %s" % (argv[0], getattr(error, "strerror", None) or error))
    task.send(b"S")
    pumps = [start(pump, task, b"O", process.stdout), start(pump, task, b"e", process.stderr)]
    ending = start(end_group, task, process, pumps)
    if stdin:
        start(feed, task, process.stdin)
    process.wait()
    for pumping in pumps:
        while pumping.is_alive():
            pumping.join(DRAIN_S if task.cancelled.is_set() else 0.05)
            if task.cancelled.is_set():
                break
    if task.cancelled.is_set():
        ending.join()  # of its children some may be left
    return {"status": process.returncode}


def not_started(status: int, sentence: str) -> "dict[str, object]":
    """What a shell would have answered."""
    return {"status": status, "not_started": sentence}


def pump(task: Task, kind: bytes, pipe: "IO[bytes]") -> None:
    """Output of a command, as it comes."""
    while True:
        data = os.read(pipe.fileno(), PIECE)
        if not data:
            break
        task.put(kind, data)
    pipe.close()


def feed(task: Task, pipe: "IO[bytes]") -> None:
    """Input of a command; what it does not read any more is dropped."""
    try:
        while True:
            data = task.get()
            if not data:
                break
            pipe.write(data)
            pipe.flush()
        pipe.close()
    except (Cancelled, OSError):
        pass


def end_group(task: Task, process: "subprocess.Popen[bytes]", pumps: "list[threading.Thread]") -> None:
    """End a command and all that it has started, once nobody waits for it any more."""
    task.cancelled.wait()
    try:
        if process.poll() is None or any(pumping.is_alive() for pumping in pumps):
            os.killpg(process.pid, signal.SIGTERM)  # what it has elsewhere, as srun has, it ends by itself
            until = time.monotonic() + GRACE_S
            while time.monotonic() < until and (process.poll() is None or any(p.is_alive() for p in pumps)):
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


# -- files -----------------------------------------------------------------------------------------


def read(task: Task, path: str, offset: int, most: "int | None") -> "dict[str, object]":
    """Part of a file."""
    # Not to wait for a writer, where the path is a named pipe.
    fd = os.open(at_home(path), os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(fd, "rb", buffering=0) as file:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        left = max(0, status.st_size - offset)
        left = left if most is None else min(left, most)
        file.seek(offset)
        while left:
            data = file.read(min(left, PIECE))
            if not data:
                break
            left -= len(data)
            task.put(b"O", data)
        return {"size": file.seek(0, os.SEEK_END)}


def write(task: Task, path: str, mode: int, part: str) -> "dict[str, object]":
    """A file, under another name until all of it is there."""
    path = at_home(path)
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    part = os.path.join(folder, part)
    try:
        write_new(part, mode, iter(task.get, b""))
        sync(part)
        os.replace(part, path)
    except BaseException:
        if os.path.lexists(part):
            os.unlink(part)
        raise
    sync(folder)
    return {}


def put_tree(
    task: Task, folder: str, names: "list[str]", sizes: "list[int]", part: str
) -> "dict[str, object]":
    """A folder of files, under another name until all of it is there."""
    folder = at_home(folder)
    if os.path.isdir(folder):
        return {}
    parent = os.path.dirname(folder)
    os.makedirs(parent, exist_ok=True)
    part = os.path.join(parent, part)
    task.send(b"S")
    try:
        os.mkdir(part)
        held = bytearray()
        for name, size in zip(names, sizes):
            while len(held) < size:
                data = task.get()
                if not data:
                    raise Cancelled
                held += data
            path = os.path.join(part, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_new(path, 0o644, [bytes(held[:size])])
            del held[:size]
        for name in names:  # afterwards, so that the file system can take them all together
            sync(os.path.join(part, name))
        try:
            os.rename(part, folder)
        except OSError as error:
            # Another has put the same folder there in the meantime.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    sync(parent)
    return {}


def write_new(path: str, mode: int, pieces: "Iterable[bytes]") -> None:
    """A file that is not there yet."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(fd, "wb") as file:
        for data in pieces:
            file.write(data)
        os.fchmod(fd, mode)  # whatever the umask


def sync(path: str) -> None:
    """Return once a file, or what a folder lists, is on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# -- channels --------------------------------------------------------------------------------------


def connect(task: Task, host: str, port: int) -> "dict[str, object]":
    """A TCP connection from here."""
    link = socket.create_connection((host, port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    task.send(b"S")
    start(hang_up, task, link)
    sending = start(forward, task, link)
    try:
        while True:
            data = link.recv(PIECE)
            if not data:
                break
            task.put(b"O", data)
        task.send(b"O", b"")
        sending.join()
    finally:
        link.close()
    return {}


def forward(task: Task, link: socket.socket) -> None:
    """What is sent to the other end of a TCP connection."""
    try:
        while True:
            data = task.get()
            if not data:
                break
            link.sendall(data)
        link.shutdown(socket.SHUT_WR)
    except (Cancelled, OSError):
        pass


def hang_up(task: Task, link: socket.socket) -> None:
    """End a TCP connection, once nobody wants it any more."""
    task.cancelled.wait()
    try:
        link.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


TASKS: "dict[str, Callable[..., dict[str, object]]]" = {
    "run": run,
    "read": read,
    "write": write,
    "put_tree": put_tree,
    "connect": connect,
}


def main(token: str) -> None:
    """Say that it is there, and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What is started here must never write into the frames.
    sink = os.fdopen(os.dup(1), "wb", 1 << 17)
    os.dup2(2, 1)
    sink.write(token.encode() + b" here\n")
    sink.flush()
    Agent(sys.stdin.buffer, sink).serve()
    os._exit(0)
