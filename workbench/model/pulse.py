"""Pulse: how often a scheduler is asked, and what its last answer has cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pulse:
    """The questions to one scheduler so far."""

    n_polls: int = 0
    """Answered since the program started."""
    interval_s: float | None = None
    """Between two of them at the moment; none where each look at the jobs is one."""
    asked_at: float | None = None
    """When the last answer came; none for never."""
    took_s: float = 0.0
    """From the last question to its answer."""
