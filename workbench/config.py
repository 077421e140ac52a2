"""The configuration: where the program keeps its things, and the places where jobs run.

`$XDG_CONFIG_HOME/mace-workbench/config.toml`:

    default = "local"

    [profiles.local]
    python = "/opt/mace/bin/python"
    slots = 2

A profile named `local`, this machine, is always there; a section of that name changes it. All keys are
in docs/cluster-profiles.md.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from workbench.errors import ConfigError, NotFound
from workbench.model.profile import ClusterProfile, ConnectionKind, NotebookReach, SchedulerKind

_APP = "mace-workbench"
LOCAL = "local"
_CHOICES = {
    "connection": get_args(ConnectionKind),
    "notebook_reach": get_args(NotebookReach),
    "scheduler": get_args(SchedulerKind),
}
_TYPES: Mapping[str, type[Any]] = {
    "env": dict,
    "gpus": int,
    "hosts": list,
    "interactive_minutes": int,
    "notice_s": int,
    "setup": list,
    "slots": int,
    "time_limit_minutes": int,
}
"""Of the profile's keys that are not text."""
_LEAST = {"gpus": 0, "interactive_minutes": 1, "notice_s": 2, "slots": 1, "time_limit_minutes": 0}
_WORDS = {"account", "host", "interactive_qos", "partition", "qos"}
"""Keys whose values other programs read as a word, or as an option where it began with a dash."""
_WORD = r"[^\s-]\S*"
_OF_SCHEDULER = {
    "slots": "process",
    "account": "slurm",
    "partition": "slurm",
    "qos": "slurm",
    "interactive_qos": "slurm",
    "notebook_reach": "slurm",
    "gpus": "slurm",
    "setup": "slurm",
    "time_limit_minutes": "slurm",
}
"""Keys that one scheduler only understands."""


@dataclass(frozen=True, slots=True)
class Config:
    """What the user has set, and the folders that follow from the environment."""

    profiles: Mapping[str, ClusterProfile]
    default_profile: str
    state_folder: Path
    """The store and the log."""
    data_folder: Path
    """Runs and code of jobs on this machine."""

    def profile(self, name: str | None = None) -> ClusterProfile:
        """The profile of that name, or the default one.

        Raises:
            NotFound: There is none.
        """
        name = name or self.default_profile
        if name not in self.profiles:
            raise NotFound(f"There is no profile {name!r}; there are: {', '.join(self.profiles)}.")
        return self.profiles[name]


def config_path(env: Mapping[str, str] = os.environ) -> Path:
    """Where the user's configuration is, or would be."""
    return _folder(env, "XDG_CONFIG_HOME", ".config") / "config.toml"


def load_config(env: Mapping[str, str] = os.environ) -> Config:
    """The user's configuration; a file that is not there is an empty one.

    Raises:
        ConfigError: The file cannot be read or understood.
    """
    path = config_path(env)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error}.") from error
    profiles, default = parse_config(text, str(path))
    return Config(
        profiles=profiles,
        default_profile=default,
        state_folder=_folder(env, "XDG_STATE_HOME", ".local/state"),
        data_folder=_folder(env, "XDG_DATA_HOME", ".local/share"),
    )


def parse_config(text: str, source: str) -> tuple[dict[str, ClusterProfile], str]:
    """The profiles in `text`, and the name of the default one; `source` is for messages.

    Raises:
        ConfigError: Names the key and the line.
    """
    try:
        record = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}.") from error
    for key in record:
        if key not in ("default", "profiles"):
            raise _error(source, text, key, "is not known; there are: default, profiles")
    profiles = {LOCAL: ClusterProfile(LOCAL)}
    sections = record.get("profiles", {})
    if not isinstance(sections, dict) or not all(isinstance(item, dict) for item in sections.values()):
        raise _error(source, text, "profiles", "should hold sections such as [profiles.local]")
    for name, section in sections.items():
        profiles[name] = _profile(name, section, source, text)
    default = record.get("default", LOCAL)
    if default not in profiles:
        raise _error(source, text, "default", f"names no profile; there are: {', '.join(profiles)}")
    return profiles, default


def _profile(name: str, section: Mapping[str, Any], source: str, text: str) -> ClusterProfile:
    known = [item.name for item in fields(ClusterProfile) if item.name != "name"]
    for key, value in section.items():
        if key not in known:
            raise _error(source, text, key, f"is not known; there are: {', '.join(known)}", name)
        problem = _problem(key, value)
        if problem:
            raise _error(source, text, key, problem, name)
    profile = ClusterProfile(name, **section)
    for key, scheduler in _OF_SCHEDULER.items():
        if key in section and profile.scheduler != scheduler:
            raise _error(source, text, key, f'is only for `scheduler = "{scheduler}"`', name)
    if profile.connection == "local":
        for key in ("host", "hosts", "notice_s", "ssh_config"):
            if key in section:
                raise _error(source, text, key, 'is not for `connection = "local"`: choose "asyncssh"', name)
    elif not (profile.host or profile.hosts):
        raise _error(source, text, "connection", "needs a `host` beside it, as in `ssh HOST`", name)
    return profile


def _problem(key: str, value: Any) -> str | None:
    """What is wrong with a value, if anything is."""
    wanted = _TYPES.get(key, str)
    if type(value) is not wanted:
        return f"should be of type {wanted.__name__}, not {value!r}"
    if key in _CHOICES and value not in _CHOICES[key]:
        return f"should be one of {', '.join(_CHOICES[key])}"
    if key in _LEAST and value < _LEAST[key]:
        return f"should be at least {_LEAST[key]}"
    if key in _WORDS and not re.fullmatch(_WORD, value):
        return f"should be one word that does not begin with a dash, not {value!r}"
    texts = value.values() if key == "env" else value if key in ("hosts", "setup") else [value]
    if key in ("env", "hosts", "setup") and not all(isinstance(item, str) for item in texts):
        return "should hold texts"
    if key == "hosts" and not all(re.fullmatch(_WORD, item) for item in texts):
        return "should hold words that do not begin with a dash"
    if any("\0" in item for item in texts if isinstance(item, str)):
        return "holds a NUL character"
    if key == "env" and not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", item, re.ASCII) for item in value):
        return "should hold names of variables: letters, digits and _"
    return None


def _error(source: str, text: str, key: str, problem: str, profile: str | None = None) -> ConfigError:
    """A sentence that names the key and, where it can be found, the line."""
    section = None
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*profiles\.\"?([^\"\]]+?)\"?\s*\]", line)
        if header:
            section = header[1]
        if section == profile and re.match(rf"\s*\"?{re.escape(key)}\"?\s*[=.]", line):
            return ConfigError(f"{source}, line {number}: {key} {problem}.")
    where = f" of profile {profile}" if profile else ""
    return ConfigError(f"{source}: {key}{where} {problem}.")


def _folder(env: Mapping[str, str], variable: str, default: str) -> Path:
    # The XDG specification: a relative path there is to be ignored.
    base = env.get(variable, "")
    root = Path(base) if base.startswith("/") else Path(env.get("HOME") or Path.home()) / default
    return root / _APP
