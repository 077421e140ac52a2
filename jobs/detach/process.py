"""Processes, told apart for ever: by their number, their start and the boot of their host together.

On Linux it is all in /proc; elsewhere `ps` and `sysctl` are asked.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_HAS_PROC = Path("/proc/self/stat").exists()


class Process(NamedTuple):
    """One process, told apart from any other that has or will have the same number."""

    pid: int
    start: str
    """When it started, in the kernel's words."""
    boot: str
    host: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this number now."""
        return cls(pid, _start_of(pid), this_boot(), os.uname().nodename)

    @property
    def is_alive(self) -> bool:
        """Whether it is running on this host."""
        return self.boot == this_boot() and _start_of(self.pid) == self.start != ""

    @property
    def is_elsewhere(self) -> bool:
        """Whether it ran on another host, of which nothing can be known here."""
        return self.boot != this_boot() and self.host != os.uname().nodename


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


def this_boot() -> str:
    """What changes with every start of this host, and from one container on it to another."""
    if _HAS_PROC:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return subprocess.run(
        ["sysctl", "-n", "kern.boottime"], capture_output=True, text=True, check=False
    ).stdout.strip()


def members(group: int) -> list[int]:
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


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group; one that is gone is not an error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition comes true within that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
