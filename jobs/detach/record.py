"""The files of a run: their names, and how they are written and read so that none is ever half there."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STATE_FILE, EXIT_FILE, CANCEL_FILE, HOLD_FILE = "state.json", "exit.json", "cancel", "hold"
SCRIPT_FILE, LOG_FILE, LOCK_FILE = "run.sh", "stdout.log", ".submit.lock"
RECORD_VERSION = 1

Record = dict[str, Any]

_NEEDED = {
    STATE_FILE: {"v", "id", "attempt", "state", "submitted_at", "node", "supervisor", "queue"},
    EXIT_FILE: {"v", "id", "attempt", "state", "submitted_at", "reason"},
}
"""What a record of either kind has at least."""


class Refused(Exception):
    """What was asked cannot be done; says why."""


def save(path: Path, data: str, mode: int = 0o644) -> None:
    """Put a file in place whole; never makes its folder, which somebody may have removed on purpose."""
    part = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
    try:
        with part.open("w", encoding="utf-8", errors="surrogateescape") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def save_record(path: Path, record: Record) -> None:
    """Put a record in place whole."""
    save(path, json.dumps(record, indent=1) + "\n")


def load(path: Path) -> Record | None:
    """A record, or None where there is no file.

    Raises:
        Refused: The file is not what this program writes.
    """
    try:
        record = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"{path} cannot be read: {error}.") from None
    if not isinstance(record, dict) or not _NEEDED[path.name] <= record.keys():
        raise Refused(f"{path} is not what this program writes.")
    if record["v"] != RECORD_VERSION:
        raise Refused(f"{path} is of version {record['v']} and this program knows {RECORD_VERSION}.")
    return record


def load_end(folder: Path, state: Record | None) -> Record | None:
    """How the newest attempt ended; None where that is not written, or not whole."""
    with contextlib.suppress(Refused):
        end = load(folder / EXIT_FILE)
        if end is not None and (state is None or end["attempt"] >= state["attempt"]):
            return end
    return None


def script_for(folder: Path, argv: Sequence[str], env: Mapping[str, str]) -> str:
    """`run.sh`: what is run, in words that a shell and a person understand."""
    for name in env:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise Refused(f"{name!r} cannot be the name of a variable in the environment: rename it.")
    lines = ["#!/bin/sh", f"cd {shlex.quote(str(folder))} || exit 1"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
    lines.append(f"exec {shlex.join(argv)}")
    text = "\n".join(lines) + "\n"
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise Refused("The command or its environment holds text that is not valid Unicode.") from None
    if "\0" in text:
        raise Refused("The command or its environment holds a NUL byte, which no program can be given.")
    return text


def named(state: Record) -> Record:
    """What every record of an attempt begins with."""
    return {name: state[name] for name in ("v", "id", "attempt", "submitted_at", "node")}


def sentence(error: OSError) -> str:
    """What went wrong, on which file, and the way out."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"no space left on the disk{where}; make room there and try again"
    return f"{error.strerror or error}{where}"
