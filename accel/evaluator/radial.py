"""Radial weights as Hermite splines of fifth or seventh degree, read from the model's own radial part.

A spline of value, first and second derivative is twice continuously differentiable, so the energy
and the forces that follow from it are smooth across knots, and forces are the exact derivative of
the tabulated energy. The error of the derivative falls as the fifth power of the spacing; with the third
derivative too as the seventh, so that a table for fp64 has a quarter to half of the knots.

Radial functions bend most at short distances, so knots are equally spaced in a coordinate
s(r) = ln(1 + r / 1 Å), from 0 at `R_MIN_A` to 1 at the cutoff: a third of the knots for the same error.

Where the elements of sender and receiver matter (distance transforms, non-linear blocks), there is
a table for each pair of elements present.
"""

from __future__ import annotations

from itertools import combinations_with_replacement, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from accel.evaluator.edge_lanes import hermite_basis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Pair = tuple[int, int]
    """Elements of sender and receiver, as indices into the model's."""

_SAMPLES = 60
_MOST_INTERVALS = 4096
_ROUNDING = 1e-12
"""What is less than this part of the largest entry at the cutoff is a zero that was rounded."""
R_MIN_A = 0.1
"""Where tables begin. Closer atoms are refused: no model was ever trained there."""


class ElementaryLayerNorm(torch.nn.LayerNorm):
    """A layer norm in operations of which torch knows the second derivative in forward mode.

    That of its own is wrong (torch 2.13), which no error tells.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the class that this is made from in place; over the last axis."""
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + self.eps)
        return scaled * self.weight + self.bias


def pairing_of(module: Any) -> str:
    """How radial weights depend on the elements of an edge's ends.

    `none`: not at all; `symmetric`: on both alike (distance transforms); `ordered`: it matters which of
    them sends (non-linear blocks).
    """
    if any(hasattr(block, "source_embedding") for block in module.interactions):
        return "ordered"
    return "symmetric" if hasattr(module.radial_embedding, "distance_transform") else "none"


def table_pairs(pairing: str, elements: Sequence[int]) -> tuple[list[Pair], NDArray[np.int64]]:
    """For which pairs of elements there have to be tables.

    Returns:
        The pairs, and by [sender, receiver] (counted in `elements`) which of them stands for it.
    """
    n = len(elements)
    if pairing == "none":
        return [(0, 0)], np.zeros((n, n), dtype=np.int64)
    if pairing == "ordered":
        return list(product(elements, elements)), np.arange(n * n).reshape(n, n)
    number = np.zeros((n, n), dtype=np.int64)
    number[np.triu_indices(n)] = np.arange(n * (n + 1) // 2)
    return list(combinations_with_replacement(elements, 2)), np.maximum(number, number.T)


class RadialTables(NamedTuple):
    """What a layer reads by an edge's length."""

    weights: NDArray[np.float64]
    """[n_pairs, n_intervals + 1, n_data, n_weights] (`tabulate`)."""
    density: NDArray[np.float64] | None
    """[n_pairs, n_intervals + 1, n_data, 1]; None where messages are not divided by one."""


def radial_tables(
    module: Any, layer: int, n_intervals: int, pairs: Sequence[Pair], n_data: int
) -> RadialTables:
    """All tables of a layer."""
    return RadialTables(
        tabulate(module, layer, n_intervals, pairs, n_data),
        tabulate(module, layer, n_intervals, pairs, n_data, density=True)
        if hasattr(module.interactions[layer], "density_fn")
        else None,
    )


def tabulate(
    module: Any, layer: int, n_intervals: int, pairs: Sequence[Pair], n_data: int, *, density: bool = False
) -> NDArray[np.float64]:
    """Values and scaled derivatives of a layer's radial weights at the knots.

    Args:
        module: The mace-torch model, fp64 on the CPU.
        layer: Which interaction.
        n_intervals: Intervals between `R_MIN_A` and the cutoff.
        pairs: Elements to tabulate for, one table after the other.
        n_data: Value and derivatives at a knot.
        density: Tabulate what an edge adds to its receiver's density instead.

    Returns:
        [n_pairs, n_intervals + 1, n_data, n_weights]: f and its derivatives by the number of the knot.
    """
    places = np.arange(n_intervals + 1.0)
    tables = [_knot_data(module, layer, places, n_intervals, pair, n_data, density=density) for pair in pairs]
    for table in tables:
        # The envelope ends there; what its rounded derivatives leave would be a step in the force.
        # (A network with biases ends at a value of its own, which is no rounding.)
        table[-1][np.abs(table[-1]) < _ROUNDING * np.abs(table).max(initial=0.0)] = 0.0
    return np.stack(tables)


def knots(cutoff_a: float, n_intervals: int) -> NDArray[np.float64]:
    """Distances of the knots, Å."""
    return _distance(torch.arange(n_intervals + 1.0, dtype=torch.float64), cutoff_a, n_intervals).numpy()


def _distance(place: torch.Tensor, cutoff_a: float, n_intervals: int) -> torch.Tensor:
    """Distance at a place counted in knots: the inverse of what `geometry.measure_edges` computes."""
    low, high = np.log1p(R_MIN_A), np.log1p(cutoff_a)
    return torch.expm1(low + place * ((high - low) / n_intervals))


def _knot_data(
    module: Any,
    layer: int,
    place: NDArray[np.float64],
    n_intervals: int,
    pair: Pair,
    n_data: int,
    *,
    density: bool = False,
) -> NDArray[np.float64]:
    """[n, n_data, n_weights]: f, f', f'', … at places counted in knots, derivatives by the place."""
    lengths = torch.from_numpy(place)[:, None]
    tangent = torch.ones_like(lengths)
    cutoff_a = float(module.r_max)
    read = edge_density if density else radial_weights

    def values(x: torch.Tensor) -> torch.Tensor:
        # Rounding must not push the last knot past the cutoff, where everything is zero.
        return read(module, layer, _distance(x, cutoff_a, n_intervals).clamp(max=cutoff_a), pair)[:, None]

    def with_slope(
        function: Callable[[torch.Tensor], torch.Tensor],
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        def longer(x: torch.Tensor) -> torch.Tensor:
            found, slopes = torch.func.jvp(function, (x,), (tangent,))[:2]
            return torch.cat([found, slopes[:, -1:]], dim=1)

        return longer

    function: Callable[[torch.Tensor], torch.Tensor] = values
    for _ in range(n_data - 1):
        function = with_slope(function)
    return function(lengths).detach().numpy().copy()


def radial_weights(module: Any, layer: int, lengths: torch.Tensor, pair: Pair = (0, 0)) -> torch.Tensor:
    """What mace-torch multiplies a layer's paths by, at these distances.

    Args:
        module: The mace-torch model.
        layer: Which interaction.
        lengths: [n, 1], Å.
        pair: Elements of sender and receiver.

    Returns:
        [n, n_weights].
    """
    features, cutoff = _edge_features(module, layer, lengths, pair)
    weights: torch.Tensor = module.interactions[layer].conv_tp_weights(features)
    return weights if cutoff is None else weights * cutoff


def edge_density(module: Any, layer: int, lengths: torch.Tensor, pair: Pair = (0, 0)) -> torch.Tensor:
    """What an edge of these lengths adds to its receiver's density [n, 1], where a block has one."""
    features, cutoff = _edge_features(module, layer, lengths, pair)
    density = torch.tanh(module.interactions[layer].density_fn(features) ** 2)
    return density if cutoff is None else density * cutoff


def _edge_features(
    module: Any, layer: int, lengths: torch.Tensor, pair: Pair
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What a block's radial network reads, and the envelope where it comes after the network."""
    n = len(lengths)
    # The embedding takes a graph: two atoms, and all edges from the first to the second.
    attributes = torch.zeros(2, len(module.atomic_numbers), dtype=lengths.dtype)
    attributes[torch.arange(2), torch.tensor(pair)] = 1.0
    edges = torch.stack([torch.zeros(n, dtype=torch.int64), torch.ones(n, dtype=torch.int64)])
    features, cutoff = module.radial_embedding(lengths, attributes, edges, module.atomic_numbers)
    block = module.interactions[layer]
    if hasattr(block, "source_embedding"):
        source, target = block.source_embedding(attributes)[:1], block.target_embedding(attributes)[1:]
        features = torch.cat([features, source.expand(n, -1), target.expand(n, -1)], dim=-1)
    return features, cutoff


def intervals_for(module: Any, tolerance: float, n_data: int) -> int:
    """Fewest intervals, a power of two, at which every layer's table is this good."""
    pairs = _typical_pairs(module)
    n_intervals = 16
    while n_intervals < _MOST_INTERVALS:
        errors = (
            table_error(module, i, n_intervals, pair, n_data, density=density)
            for i, block in enumerate(module.interactions)
            for density in (False, True)[: 1 + hasattr(block, "density_fn")]
            for pair in pairs
        )
        if all(error <= tolerance for error in errors):
            break
        n_intervals *= 2
    return n_intervals


def _typical_pairs(module: Any) -> list[Pair]:
    """Pairs of elements on which tables are tried: transforms bend most for the smallest atoms."""
    if pairing_of(module) == "none":
        return [(0, 0)]
    from ase.data import covalent_radii

    radii = covalent_radii[module.atomic_numbers.numpy()]
    small, large = int(radii.argmin()), int(radii.argmax())
    return sorted({(small, small), (small, large), (large, large)})


def table_error(
    module: Any, layer: int, n_intervals: int, pair: Pair, n_data: int, *, density: bool = False
) -> float:
    """Error of tabulated derivatives in sampled intervals, as a fraction of the largest derivative.

    Only the knots around the samples are computed, so that the cost does not grow with the table.
    """
    knot = np.linspace(0, n_intervals - 1, _SAMPLES).astype(int)
    t = np.random.default_rng(0).uniform(0.1, 0.9, _SAMPLES)
    basis = hermite_basis(n_data)
    by_t = t[:, None] ** np.arange(2 * n_data - 1) @ (basis[:, 1:] * np.arange(1, 2 * n_data)).T
    ends = np.concatenate([knot, knot + 1.0])
    data = _knot_data(module, layer, ends, n_intervals, pair, n_data, density=density)
    stacked = np.concatenate([data[:_SAMPLES], data[_SAMPLES:]], axis=1)
    ours = np.einsum("nk,nkw->nw", by_t, stacked)
    theirs = _knot_data(module, layer, knot + t, n_intervals, pair, 2, density=density)[:, 1]
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
