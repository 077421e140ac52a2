"""Radial weights as quintic Hermite splines, read from the model's own radial part.

A spline of value, first and second derivative is twice continuously differentiable, so the energy
and the forces that follow from it are smooth across knots, and forces are the exact derivative of
the tabulated energy. The error of the derivative falls as the fifth power of the spacing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

R_MIN_A = 0.1
"""Where tables begin. Closer atoms are refused: no model was ever trained there."""


def tabulate(module: Any, layer: int, n_intervals: int) -> NDArray[np.float64]:
    """Values and scaled derivatives of a layer's radial weights at equally spaced knots.

    Args:
        module: The mace-torch model, fp64 on the CPU.
        layer: Which interaction.
        n_intervals: Intervals between `R_MIN_A` and the cutoff.

    Returns:
        [n_intervals + 1, 3, n_weights]: f, h·f', h²·f''; zeros at the cutoff.
    """
    cutoff = float(module.r_max)
    r = torch.linspace(R_MIN_A, cutoff, n_intervals + 1, dtype=torch.float64)[:, None]
    h = (cutoff - R_MIN_A) / n_intervals
    tangent = torch.ones_like(r)

    def weights(x: torch.Tensor) -> torch.Tensor:
        return radial_weights(module, layer, x)

    def slope(x: torch.Tensor) -> torch.Tensor:
        derivative: torch.Tensor = torch.func.jvp(weights, (x,), (tangent,))[1]
        return derivative

    value, first = torch.func.jvp(weights, (r,), (tangent,))
    second = torch.func.jvp(slope, (r,), (tangent,))[1]
    table = torch.stack([value, h * first, h * h * second], dim=1).detach().numpy().copy()
    # The envelope ends there; what its rounded derivatives leave would be a step in the force.
    table[-1] = 0.0
    return np.ascontiguousarray(table)


def radial_weights(module: Any, layer: int, lengths: torch.Tensor) -> torch.Tensor:
    """What mace-torch multiplies a layer's paths by, at these distances.

    Args:
        module: The mace-torch model.
        layer: Which interaction.
        lengths: [n, 1], Å.

    Returns:
        [n, n_weights].
    """
    n = len(lengths)
    # The embedding takes a graph. One element stands for all: transforms by element are refused.
    attributes = torch.zeros(2, len(module.atomic_numbers), dtype=lengths.dtype)
    attributes[:, 0] = 1.0
    edges = torch.stack([torch.zeros(n, dtype=torch.int64), torch.ones(n, dtype=torch.int64)])
    features, cutoff = module.radial_embedding(lengths, attributes, edges, module.atomic_numbers)
    weights: torch.Tensor = module.interactions[layer].conv_tp_weights(features)
    return weights if cutoff is None else weights * cutoff


def hermite_basis(t: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights of the six knot data at fraction `t` for the value, and for the derivative by `t`.

    Returns:
        Two arrays [n, 6], in the order f0, f0', f0'', f1, f1', f1''.
    """
    p = np.polynomial.polynomial
    basis = np.array(
        [
            [1, 0, 0, -10, 15, -6],
            [0, 1, 0, -6, 8, -3],
            [0, 0, 0.5, -1.5, 1.5, -0.5],
            [0, 0, 0, 10, -15, 6],
            [0, 0, 0, -4, 7, -3],
            [0, 0, 0, 0.5, -1, 0.5],
        ]
    ).T
    return p.polyval(t, basis).T, p.polyval(t, p.polyder(basis)).T


def intervals_for(module: Any, tolerance: float) -> int:
    """Fewest intervals, a power of two, at which every layer's table is this good.

    Compared are derivatives at random distances, as a fraction of the largest of their function.
    """
    n_intervals = 64
    while n_intervals < _MOST_INTERVALS:
        if max(table_error(module, i, n_intervals) for i in range(len(module.interactions))) <= tolerance:
            return n_intervals
        n_intervals *= 2
    return n_intervals


_MOST_INTERVALS = 4096


def table_error(module: Any, layer: int, n_intervals: int) -> float:
    """Largest error of tabulated derivatives, as a fraction of the largest derivative."""
    table = tabulate(module, layer, n_intervals)
    cutoff = float(module.r_max)
    h = (cutoff - R_MIN_A) / n_intervals
    place = np.random.default_rng(0).uniform(0.0, n_intervals, 500)
    knot = np.minimum(place.astype(int), n_intervals - 1)
    _, by_t = hermite_basis(place - knot)
    data = np.concatenate([table[knot], table[knot + 1]], axis=1)
    ours = np.einsum("nk,nkw->nw", by_t, data) / h
    r = torch.from_numpy(R_MIN_A + place * h)[:, None]
    theirs = torch.func.jvp(lambda x: radial_weights(module, layer, x), (r,), (torch.ones_like(r),))[1].detach().numpy()
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
