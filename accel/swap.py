"""Puts fast operations into a mace-torch model: same function, same state dict, any device.

A module that has a fast form becomes an instance of a subclass of its own class, in place; its
parameters stay the objects that an optimiser may hold. What has no fast form is left as it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from accel.errors import PlanError

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

_Model = TypeVar("_Model", bound="nn.Module")


@dataclass(frozen=True, slots=True)
class SwapReport:
    """What was done to a model."""

    swapped: tuple[str, ...]
    """Names of the modules that now run in their fast form."""
    left: tuple[str, ...]
    """Names of modules of the same kinds that stay mace-torch's own, each with the reason."""


def accelerate(model: _Model, plan: str = "exact") -> _Model:
    """The same model with what has a fast form swapped in place: a drop-in with the same state dict.

    What stays as it was is in the log, and in the report of `swap_operations`.

    Args:
        model: A mace-torch model, for training or inference, on any device.
        plan: `exact`: rewrites that compute the same function to rounding; `reference`: nothing.

    Raises:
        PlanError: There is no such plan, or nothing in the model has a fast form.
    """
    if plan == "reference":
        return model
    if plan != "exact":
        raise PlanError(f"There is no plan {plan!r} for a model that stays a torch module: use 'exact'.")
    for left in swap_operations(model).left:
        log.warning("Stays as mace-torch has it: %s.", left)
    return model


def swap_operations(model: nn.Module) -> SwapReport:
    """Swap what has a fast form, in place. Calling it again changes nothing.

    Raises:
        PlanError: Nothing in the model has a fast form.
    """
    from accel.mace_torch import model_dtype
    from accel.ops.chebyshev import DifferentiableChebyshev
    from accel.ops.contraction import SparseSymmetricContraction
    from accel.ops.convolution import EdgeMatrixProduct
    from accel.ops.element_linear import ElementLinear
    from accel.ops.radial_network import FactoredNetwork

    swapped_kinds = (
        SparseSymmetricContraction,
        EdgeMatrixProduct,
        DifferentiableChebyshev,
        ElementLinear,
        FactoredNetwork,
    )
    swapped, left = [], []
    for name, module in model.named_modules():
        leaf = name.rpartition(".")[2]
        if isinstance(module, swapped_kinds):
            swapped.append(name)
        elif DifferentiableChebyshev.covers(module):
            DifferentiableChebyshev.adopt(module)
            swapped.append(name)
        elif SparseSymmetricContraction.covers(module):
            SparseSymmetricContraction.adopt(module)
            swapped.append(name)
        elif leaf == "skip_tp" and ElementLinear.covers(module):
            ElementLinear.adopt(module)
            swapped.append(name)
        elif leaf == "conv_tp" and EdgeMatrixProduct.covers(module):
            EdgeMatrixProduct.adopt(module, model_dtype(model))
            # mace-torch's own switch for products that gather and sum by themselves.
            block: Any = model.get_submodule(name.rpartition(".")[0])
            block.conv_fusion = "edge matrix"
            swapped.append(name)
        elif (
            leaf == "conv_tp_weights"
            and FactoredNetwork.covers(module)
            and name.removesuffix("_weights") in swapped
        ):
            FactoredNetwork.adopt(module)
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
