"""Files of this machine, written so that nobody ever sees half of one, and its errors in words."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from workbench.ports import FileChunk

_REASONS = {
    errno.ENOENT: "there is no such file or folder",
    errno.EACCES: "permission denied; change the permissions or choose another folder",
    errno.EPERM: "permission denied; change the permissions or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOSPC: "no space left on the disk; make room there and try again",
    errno.EDQUOT: "the disk quota is used up; make room there and try again",
    errno.EFBIG: "the file would be larger than the limit for files (see `ulimit -f`)",
    errno.EISDIR: "it is a folder, not a file",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.ENAMETOOLONG: "the name is too long",
}


def reason_of(error: OSError) -> str:
    """What went wrong with a file, and the way out."""
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


def read_part(path: Path, offset: int, most: int | None) -> FileChunk:
    """Part of a file; see `ports.Connection.read`."""
    # Not to wait for a writer, where the path is a named pipe.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb", buffering=0) as file:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        wanted = max(0, status.st_size - offset)
        wanted = wanted if most is None else min(wanted, most)
        data = b""
        if wanted:
            file.seek(offset)
            data = file.read(wanted)  # a regular file gives all of it at once, or its end
        return FileChunk(offset, data, file.seek(0, os.SEEK_END))


def write_whole(path: Path, data: bytes, mode: int) -> None:
    """Put a file in place whole; see `ports.Connection.write`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        _write_new(part, data, mode)
        _sync(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        os.fchmod(fd, mode)  # whatever the umask


def _sync(path: Path) -> None:
    """Return once a file, or what a folder lists, is on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def put_tree(files: Mapping[str, bytes], folder: Path) -> None:
    """Make a folder with these files in it; see `ports.Connection.put_tree`."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{secrets.token_hex(8)}.part")
    with _removed_afterwards(part):
        part.mkdir()
        for name, data in files.items():
            path = part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_new(path, data, 0o644)
        for name in files:  # afterwards, so that the file system can take them all together
            _sync(part / name)
        try:
            part.rename(folder)
        except OSError as error:
            # Another has put the same folder there in the meantime.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    _sync(folder.parent)


@contextmanager
def _removed_afterwards(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
