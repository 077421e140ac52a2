"""Whether a model can be trained in its accelerated form: the gradient of a loss of forces.

Such a loss is differentiated twice, by positions and then by weights, so operations that give right
forces can still give wrong gradients. Compared is what an optimiser would be handed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from accel.mace_torch import default_dtype, model_dtype
from accel.reference import to_graph

if TYPE_CHECKING:
    from ase import Atoms
    from torch import Tensor, nn

_TARGET_EV_PER_A = 1.0
"""Spread of the forces that the loss pretends to be labels: none of its residuals is nearly zero."""


def force_loss_error(
    model: nn.Module,
    reference: nn.Module,
    structures: Sequence[Atoms],
    *,
    head: str | None = None,
    seed: int = 0,
) -> float:
    """How far the gradient of a force loss is from the reference's, as a part of its length.

    The loss is the sum of squared residuals against seeded random forces. Weights are compared by name;
    those that the accelerated model keeps in another form (cuEquivariance's contractions) cannot be.

    Args:
        model: The accelerated model; it stays as it is.
        reference: The same in mace-torch's own form, in fp64.
        structures: What the loss is summed over.
        head: Which of several heads.
        seed: Of the forces.
    """
    found, right = (_gradients(each, structures, head, seed) for each in (model, reference))
    names = [
        name for name, gradient in right.items() if name in found and found[name].shape == gradient.shape
    ]
    difference = sum(float(((found[name] - right[name]) ** 2).sum()) for name in names)
    length = sum(float((right[name] ** 2).sum()) for name in names)
    return math.sqrt(difference / length) if names and length else math.nan


def _gradients(
    model: nn.Module, structures: Sequence[Atoms], head: str | None, seed: int
) -> dict[str, Tensor]:
    """By the parameter's name, in fp64 on the CPU."""
    trained = copy.deepcopy(model).requires_grad_(True)
    parameters = {name: value for name, value in trained.named_parameters() if value.numel()}
    generator = torch.Generator().manual_seed(seed)
    total: dict[str, Tensor] = {}
    for atoms in structures:
        target = _TARGET_EV_PER_A * torch.randn(len(atoms), 3, generator=generator, dtype=torch.float64)
        graph = to_graph(atoms, trained, head=head)
        with default_dtype(model_dtype(trained)):
            forces = trained(graph, training=True)["forces"]
            loss = ((forces - target.to(forces)) ** 2).sum()
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            found = parameters[name].detach() * 0.0 if gradient is None else gradient.detach()
            total[name] = total.get(name, 0.0) + found.cpu().double().flatten()
    return total
