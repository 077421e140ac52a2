"""ClusterProfile: everything that is to be known of a place where jobs run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

ConnectionKind = Literal["local"]
SchedulerKind = Literal["process"]


@dataclass(frozen=True, slots=True)
class ClusterProfile:
    """One place where jobs run, as the user describes it in the configuration."""

    name: str
    connection: ConnectionKind = "local"
    """How it is reached."""
    scheduler: SchedulerKind = "process"
    """What starts jobs there."""
    work_folder: str = ""
    """Where runs and code are kept there; empty for the program's own data folder."""
    python: str = ""
    """The interpreter that has torch and mace-torch; empty for the one that runs this program."""
    slots: int = 1
    """Jobs that a host without a scheduler runs at once: more than one would disturb each other's timings."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of every job."""
