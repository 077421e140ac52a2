"""Precision block by block: chosen parts of a model in few bits, geometry and energies in the model's own.

A block is cast where it begins and cast back where it ends, so that what lies between blocks (positions,
distances, harmonics, sums over layers and atoms) keeps the precision of the model. The casts are
differentiable: forces follow by autograd, whose reverse pass runs in the block's own precision too.
Parameters stay what they are, in the model's precision and state dict; where they are being trained, they
are cast at every call and their gradient arrives in full.

| block | modules |
|---|---|
| radial | the networks that give each path its weight, and those of densities |
| convolution | the tensor product of features and harmonics; with `accel.swap` its sum over neighbours too |
| linears | every linear layer and element-wise product with weights in interactions and products |
| contraction | the symmetric contractions |
| readouts | the readouts |
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from accel.errors import MissingBackend, PlanError
from accel.mace_torch import default_dtype
from accel.ops.radial_network import FactoredNetwork
from accel.plan import BLOCKS

PRECISIONS: Mapping[str, torch.dtype] = {
    "float64": torch.float64,
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_RADIAL = ("conv_tp_weights", "density_fn")


def lower_blocks(
    model: nn.Module, precisions: Mapping[str, str], *, layers: Sequence[int] = ()
) -> tuple[str, ...]:
    """Give blocks of `model`, which is where it is to compute, precisions of their own, in place.

    Args:
        model: A mace-torch model, swapped or not.
        precisions: By block; blocks that are not named stay as they are.
        layers: Only in these interactions, their products and readouts; in all where there are none.

    Returns:
        Names of the modules that now have a precision of their own.

    Raises:
        PlanError: There is no such block, precision or layer.
        MissingBackend: TF32 was asked of a device that does not have it.
    """
    device = next(model.parameters()).device
    for block, precision in precisions.items():
        if block not in BLOCKS or precision not in PRECISIONS:
            raise PlanError(
                f"{block} in {precision} cannot be had; there are the blocks {', '.join(BLOCKS)} and the "
                f"precisions {', '.join(PRECISIONS)}."
            )
        if precision == "tf32" and device.type != "cuda":
            raise MissingBackend(
                f"TF32 is a way in which NVIDIA's GPUs multiply matrices, and {device} is none: run this on "
                "one (--device cuda), or name bfloat16 or float32."
            )
    part: Any = model
    n_layers = len(part.interactions)
    if strange := [layer for layer in layers if not 0 <= layer < n_layers]:
        raise PlanError(f"The model has no layer {strange[0]}; it has those from 0 to {n_layers - 1}.")
    for module in model.modules():
        if isinstance(module, FactoredNetwork):  # what is cast between blocks has to be one array
            module.factored = False
    lowered = []
    for name, block, layer in _modules(model):
        if block in precisions and (not layers or layer in layers):
            _lower(model.get_submodule(name), precisions[block])
            lowered.append(name)
    return tuple(lowered)


def _modules(model: Any) -> Iterator[tuple[str, str, int]]:
    """The name of each module that can be cast, its block, and its layer."""
    for layer, interaction in enumerate(model.interactions):
        for name, child in interaction.named_children():
            if name in _RADIAL:
                yield f"interactions.{layer}.{name}", "radial", layer
            elif name == "conv_tp":
                yield f"interactions.{layer}.{name}", "convolution", layer
            elif any(True for _ in child.parameters()):
                yield f"interactions.{layer}.{name}", "linears", layer
    for layer, _ in enumerate(model.products):
        yield f"products.{layer}.symmetric_contractions", "contraction", layer
        yield f"products.{layer}.linear", "linears", layer
    for index, _ in enumerate(model.readouts):
        layer = len(model.interactions) - len(model.readouts) + index
        yield f"readouts.{index}", "readouts", layer


def _lower(module: Any, precision: str) -> None:
    # On the instance and no module itself, so that names, parameters and state dict stay as they are.
    module.forward = _Lowered(module, PRECISIONS[precision], tf32=precision == "tf32")


class _Lowered:
    """What a block's forward is replaced by: the same in another precision, between two casts."""

    def __init__(self, block: nn.Module, dtype: torch.dtype, *, tf32: bool) -> None:
        self.block = block
        self.dtype = dtype
        self.tf32 = tf32
        self.low = copy.deepcopy(block).to(dtype).requires_grad_(False)

    def __call__(self, *arguments: Any) -> Tensor:
        wide = next(value.dtype for value in arguments if _is_real(value))
        given = [value.to(self.dtype) if _is_real(value) else value for value in arguments]
        weights = {
            name: weight.to(self.dtype)
            for name, weight in self.block.named_parameters()
            if weight.requires_grad
        }
        if not self.tf32:
            return self._run(weights, given).to(wide)
        with tf32_products():
            out = _End.apply(self._run(weights, _begun(given)))  # type: ignore[no-untyped-call]
        return out.to(wide)  # type: ignore[no-any-return]

    def _run(self, weights: dict[str, Tensor], given: list[Any]) -> Tensor:
        with default_dtype(self.dtype):  # mace-torch makes masks of heads in it
            if not weights:
                return self.low(*given)  # type: ignore[no-any-return]
            return torch.func.functional_call(self.low, weights, tuple(given))  # type: ignore[no-any-return]


def _is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


@contextlib.contextmanager
def tf32_products() -> Iterator[None]:
    """Let matrices of fp32 be multiplied in TF32 in this block, on GPUs that can."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _begun(given: list[Any]) -> list[Any]:
    """The inputs of a block whose reverse pass is to run in TF32 as well, up to here."""
    places = [place for place, value in enumerate(given) if _is_real(value)]
    found = _Begin.apply(*(given[place] for place in places))  # type: ignore[no-untyped-call]
    for place, value in zip(places, found, strict=True):
        given[place] = value
    return given


class _Begin(torch.autograd.Function):
    """Where a block's reverse pass ends: products are exact again."""

    @staticmethod
    def forward(ctx: Any, *values: Tensor) -> tuple[Tensor, ...]:
        """The values as they are."""
        return tuple(value.view_as(value) for value in values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        """The gradients as they are."""
        torch.set_float32_matmul_precision("highest")
        return gradients


class _End(torch.autograd.Function):
    """Where a block's reverse pass begins: products in TF32 from here to `_Begin`."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        """The value as it is."""
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The gradient as it is."""
        torch.set_float32_matmul_precision("high")
        return gradients[0]
