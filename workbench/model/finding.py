"""Finding: one thing that `doctor` looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what to do where it is not as it should be."""

    subject: str
    found: str
    good: bool = True
    advice: str = ""
    """What to do; empty where nothing has to be done."""
