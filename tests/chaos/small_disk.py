"""A disk of a few megabytes that can be full: a tmpfs, which only those see who are meant to."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.host import Host

_FILLER = "filler"
_PIECE = 1 << 16


@dataclass(frozen=True)
class SmallDisk:
    """One, which is empty at first."""

    seen_as: Path
    """By whoever is meant to."""
    holder: int
    """A process that sees it."""

    @property
    def folder(self) -> Path:
        """How it is reached from here."""
        return Path(f"/proc/{self.holder}/root{self.seen_as}")

    @property
    def enter(self) -> Sequence[str]:
        """What to put before a command that is to see it."""
        return ["nsenter", "-t", str(self.holder), "--mount", "--"]

    def fill(self) -> None:
        """Take all the room there is."""
        with (self.folder / _FILLER).open("ab", 0) as filler:
            try:
                while True:
                    filler.write(bytes(_PIECE))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Give it back."""
        (self.folder / _FILLER).unlink(missing_ok=True)


def on_host(host: Host, path: str, megabytes: int) -> SmallDisk:
    """One on a host of the cluster, seen by every service that is started from now on."""
    host.run("mkdir", "-p", path)
    host.run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=1777", "tmpfs", path)
    assert host.pid is not None
    return SmallDisk(Path(path), host.pid)


@contextmanager
def on_laptop(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """One on this machine, in place of a folder, until the context is left."""
    mount = f'mount -t tmpfs -o size={megabytes}m tmpfs "$0" && echo mounted && read _'
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", mount, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mounted\n"
        yield SmallDisk(folder, holder.pid)
        holder.kill()
