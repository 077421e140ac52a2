"""Runs jobs apart from whoever started them, on hosts that have no scheduler.

    python -I -S jobs/detach.py submit | requeue | status | cancel     (JSON in, JSON lines out)

A job is a folder with a `run.sh`. `submit` writes that script and leaves behind a supervisor: a process
in a session of its own, which no terminal, connection or parent takes along when it ends. It waits for
its turn, runs the script in a process group, ends the group when the time limit is reached or when it
is asked to, and writes `exit.json`.

    run.sh        what runs: environment and command, so that a person can run it again
    stdout.log    its standard output and error, of all attempts
    state.json    the newest attempt: who supervises it and, once it runs, which process it is
    exit.json     how an attempt ended; where it is of an older attempt than `state.json`, it is history
    cancel        asks the supervisor of the attempt that it names to end it

Nothing but files and processes is held anywhere, and every process is recognised by its number, its
start and the boot of its host together. So whatever is killed at whatever moment, `status` finds out:
an attempt without supervisor and without `exit.json` is lost, and what still runs of it is ended.

The queue is a folder of numbered links to the folders of jobs that wait or run. A job may run when at
most `slots` - 1 links of live jobs stand before its own; those of dead ones stand in nobody's way.

It is one module, and long, because hosts run it as a script, without site packages: so it starts in
20 ms, and only the standard library is at hand.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import select
import shlex
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

STATE_FILE, EXIT_FILE, CANCEL_FILE = "state.json", "exit.json", "cancel"
SCRIPT_FILE, LOG_FILE, LOCK_FILE = "run.sh", "stdout.log", ".submit.lock"
RUN_VARIABLE = "MACE_WORKBENCH_RUN"
"""In the environment of every process of a run: its folder."""

_TICK_S = 1.0
"""How often a supervisor looks for `cancel`, where no signal told it (asked for on another host)."""
_NEXT_TICK_S = 0.1
"""How often the first that waits looks whether a slot is free."""
_GONE_S = 5.0
"""How long processes may take to vanish after SIGKILL."""
_RETRY_S = (1.0, 30.0)
"""Between two attempts to write the end of a run to a full disk: at first, and at most."""
_HAS_PROC = Path("/proc/self/stat").exists()
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}

RECORD_VERSION = 1
Record = dict[str, Any]


class Refused(Exception):
    """What was asked cannot be done; says why."""


# -- processes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """One process, told apart from any other that has or will have the same number."""

    pid: int
    start: str
    """When it started, in the kernel's words."""
    boot: str
    host: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this number now."""
        return cls(pid, _start_of(pid), _boot(), os.uname().nodename)

    @property
    def is_alive(self) -> bool:
        """Whether it is running on this host."""
        return self.boot == _boot() and _start_of(self.pid) == self.start != ""

    @property
    def is_elsewhere(self) -> bool:
        """Whether it ran on another host, of which nothing can be known here."""
        return self.boot != _boot() and self.host != os.uname().nodename


def _start_of(pid: int) -> str:
    """When a process started; empty where it is gone or has ended and only waits to be collected."""
    if _HAS_PROC:
        fields = _stat_fields(pid)
        return "" if not fields or fields[0] in "ZX" else fields[19]
    said = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return "" if len(said) < 2 or said[0].startswith("Z") else said[1].strip()


def _stat_fields(pid: int) -> list[str]:
    """`/proc/PID/stat` from the third field (the state) on; the second may hold spaces and brackets."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _boot() -> str:
    """What changes with every start of this host."""
    if _HAS_PROC:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return subprocess.run(
        ["sysctl", "-n", "kern.boottime"], capture_output=True, text=True, check=False
    ).stdout.strip()


def _members(group: int) -> list[int]:
    """The living processes of a process group."""
    if _HAS_PROC:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                fields = _stat_fields(int(entry.name))
                if fields and fields[2] == str(group) and fields[0] not in "ZX":
                    found.append(int(entry.name))
        return found
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=False
    ).stdout
    rows = (line.split() for line in listing.splitlines())
    return [int(row[0]) for row in rows if len(row) == 3 and row[1] == str(group) and row[2][0] != "Z"]


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


# -- files -----------------------------------------------------------------------------------------


def _save(path: Path, data: str, mode: int = 0o644) -> None:
    """Put a file in place whole; never makes its folder, which somebody may have removed on purpose."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _save_record(path: Path, record: Record) -> None:
    _save(path, json.dumps(record, indent=1) + "\n")


def _load(path: Path) -> Record | None:
    """A record, or None where there is none that is whole."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(record, dict) and record.get("v") == RECORD_VERSION
    return record if known and isinstance(record.get("attempt"), int) else None


def _script(folder: Path, argv: Sequence[str], env: Mapping[str, str]) -> str:
    """`run.sh`: what is run, in words that a shell and a person understand."""
    for name in env:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise Refused(f"{name!r} cannot be the name of a variable in the environment: rename it.")
    lines = ["#!/bin/sh", f"cd {shlex.quote(str(folder))} || exit 1"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
    lines.append(f"exec {shlex.join(argv)}")
    script = "\n".join(lines) + "\n"
    try:
        script.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise Refused("The command or its environment holds text that is not valid Unicode.") from None
    if "\0" in script:
        raise Refused("The command or its environment holds a NUL byte, which no program can be given.")
    return script


# -- the queue -------------------------------------------------------------------------------------


def _tickets(queue: Path) -> list[int]:
    """The numbers that are given out, in order."""
    try:
        return sorted(int(entry.name) for entry in queue.iterdir() if entry.name.isdigit())
    except FileNotFoundError:
        return []


def _take_ticket(queue: Path, folder: Path) -> Path:
    """A link to `folder` with a number above all others, whoever else takes one at the same moment."""
    queue.mkdir(parents=True, exist_ok=True)
    while True:
        number = max(_tickets(queue), default=0) + 1
        ticket = queue / f"{number:08d}"
        try:
            ticket.symlink_to(folder)
        except FileExistsError:
            continue
        if _tickets(queue)[-1] == number:
            return ticket
        # Another went past between the look and the link: this one must not slip in before it.
        ticket.unlink()


def _queued(queue: Path) -> Iterator[tuple[Path, Path]]:
    """Every ticket with the folder that it stands for, in order."""
    for number in _tickets(queue):
        ticket = queue / f"{number:08d}"
        with contextlib.suppress(OSError):  # it has just left
            yield ticket, ticket.readlink()


def _before(queue: Path, folder: Path, most: int) -> int:
    """How many live jobs stand before the one in `folder`, counted up to `most`."""
    count = 0
    for ticket, other in _queued(queue):
        if count >= most or other == folder:
            break
        if _is_live(other):
            count += 1
        else:
            ticket.unlink(missing_ok=True)
    return count


def _is_live(folder: Path) -> bool:
    """Whether the job in `folder` has a supervisor; what a dead one left running is ended."""
    state = _load(folder / STATE_FILE)
    if state is None:
        return False
    if Process(**state["supervisor"]).is_alive:
        return True
    _end_orphans(folder, state)
    return False


def _end_orphans(folder: Path, state: Record) -> bool:
    """End what still runs of an attempt whose supervisor is gone; whether there was anything."""
    child = state.get("child")
    if child is None or child["boot"] != _boot():
        return False
    leader = Process(**child)
    if leader.is_alive or any(_runs_in(pid, folder) for pid in _members(leader.pid)):
        _signal_group(leader.pid, signal.SIGKILL)
        _wait_until(lambda: not _members(leader.pid), _GONE_S)
        return True
    return False


def _runs_in(pid: int, folder: Path) -> bool:
    """Whether a process belongs to the run in `folder`, by its environment."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"{RUN_VARIABLE}=".encode() + os.fsencode(folder) in environment


# -- the supervisor --------------------------------------------------------------------------------


class Supervisor:
    """Takes one attempt of one job from the queue to its end."""

    def __init__(self, folder: Path, state: Record) -> None:
        self._folder = folder
        self._state = state
        self._queue = Path(state["queue"])
        self._terminated = False
        self._wake, waker = os.pipe()
        for fd in (self._wake, waker):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)

    def enqueue(self) -> None:
        """Say in `state.json` who supervises the job, and take a place in the queue."""
        self._state.update(state="PENDING", supervisor=vars(Process.of(os.getpid())))
        # First this: a ticket whose job has no living supervisor is thrown away by the others.
        _save_record(self._folder / STATE_FILE, self._state)
        try:
            for ticket, folder in _queued(self._queue):
                if folder == self._folder:  # of an earlier attempt that was killed
                    ticket.unlink(missing_ok=True)
            self._ticket = _take_ticket(self._queue, self._folder)
        except OSError:
            (self._folder / STATE_FILE).unlink()
            raise

    def run(self) -> None:
        """Wait, run, and write down the end."""
        try:
            end = self._wait_for_slot() or self._attempt()
        finally:
            self._ticket.unlink(missing_ok=True)
        self._write_end({**_named(self._state), "ended_at": time.time(), **end})

    def _on_terminate(self, *_: object) -> None:
        self._terminated = True

    def _pause(self, seconds: float) -> None:
        """Until a signal comes, and no longer than that."""
        if select.select([self._wake], [], [], max(0.0, seconds))[0]:
            os.read(self._wake, 4096)

    def _asked_to_end(self) -> Record | None:
        """The end that was asked for, if any."""
        with contextlib.suppress(OSError):
            asked = (self._folder / CANCEL_FILE).read_text(encoding="ascii", errors="replace").strip()
            if asked == str(self._state["attempt"]):
                return {"state": "CANCELLED", "reason": "cancelled"}
        if self._terminated:
            reason = "ended from outside by SIGTERM: the host shut down, or somebody ended the supervisor"
            return {"state": "CANCELLED", "reason": reason}
        if not (self._folder / STATE_FILE).exists():
            return {"state": "CANCELLED", "reason": "its folder was removed"}
        return None

    def _wait_for_slot(self) -> Record | None:
        """Until it may run; the end, if that comes first."""
        slots = self._state["slots"]
        while True:
            end = self._asked_to_end()
            if end is not None:
                return end
            before = _before(self._queue, self._folder, slots + 1)
            if before < slots:
                return None
            self._pause(_NEXT_TICK_S if before == slots else _TICK_S)

    def _attempt(self) -> Record:
        """Run the script to its end."""
        kills = _oom_kills()
        child, gate = _spawn(self._folder)
        started = time.monotonic()
        self._state.update(state="RUNNING", started_at=time.time(), child=vars(Process.of(child)))
        try:
            # The child waits at the gate: it never runs without being known.
            _save_record(self._folder / STATE_FILE, self._state)
            os.write(gate, b"!")
        except OSError as error:
            os.close(gate)
            os.waitpid(child, 0)
            return {"state": "FAILED", "reason": f"it could not be started: {_sentence(error)}"}
        os.close(gate)
        end, code = self._watch(child, started + self._state["time_limit_s"])
        end = end or _end_by_itself(code, out_of_memory=_oom_kills() > kills)
        return {"started_at": self._state["started_at"], "exit_code": code, **end}

    def _watch(self, child: int, deadline: float) -> tuple[Record | None, int]:
        """Wait until the child and its group are gone; the end that it was brought to, and its exit code."""
        end: Record | None = None
        code: int | None = None
        kill_at = 0.0
        while True:
            if code is None:
                pid, status = os.waitpid(child, os.WNOHANG)
                code = None if pid == 0 else _exit_code(status)
            if code is not None and not _members(child):
                return end, code
            now = time.monotonic()
            if end is None and code is None:
                end = self._asked_to_end()
                if end is None and now >= deadline:
                    limit = self._state["time_limit_s"]
                    end = {"state": "TIMEOUT", "reason": f"it reached its time limit of {limit:g} s"}
            if (end is not None or code is not None) and not kill_at:
                # Also where the script has ended by itself, what it left behind has to go.
                _signal_group(child, signal.SIGTERM)
                _signal_group(child, signal.SIGCONT)
                kill_at = now + self._state["grace_s"]
            if kill_at and now >= kill_at:
                _signal_group(child, signal.SIGKILL)
                if now >= kill_at + _GONE_S and code is not None:
                    return end, code  # it hangs in the kernel, and nothing more can be done
            self._pause(0.05 if kill_at else min(_TICK_S, deadline - now))

    def _write_end(self, end: Record) -> None:
        """Write `exit.json`, again and again where the disk is full: an end must not be lost."""
        wait, longest = _RETRY_S
        while True:
            try:
                _save_record(self._folder / EXIT_FILE, end)
                return
            except OSError:
                if not self._folder.is_dir():
                    return
            self._pause(wait)
            wait = min(2 * wait, longest)


def _named(state: Record) -> Record:
    """What every record of an attempt begins with."""
    return {name: state[name] for name in ("v", "id", "attempt", "submitted_at", "node")}


def _spawn(folder: Path) -> tuple[int, int]:
    """A child that runs the script once a byte is written to the gate, and vanishes if none is."""
    waiting, gate = os.pipe()
    child = os.fork()
    if child:
        os.close(waiting)
        with contextlib.suppress(OSError):  # it did so itself already
            os.setpgid(child, child)
        return child, gate
    try:
        os.setpgid(0, 0)
        os.close(gate)
        if not os.read(waiting, 1):
            os._exit(127)
        signal.set_wakeup_fd(-1)
        for name in ("SIGTERM", "SIGCHLD", "SIGHUP", "SIGINT", "SIGQUIT", "SIGPIPE", "SIGXFSZ"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.execve("/bin/sh", ["sh", str(folder / SCRIPT_FILE)], {**os.environ, RUN_VARIABLE: str(folder)})
    except OSError as error:
        os.write(2, f"run.sh cannot be run: {_sentence(error)}\n".encode())
    finally:
        os._exit(127)


def _exit_code(status: int) -> int:
    """As a shell says it: 128 + n where signal n ended the process."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _end_by_itself(code: int, *, out_of_memory: bool) -> Record:
    if code == 0:
        return {"state": "COMPLETED", "reason": ""}
    if code <= 128 or code - 128 not in set(signal.Signals):
        return {"state": "FAILED", "reason": f"it ended with exit status {code}"}
    name = signal.Signals(code - 128).name
    if code - 128 != signal.SIGKILL:
        return {"state": "FAILED", "reason": f"it was ended by {name}"}
    if out_of_memory:
        return {"state": "OUT_OF_MEMORY", "reason": "the kernel ended it because its memory ran out"}
    reason = "it was ended by SIGKILL from outside: most often the kernel does so when memory runs out"
    return {"state": "FAILED", "reason": reason}


def _oom_kills() -> int:
    """How often the kernel has ended a process of this control group for want of memory."""
    count = 0
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers == "":
                path = Path(f"/sys/fs/cgroup{group}/memory.events")
            elif controllers == "memory":
                path = Path(f"/sys/fs/cgroup/memory{group}/memory.oom_control")
            else:
                continue
            with contextlib.suppress(OSError, ValueError):
                for row in path.read_text(encoding="ascii").splitlines():
                    if row.startswith("oom_kill "):
                        count += int(row.split()[1])
    return count


def _detach(folder: Path, state: Record, lock: int) -> None:
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
                for fd in range(3, 1024):
                    if fd not in keep:
                        with contextlib.suppress(OSError):
                            os.close(fd)
                supervisor = Supervisor(folder, state)
                supervisor.enqueue()
                os.write(say, b"ready")
            except OSError as error:
                os.write(say, f"The job in {folder} cannot be started: {_sentence(error)}.".encode())
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


# -- commands --------------------------------------------------------------------------------------


def submit(request: Record) -> Record:
    """Start a job, or find it started already; what is known of it."""
    folder = Path(request["folder"]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder) as lock:
        state = _load(folder / STATE_FILE)
        if state is None:
            script = _script(folder, request["argv"], request["env"])
            _save(folder / SCRIPT_FILE, script, mode=0o755)
            _start(folder, request, 1, lock)
        return status(request["id"], folder)


def requeue(request: Record) -> Record:
    """Start the next attempt of a job that is over."""
    folder = Path(request["folder"]).absolute()
    if not (folder / SCRIPT_FILE).is_file():
        raise Refused(f"There is no {SCRIPT_FILE} in {folder}: submit the job anew.")
    with _locked(folder) as lock:
        known = status(request["id"], folder)
        if known["state"] in ("PENDING", "RUNNING", "COMPLETING", "UNKNOWN"):
            raise Refused(f"Job {request['id']} is not over ({known['state'].lower()}): cancel it first.")
        _start(folder, request, known.get("attempt", 0) + 1, lock)
        return status(request["id"], folder)


def _start(folder: Path, request: Record, attempt: int, lock: int) -> None:
    if request["slots"] < 1 or request["time_limit_s"] <= 0:
        raise Refused("A job needs a time limit above 0 s, and the host at least one slot.")
    (folder / CANCEL_FILE).unlink(missing_ok=True)
    state: Record = {
        "v": RECORD_VERSION,
        "id": request["id"],
        "attempt": attempt,
        "submitted_at": time.time(),
        "node": os.uname().nodename,
        "queue": str(Path(request["queue"]).absolute()),
        **{name: request[name] for name in ("slots", "time_limit_s", "grace_s")},
    }
    _detach(folder, state, lock)


def cancel(request: Record) -> Record:
    """Ask a job to end; one that is over stays as it is."""
    folder = Path(request["folder"]).absolute()
    known = status(request["id"], folder)
    state = _load(folder / STATE_FILE)
    if state is None or known["state"] not in ("PENDING", "RUNNING", "COMPLETING", "UNKNOWN"):
        return known
    try:
        _save(folder / CANCEL_FILE, str(state["attempt"]))
    finally:  # also where the disk is full
        supervisor = Process(**state["supervisor"])
        if supervisor.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(supervisor.pid, signal.SIGTERM)
    return known


def status(job_id: str, folder: Path) -> Record:
    """What is known of a job. What a killed supervisor left running is ended."""
    state, end = _load(folder / STATE_FILE), _load(folder / EXIT_FILE)
    if state is None:
        if end is not None:
            return end
        there = folder.is_dir()
        reason = "it was never started" if there else f"its folder {folder} is gone"
        return {"id": job_id, "attempt": 0, "state": "ABSENT", "reason": reason}
    if end is not None and end["attempt"] >= state["attempt"]:
        return end
    supervisor = Process(**state["supervisor"])
    known = {**_named(state), "state": state["state"], "reason": "", "started_at": state.get("started_at")}
    if supervisor.is_elsewhere:
        reason = f"it was started on {supervisor.host}, and this is {os.uname().nodename}"
        return {**known, "state": "UNKNOWN", "reason": reason}
    if supervisor.is_alive:
        return {**known, **_stage(folder, state)}
    end = _load(folder / EXIT_FILE)  # it may have ended between the two looks
    if end is not None and end["attempt"] >= state["attempt"]:
        return end
    reason = "its supervisor was killed, or the host went down, before its end was written"
    if _end_orphans(folder, state):
        reason += "; what still ran of it has been ended"
    return {**known, "state": "LOST", "reason": reason, "ended_at": _last_sign_of_life(folder)}


def _stage(folder: Path, state: Record) -> Record:
    """Where a job is whose supervisor lives."""
    if state["state"] == "PENDING":
        before = _before(Path(state["queue"]), folder, sys.maxsize)
        return {"reason": f"waits for a slot, {before} before it"}
    if not Process(**state["child"]).is_alive:
        return {"state": "COMPLETING", "reason": "its end is being written; is the disk full?"}
    return {}


def _last_sign_of_life(folder: Path) -> float:
    return max(path.stat().st_mtime for path in folder.iterdir())


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int]:
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


def _sentence(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"no space left on the disk{where}; make room there and try again"
    return f"{error.strerror or error}{where}"


def main(arguments: Sequence[str]) -> int:
    """Do one command; the exit status."""
    commands: Mapping[str, Callable[[Record], Record]] = {
        "submit": submit,
        "requeue": requeue,
        "cancel": cancel,
        "status": lambda request: status(request["id"], Path(request["folder"]).absolute()),
    }
    if len(arguments) != 1 or arguments[0] not in commands:
        sys.stderr.write(f"usage: detach.py {'|'.join(commands)} < REQUESTS\n")
        return 2
    try:
        for line in sys.stdin.buffer:
            sys.stdout.write(json.dumps(commands[arguments[0]](json.loads(line))) + "\n")
    except Refused as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{_sentence(error)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
