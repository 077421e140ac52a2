"""Tunnel: a port of this machine that leads to one on the far side, as a wish that outlives connections."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What the user wants to reach, and where they want to find it."""

    name: str
    """For people and commands; unique."""
    profile: str
    """The place from which the target is reached."""
    host: str
    """As that place calls it."""
    port: int
    local_port: int = 0
    """On 127.0.0.1; 0 where none was chosen yet."""

    @property
    def target(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TunnelStatus:
    """How a tunnel does at one moment."""

    local_port: int
    """Where it is to be found; 0 where nobody listens."""
    connections: int = 0
    """That go through it now."""
    down_since: float | None = None
    """Since when its target cannot be reached; None where it was reached the last time."""
    why: str = ""
    """… and why."""
