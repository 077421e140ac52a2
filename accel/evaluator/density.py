"""Messages divided by a density: one more function of the distance, summed over an atom's edges.

A block's messages are m = (linear layer of the sums) / D with D = base + slope · Σ_edges ρ(r). Backwards,
the gradient by D is -Σ g · m / D, and every edge passes it on to its distance. Both ways a block has its
edges at hand, so that nothing is kept.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from accel.evaluator.compilation import step
from accel.evaluator.edge_lanes import EDGES, column, data_of


class Density(NamedTuple):
    """How a layer's messages are normalised."""

    table: Any
    """[n_data · n_knots] knot data of ρ, for one pair of elements after the other; empty where D is 1."""
    base: float
    slope: float


@step
def normalise(layer: Any, atoms: int, message: Any, work: Any) -> None:
    """Divide a block's messages by the densities of its atoms, which are left in `work.density`."""
    if len(layer.density.table) == 0:
        return
    n_data = data_of(work.weights)
    for i in range(atoms):
        total = 0.0
        for e in range(work.first[i], work.first[i + 1]):
            knot = work.knot[e] * n_data
            at = column(e, 4 * n_data)
            for k in range(2 * n_data):
                total += layer.density.table[knot + k] * work.weights[at + k * EDGES]
        work.density[i] = layer.density.base + layer.density.slope * total
        _divide(layer, atoms, i, message, work.density[i])


@step
def _divide(layer: Any, atoms: int, i: int, x: Any, by: float) -> None:
    """Divide what atom `i` of a block has in `x`, which is by l, and behind that its gates."""
    n_l = len(layer.l_paths)
    channels = layer.channels
    factor = x.dtype.type(1.0 / by)
    for ell in range(n_l):
        at = (atoms * ell * ell + i * (2 * ell + 1)) * channels
        for c in range(at, at + (2 * ell + 1) * channels):
            x[c] *= factor
    wide = layer.gated.n_gates * channels
    at = atoms * n_l * n_l * channels + i * wide
    for c in range(at, at + wide):
        x[c] *= factor


@step
def normalise_reverse(layer: Any, atoms: int, message: Any, g_message: Any, work: Any) -> None:
    """From the gradient by normalised messages to that by what was divided, and by the densities.

    Args:
        layer: `packing.PackedLayer`.
        atoms: In the block.
        message: The block's normalised messages; they are left divided once more.
        g_message: Gradient by them; overwritten.
        work: `block.Work`; gets the gradient by the place of each edge in the tables, `g_density`.
    """
    if len(layer.density.table) == 0:
        return
    n_l = len(layer.l_paths)
    channels = layer.channels
    wide = layer.gated.n_gates * channels
    normalise(layer, atoms, message, work)
    n_data = data_of(work.weights)
    for i in range(atoms):
        total = 0.0
        for ell in range(n_l):
            at = (atoms * ell * ell + i * (2 * ell + 1)) * channels
            for c in range(at, at + (2 * ell + 1) * channels):
                total -= g_message[c] * message[c]
        at = atoms * n_l * n_l * channels + i * wide
        for c in range(at, at + wide):
            total -= g_message[c] * message[c]
        _divide(layer, atoms, i, g_message, work.density[i])
        for e in range(work.first[i], work.first[i + 1]):
            knot = work.knot[e] * n_data
            at = column(e, 4 * n_data)
            slope = 0.0
            for k in range(2 * n_data):
                slope += layer.density.table[knot + k] * work.weights[at + (2 * n_data + k) * EDGES]
            work.g_density[e] = total * layer.density.slope * slope


@step
def add_slopes(layer: Any, atoms: int, work: Any) -> None:
    """Add `work.g_density` to the gradient by the place of each edge of the block."""
    if len(layer.density.table) == 0:
        return
    slot = layer.path_slot[0] + layer.path_rows[0]
    for e in range(work.first[atoms]):
        work.g_matrix[column(e, layer.n_slots) + slot * EDGES] += work.g_density[e]


def density_of(table: Any, base_and_slope: tuple[float, float], dtype: Any) -> Density:
    """From knot data [n_pairs, n_knots, n_data, 1], or None where nothing is divided."""
    data = np.zeros(0) if table is None else table.reshape(-1)
    return Density(np.ascontiguousarray(data, dtype=dtype), *base_and_slope)
