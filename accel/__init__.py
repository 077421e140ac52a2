"""Accelerated MACE: plans, measurements and the gate they pass; shipped to the cluster beside `jobs`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accel.calculator import Calculator
    from accel.swap import accelerate
    from accel.vendors.torch_sim import TorchSimModel

__all__ = ["Calculator", "TorchSimModel", "accelerate"]

_HOMES = {
    "Calculator": "accel.calculator",
    "TorchSimModel": "accel.vendors.torch_sim",
    "accelerate": "accel.swap",
}


def __getattr__(name: str) -> Any:
    """Load what is used when it is used: importing this package alone must not import torch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
