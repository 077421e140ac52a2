"""Radial weights as quintic Hermite splines, read from the model's own radial part.

A spline of value, first and second derivative is twice continuously differentiable, so the energy
and the forces that follow from it are smooth across knots, and forces are the exact derivative of
the tabulated energy. The error of the derivative falls as the fifth power of the spacing.

Radial functions bend most at short distances, so knots are equally spaced in a coordinate
s(r) = ln(1 + r / 1 Å), from 0 at `R_MIN_A` to 1 at the cutoff: a third of the knots for the same error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SAMPLES = 60
_MOST_INTERVALS = 4096
R_MIN_A = 0.1
"""Where tables begin. Closer atoms are refused: no model was ever trained there."""


def tabulate(module: Any, layer: int, n_intervals: int) -> NDArray[np.float64]:
    """Values and scaled derivatives of a layer's radial weights at the knots.

    Args:
        module: The mace-torch model, fp64 on the CPU.
        layer: Which interaction.
        n_intervals: Intervals between `R_MIN_A` and the cutoff.

    Returns:
        [n_intervals + 1, 3, n_weights]: f and its derivatives by the number of the knot; zeros at
        the cutoff.
    """
    table = _knot_data(module, layer, np.arange(n_intervals + 1.0), n_intervals)
    # The envelope ends there; what its rounded derivatives leave would be a step in the force.
    table[-1] = 0.0
    return table


def knots(cutoff_a: float, n_intervals: int) -> NDArray[np.float64]:
    """Distances of the knots, Å."""
    return _distance(torch.arange(n_intervals + 1.0, dtype=torch.float64), cutoff_a, n_intervals).numpy()


def _distance(place: torch.Tensor, cutoff_a: float, n_intervals: int) -> torch.Tensor:
    """Distance at a place counted in knots: the inverse of what `geometry.measure_edges` computes."""
    low, high = np.log1p(R_MIN_A), np.log1p(cutoff_a)
    return torch.expm1(low + place * ((high - low) / n_intervals))


def _knot_data(module: Any, layer: int, place: NDArray[np.float64], n_intervals: int) -> NDArray[np.float64]:
    """[n, 3, n_weights]: f, f', f'' at places counted in knots, derivatives by the place."""
    lengths = torch.from_numpy(place)[:, None]
    tangent = torch.ones_like(lengths)
    cutoff_a = float(module.r_max)

    def weights(x: torch.Tensor) -> torch.Tensor:
        # Rounding must not push the last knot past the cutoff, where everything is zero.
        return radial_weights(module, layer, _distance(x, cutoff_a, n_intervals).clamp(max=cutoff_a))

    def weights_and_slope(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value, slope = torch.func.jvp(weights, (x,), (tangent,))[:2]
        return value, slope

    (value, first), (_, second) = torch.func.jvp(weights_and_slope, (lengths,), (tangent,))[:2]
    return torch.stack([value, first, second], dim=1).detach().numpy().copy()


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
    basis = np.array(
        [
            [1, 0, 0, -10, 15, -6],
            [0, 1, 0, -6, 8, -3],
            [0, 0, 0.5, -1.5, 1.5, -0.5],
            [0, 0, 0, 10, -15, 6],
            [0, 0, 0, -4, 7, -3],
            [0, 0, 0, 0.5, -1, 0.5],
        ]
    )
    powers = t[:, None] ** np.arange(6)
    return powers @ basis.T, powers[:, :5] @ (basis[:, 1:] * np.arange(1, 6)).T


def intervals_for(module: Any, tolerance: float) -> int:
    """Fewest intervals, a power of two, at which every layer's table is this good."""
    n_intervals = 16
    while n_intervals < _MOST_INTERVALS:
        if max(table_error(module, i, n_intervals) for i in range(len(module.interactions))) <= tolerance:
            break
        n_intervals *= 2
    return n_intervals


def table_error(module: Any, layer: int, n_intervals: int) -> float:
    """Error of tabulated derivatives in sampled intervals, as a fraction of the largest derivative.

    Only the knots around the samples are computed, so that the cost does not grow with the table.
    """
    knot = np.linspace(0, n_intervals - 1, _SAMPLES).astype(int)
    t = np.random.default_rng(0).uniform(0.1, 0.9, _SAMPLES)
    _, by_t = hermite_basis(t)
    data = _knot_data(module, layer, np.concatenate([knot, knot + 1.0]), n_intervals)
    stacked = np.concatenate([data[:_SAMPLES], data[_SAMPLES:]], axis=1)
    ours = np.einsum("nk,nkw->nw", by_t, stacked)
    theirs = _knot_data(module, layer, knot + t, n_intervals)[:, 1]
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
