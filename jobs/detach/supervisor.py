"""The supervisor: takes one attempt of one job from the queue to its end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path

from jobs.detach.process import Process, members, signal_group
from jobs.detach.queue import GONE_S, RUN_VARIABLE, before, queued, take_ticket
from jobs.detach.record import (
    CANCEL_FILE,
    EXIT_FILE,
    HOLD_FILE,
    SCRIPT_FILE,
    STATE_FILE,
    Record,
    named,
    save_record,
    sentence,
)

_TICK_S = 1.0
"""How often a supervisor looks for `cancel`, where no signal told it (asked for on another host)."""
_NEXT_TICK_S = 0.2
"""How often the first that waits looks whether a slot is free."""
_RETRY_S = (1.0, 30.0)
"""Between two attempts to write the end of a run to a full disk: at first, and at most."""


class Supervisor:
    """Takes one attempt of one job from the queue to its end."""

    def __init__(self, folder: Path, state: Record) -> None:
        self._folder = folder
        self._state = state
        self._queue = Path(state["queue"])
        self._ticket: Path | None = None
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
        self._state.update(state="PENDING", supervisor=Process.of(os.getpid())._asdict())
        # First this: a ticket whose job has no living supervisor is thrown away by the others.
        save_record(self._folder / STATE_FILE, self._state)
        try:
            for ticket, folder in queued(self._queue):
                if folder == self._folder:  # of an earlier attempt that was killed
                    ticket.unlink(missing_ok=True)
            self._ticket = take_ticket(self._queue, self._folder)
        except OSError:
            (self._folder / STATE_FILE).unlink()
            raise

    def run(self) -> None:
        """Wait, run, and write down the end."""
        try:
            end = self._wait_for_slot() or self._attempt()
            # Before the next may begin.
            end = {**named(self._state), "ended_at": time.time(), **end}
        finally:
            self._leave_queue()
        self._write_end(end)

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
            if self._is_held():
                self._pause(_TICK_S)
                continue
            place = before(self._queue, self._folder, slots + 1)
            if place < slots:
                return None
            self._pause(_NEXT_TICK_S if place == slots else _TICK_S)

    def _is_held(self) -> bool:
        """Whether it is to wait; then it stands in nobody's way, and afterwards begins at the end."""
        if (self._folder / HOLD_FILE).exists():
            self._leave_queue()
            return True
        if self._ticket is None:
            with contextlib.suppress(OSError):  # the disk is full: it waits on
                self._ticket = take_ticket(self._queue, self._folder)
        return self._ticket is None

    def _leave_queue(self) -> None:
        if self._ticket is not None:
            self._ticket.unlink(missing_ok=True)
            self._ticket = None  # the number may be another's from now on

    def _attempt(self) -> Record:
        """Run the script to its end."""
        kills = _oom_kills()
        child, gate = _spawn(self._folder)
        started = time.monotonic()
        self._state.update(state="RUNNING", started_at=time.time(), child=Process.of(child)._asdict())
        try:
            # The child waits at the gate: it never runs without being known.
            save_record(self._folder / STATE_FILE, self._state)
            os.write(gate, b"!")
        except OSError as error:
            os.close(gate)
            os.waitpid(child, 0)
            return {"state": "FAILED", "reason": f"it could not be started: {sentence(error)}"}
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
            if code is not None and not members(child):
                return end, code
            now = time.monotonic()
            if end is None and code is None:
                end = self._asked_to_end()
                if end is None and now >= deadline:
                    limit = self._state["time_limit_s"]
                    end = {"state": "TIMEOUT", "reason": f"it reached its time limit of {limit:g} s"}
            if (end is not None or code is not None) and not kill_at:
                # Also where the script has ended by itself, what it left behind has to go.
                signal_group(child, signal.SIGTERM)
                signal_group(child, signal.SIGCONT)
                kill_at = now + self._state["grace_s"]
            if kill_at and now >= kill_at:
                signal_group(child, signal.SIGKILL)
                if now >= kill_at + GONE_S and code is not None:
                    return end, code  # it hangs in the kernel, and nothing more can be done
            self._pause(0.05 if kill_at else min(_TICK_S, deadline - now))

    def _write_end(self, end: Record) -> None:
        """Write `exit.json`, again and again where the disk is full: an end must not be lost."""
        wait, longest = _RETRY_S
        while True:
            try:
                save_record(self._folder / EXIT_FILE, end)
                return
            except OSError:
                if not self._folder.is_dir():
                    return
            self._pause(wait)
            wait = min(2 * wait, longest)


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
        os.write(2, f"run.sh cannot be run: {sentence(error)}\n".encode())
    finally:
        os._exit(127)


def _exit_code(status: int) -> int:
    """As a shell says it: 128 + n where signal n ended the process."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _end_by_itself(code: int, *, out_of_memory: bool) -> Record:
    if code == 0:
        return {"state": "COMPLETED", "reason": ""}
    if out_of_memory:
        return {"state": "OUT_OF_MEMORY", "reason": "the kernel ended a process of it: memory ran out"}
    if code == 128 + signal.SIGKILL:
        reason = "it was ended by SIGKILL from outside: most often the kernel does so when memory runs out"
    elif code - 128 in set(signal.Signals):
        reason = f"it was ended by {signal.Signals(code - 128).name}"
    else:
        reason = f"it ended with exit status {code}"
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
