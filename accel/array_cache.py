"""Arrays that are kept between runs, by the content that they follow from.

An entry is one file, written under another name and moved into place: a reader sees all of it or none.
Nothing in it can run code (npz without pickle), and its checksums are looked at when it is read. What
cannot be read is made anew, what cannot be written is done without; both are said in the log. The folder
holds no more than a set number of bytes: who was not used for longest goes first.
"""

from __future__ import annotations

import json
import logging
import os
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

MOST_BYTES = 1 << 30
"""Of all entries together."""
_SUFFIX = ".npz"
_HEADER = "header"
_BROKEN = (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)
"""What numpy and zipfile are known to raise on bytes that are no archive of arrays."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept under a key."""

    header: Any
    """JSON."""
    arrays: Mapping[str, NDArray[Any]]


def cache_home() -> Path:
    """Where this program keeps what it can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mace-workbench"


class ArrayCache:
    """Entries in one folder."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self.most_bytes = most_bytes

    def load(self, key: str) -> Entry | None:
        """What is kept under `key`; None where there is nothing that can be used."""
        path = self._path(key)
        try:
            with path.open("rb") as file:  # numpy would leave a damaged one open
                if os.fstat(file.fileno()).st_uid != os.getuid():
                    log.warning("%s belongs to somebody else and is not used.", path)
                    return None
                with np.load(file, allow_pickle=False) as archive:
                    arrays = {name: archive[name] for name in archive.files}
            header = json.loads(arrays.pop(_HEADER).tobytes())
            if header["key"] != key:
                raise ValueError("it was written for something else")
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s cannot be read and is made anew: %s.", path, error.strerror)
            return None
        except _BROKEN as error:
            log.warning("%s is damaged and is made anew: %s.", path, error)
            return None
        with suppress(OSError):
            os.utime(path)  # so that it is not the next to go
        return Entry(header["value"], arrays)

    def store(self, key: str, entry: Entry) -> None:
        """Keep `entry` under `key`. Where that fails, the log says so and nothing else happens."""
        path = self._path(key)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        header = json.dumps({"key": key, "value": entry.header}).encode()
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with temporary.open("wb") as file:
                arrays = {_HEADER: np.frombuffer(header, dtype=np.uint8), **entry.arrays}
                np.savez(file, allow_pickle=False, **arrays)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            log.warning("%s cannot be written (%s): it will be made again.", path, error.strerror)
            return
        self._tidy(path)

    def _tidy(self, newest: Path) -> None:
        """Remove entries until the rest is small enough, and what a process that died left behind."""
        found = []
        with suppress(OSError):
            for path in self.folder.iterdir():
                with suppress(OSError):  # another process may tidy too
                    found.append((path.stat().st_mtime, path.stat().st_size, path))
        found.sort()
        total = sum(size for _, size, _ in found)
        for used, size, path in found:
            left_behind = path.name.startswith(".") and found[-1][0] - used > _DAY_S
            if left_behind or (total > self.most_bytes and path != newest):
                with suppress(OSError):
                    path.unlink()
                    total -= size

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"


_DAY_S = 86_400.0
