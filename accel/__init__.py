"""Accelerated MACE: plans, measurements and the gate they pass; shipped to the cluster beside `jobs`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accel.calculator import Calculator
    from accel.swap import accelerate

__all__ = ["Calculator", "accelerate"]

_HOMES = {"Calculator": "accel.calculator", "accelerate": "accel.swap"}


def __getattr__(name: str) -> Any:
    """Load what is used when it is used: importing this package alone must not import torch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
