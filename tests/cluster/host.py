"""Host: one machine of the test cluster.

It is a process in namespaces of its own (network, host name, file system, processes), and everything
that is started on it: when the first process ends, the kernel ends the rest and takes the namespaces,
with their mounts and links, away. So there is nothing to tidy up after a host, however it ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

_BOOT = Path(__file__).parent / "boot.sh"


class HostFailed(Exception):
    """A host, or something on it, did not come up."""


class Host:
    """One machine, running or not."""

    def __init__(self, name: str, state: Path) -> None:
        self.name = name
        self.state = state
        self._booting: subprocess.Popen[bytes] | None = None

    @property
    def _pid_file(self) -> Path:
        return self.state / "pids" / self.name

    @property
    def pid(self) -> int | None:
        """Of its first process, as seen from outside; none where it is not running."""
        try:
            pid = int(self._pid_file.read_text())
            # Numbers are used again: only a process that was booted from this folder is this host.
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if str(self.state).encode() in command and self.name.encode() in command else None

    # -- coming and going --------------------------------------------------------------------------

    def begin(self, *, keep: bool) -> None:
        """Start its first process, which waits for a network; with `keep` it outlives this process."""
        dies = [] if keep else ["setpriv", "--pdeathsig", "KILL"]
        spaces = ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        visible = dict.fromkeys([sys.prefix, sys.base_prefix])
        with (self.state / "log" / f"{self.name}.boot").open("ab") as log:
            self._booting = subprocess.Popen(
                [*dies, *spaces, "bash", str(_BOOT), self.name, str(self.state), *visible],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd="/",
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                start_new_session=True,
            )

    def wait_alive(self) -> None:
        """Wait until it has namespaces, and can be given a network."""
        booting = self._expect(b"alive\n")
        children = Path(f"/proc/{booting.pid}/task/{booting.pid}/children").read_text().split()
        self._pid_file.write_text(children[0])

    def finish(self) -> None:
        """Let it go on, now that it has a network, and wait until services can be started."""
        booting = self._expect_started()
        _pipe(booting.stdin).write(b"\n")
        _pipe(booting.stdin).close()
        self._expect(b"ready\n")
        _pipe(booting.stdout).close()

    def _expect_started(self) -> subprocess.Popen[bytes]:
        if self._booting is None:
            raise HostFailed(f"{self.name} was not begun.")
        return self._booting

    def _expect(self, line: bytes) -> subprocess.Popen[bytes]:
        booting = self._expect_started()
        if _pipe(booting.stdout).readline() != line:
            booting.kill()
            raise HostFailed(f"{self.name} did not boot: {(self.state / 'log' / self.name).read_text()}")
        return booting

    def kill(self) -> None:
        """Pull the plug."""
        if (pid := self.pid) is not None:
            outer = _parent(pid)
            os.kill(pid, 9)
            wait_for(lambda: self.pid is None and not _runs(outer), f"{self.name} to end")
        if self._booting is not None:
            self._booting.wait()
            self._booting = None
        self._pid_file.unlink(missing_ok=True)

    # -- what runs on it ---------------------------------------------------------------------------

    def _inside(self, user: str | None = None) -> list[str]:
        if (pid := self.pid) is None:
            raise HostFailed(f"{self.name} is not running.")
        enter = ["nsenter", "-t", str(pid), "--net", "--uts", "--mount", "--pid", "--wd=/", "--"]
        return [*enter, "runuser", "-u", user, "--"] if user else enter

    def run(
        self, *argv: str, user: str | None = None, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on it to its end, as root unless said otherwise."""
        done = subprocess.run(
            [*self._inside(user), *argv],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/srv/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        if check and done.returncode:
            raise HostFailed(f"{' '.join(argv)} on {self.name} ended with {done.returncode}: {done.stderr}")
        return done

    def serve(self, service: str, argv: Sequence[str], *, user: str | None = None) -> None:
        """Start a service, which becomes a child of the first process, its output in the log folder."""
        drop = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        with (self.state / "log" / f"{self.name}.{service}").open("ab") as log:
            subprocess.run(
                [*self._inside(), "setsid", "--fork", *drop, *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
            )

    def pids(self, program: str) -> Sequence[str]:
        """Of the processes on this host that run a program, as the host numbers them."""
        return self.run("pgrep", "-x", program, check=False).stdout.split()

    def stop(self, program: str, signal: str = "TERM") -> None:
        """End a service and wait until it has ended."""
        if pids := self.pids(program):
            self.run("kill", f"-{signal}", *pids, check=False)
        wait_for(lambda: not self.pids(program), f"{program} on {self.name} to end")


def wait_for(done: Callable[[], object], what: str, *, within_s: float = 30) -> None:
    """Look again and again until `done()` is true.

    Raises:
        HostFailed: It was not within that time.
    """
    end = time.monotonic() + within_s
    while not done():
        if time.monotonic() > end:
            raise HostFailed(f"Waited {within_s:.0f} s in vain for {what}.")
        time.sleep(0.02)


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise HostFailed("A host was started without pipes.")
    return stream


def _status(pid: int) -> Mapping[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _parent(pid: int) -> int:
    return int(_status(pid)["PPid"])


def _runs(pid: int) -> bool:
    # A zombie has ended: whoever started it has only not looked yet.
    return not _status(pid).get("State", "Z").startswith("Z")
