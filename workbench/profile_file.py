"""One profile's section in the text of the configuration, changed so that all else stays as it was written.

Only lines of the section are touched, key by key: comments, order and other keys survive. What comes out is
read again and held against what was wanted, so that a file written in a way that is not understood here is
refused rather than damaged.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
Value = str | int | list[str] | None


def with_profile(text: str, name: str, changes: Mapping[str, Value]) -> str:
    """The configuration `text` in which these keys of profile `name` have these values, or are not there.

    Raises:
        ConfigError: The name cannot be one, or the file is written in a way that cannot be changed here.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot be the name of a profile: use letters, digits, - and _.")
    newline = "\r\n" if "\r\n" in text else "\n"
    text = text.replace("\r\n", "\n")
    left = dict(changes)
    lines = text.rstrip("\n").split("\n") if text.strip() else []
    start = _start(lines, name)
    kept: list[str] = []
    if start is None:
        before, after = [*lines, *([""] if lines else []), f"[profiles.{name}]"], []
    else:
        end, kept = _section(lines, start + 1, left)
        before, after = lines[: start + 1], lines[end:]
    n_kept = len(kept)
    while n_kept and not kept[n_kept - 1].strip():  # the empty lines before the next section stay there
        n_kept -= 1
    added = [_line(key, value) for key, value in left.items() if value is not None]
    changed = "\n".join([*before, *kept[:n_kept], *added, *kept[n_kept:], *after, ""])
    _verify(tomllib.loads(text), changed, name, changes)
    return changed.replace("\n", newline)


def section_of(text: str, name: str) -> str:
    """The lines of a profile, for showing."""
    lines = text.split("\n")
    start = _start(lines, name)
    if start is None:
        return ""
    end, _ = _section(lines, start + 1, {})
    return "\n".join(lines[start:end]).rstrip() + "\n"


def read_config(path: Path) -> str | None:
    """The text as it is, line ends included; none where there is no file.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error}.") from error


def write_config(path: Path, text: str, before: str | None) -> None:
    """Put `text` in place of `before`, none for no file; `.bak` is the old one until the new one is there.

    Raises:
        ConfigError: It cannot be written, or has been changed by somebody else meanwhile.
    """
    path = path.resolve()  # of a link into a folder of dotfiles, the file is meant
    backup = path.with_name(f"{path.name}.bak")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        now = read_config(path)
        if now != before:
            raise ConfigError(f"{path} was changed meanwhile: nothing was written, run the command again.")
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if before is not None:
                shutil.copymode(path, temporary)
                shutil.copy2(path, backup)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        if before is not None:
            backup.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}.") from error


def _section(lines: list[str], start: int, changes: dict[str, Value]) -> tuple[int, list[str]]:
    """Where the section ends, and its lines after those changes that are of its keys, which are used up."""
    kept: list[str] = []
    at = start
    while at < len(lines) and not lines[at].lstrip().startswith("["):
        end, found = _statement(lines, at)
        statement = lines[at:end]
        key = next(iter(found), "")
        if key in changes:
            value = changes.pop(key)
            if value == found[key]:
                kept += statement
            elif value is not None:
                kept.append(_line(key, value) + (_comment(statement[0], found) if end == at + 1 else ""))
        else:
            kept += statement
        at = end
    return at, kept


def _statement(lines: list[str], start: int) -> tuple[int, Mapping[str, Any]]:
    """Where the statement that begins in a line ends, and what it says: the fewest lines that are TOML."""
    for end in range(start + 1, len(lines) + 1):
        try:
            return end, tomllib.loads("\n".join(lines[start:end]))
        except tomllib.TOMLDecodeError:
            continue
    return start + 1, {}


def _comment(line: str, found: Mapping[str, Any]) -> str:
    """What stands after the value, with the room before it."""
    for mark in (place.start() for place in re.finditer(r"\s*#", line)):
        try:
            if tomllib.loads(line[:mark]) == found:
                return line[mark:]
        except tomllib.TOMLDecodeError:
            continue
    return ""


def _start(lines: list[str], name: str) -> int | None:
    """The line of the section's header; none where there is none."""
    header = rf"""\s*\[\s*profiles\s*\.\s*(["']?){re.escape(name)}\1\s*\]\s*(?:#.*)?"""
    return next((i for i, line in enumerate(lines) if re.fullmatch(header, line)), None)


def _line(key: str, value: Value) -> str:
    return f"{key} = {_toml(value)}"


def _toml(value: Value) -> str:
    """A value as TOML, whose texts and whole numbers are written as JSON's are, but for DEL."""
    if isinstance(value, list):
        return "[\n" + "".join(f"    {_toml(item)},\n" for item in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _verify(before: Mapping[str, Any], after: str, name: str, changes: Mapping[str, Value]) -> None:
    """That nothing but what was wanted is different."""
    profiles = before.get("profiles", {})
    section = profiles.get(name, {}) if isinstance(profiles, dict) else {}
    merged = {**section, **changes}
    wanted = {key: value for key, value in merged.items() if value is not None}
    try:
        good = tomllib.loads(after) == {**before, "profiles": {**profiles, name: wanted}}
    except (tomllib.TOMLDecodeError, TypeError):
        good = False
    if not good:
        raise ConfigError(
            f"The profile {name} is not written as a section [profiles.{name}] with a key a line, and cannot "
            "be changed by the program: change it by hand."
        )
