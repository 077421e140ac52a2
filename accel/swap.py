"""Puts fast operations into a mace-torch model: same function, same state dict, any device.

A module that has a fast form becomes an instance of a subclass of its own class, in place; its
parameters stay the objects that an optimiser may hold. What has no fast form is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accel.errors import PlanError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class SwapReport:
    """What `accelerate` did."""

    swapped: tuple[str, ...]
    """Names of the modules that now run in their fast form."""
    left: tuple[str, ...]
    """Names of modules of the same kinds that stay mace-torch's own, each with the reason."""


def accelerate(model: nn.Module, plan: str = "exact") -> SwapReport:
    """Swap what has a fast form, in place. Calling it again changes nothing.

    Args:
        model: A mace-torch model, for training or inference, on any device.
        plan: `exact`: rewrites that compute the same function to rounding.

    Raises:
        PlanError: There is no such plan, or nothing in the model has a fast form.
    """
    if plan != "exact":
        raise PlanError(f"There is no swap plan {plan!r}: use 'exact'.")
    from accel.mace_torch import model_dtype
    from accel.ops.contraction import SparseSymmetricContraction
    from accel.ops.convolution import EdgeMatrixProduct

    swapped, left = [], []
    for name, module in model.named_modules():
        leaf = name.rpartition(".")[2]
        if isinstance(module, SparseSymmetricContraction | EdgeMatrixProduct):
            swapped.append(name)
        elif SparseSymmetricContraction.covers(module):
            SparseSymmetricContraction.adopt(module)
            swapped.append(name)
        elif leaf == "conv_tp" and EdgeMatrixProduct.covers(module):
            EdgeMatrixProduct.adopt(module, model_dtype(model))
            # mace-torch's own switch for products that gather and sum by themselves.
            block: Any = model.get_submodule(name.rpartition(".")[0])
            block.conv_fusion = "edge matrix"
            swapped.append(name)
        elif leaf in ("conv_tp", "symmetric_contractions"):
            left.append(f"{name} ({_kind(module)} has no fast form)")
    if not swapped:
        raise PlanError(
            f"Nothing in this {type(model).__name__} has a fast form: use plan 'reference'."
            + "".join(f" Left: {reason}." for reason in left)
        )
    return SwapReport(tuple(swapped), tuple(left))


def _kind(module: Any) -> str:
    return f"{type(module).__module__}.{type(module).__name__}"
