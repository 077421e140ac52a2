"""Messages of l = 4 and above: the paths of `convolution` one component at a time.

Components of lower l are held in registers together, and that many registers there are not. Models with
harmonics this high are rare, so that plain loops will do.
"""

from __future__ import annotations

from typing import Any

from accel.evaluator.compilation import inlined, step
from accel.evaluator.lanes import fma, lanes_of, load, nothing, spread, store, store_sums


@inlined
def interpolate(table: Any, k: int, weights: Any, w: int, n: int) -> Any:
    """One vector of a radial weight or slope from the six data of its interval."""
    lanes = lanes_of(table)
    total = spread(weights[w]) * load(table, k)
    total = fma(spread(weights[w + n]), load(table, k + lanes), total)
    total = fma(spread(weights[w + 2 * n]), load(table, k + 2 * lanes), total)
    total = fma(spread(weights[w + 3 * n]), load(table, k + 3 * lanes), total)
    total = fma(spread(weights[w + 4 * n]), load(table, k + 4 * lanes), total)
    return fma(spread(weights[w + 5 * n]), load(table, k + 5 * lanes), total)


@step
def sum_high_path(layer: Any, up: Any, p: int, row: int, i: int, n: int, work: Any) -> None:
    """Sum what atom `i` of the block receives along path `p` into `work.rows`, from `row` on."""
    channels = layer.edge_channels
    ell = layer.path_out[p]
    stride = layer.l_paths[ell] * channels
    for j in range(0, channels, lanes_of(up)):
        tile = (p * channels + j) * layer.n_knots * 3
        for m_out in range(2 * ell + 1):
            total = nothing(up)
            for e in range(work.first[i], work.first[i + 1]):
                radial = interpolate(layer.table, tile + work.knot[e], work.weights, e, n)
                for m_in in range(2 * layer.path_in[p] + 1):
                    slot = layer.path_slot[p] + m_in * (2 * ell + 2) + m_out
                    at = work.sender[e] + (layer.path_in[p] ** 2 + m_in) * channels + j
                    total = fma(spread(work.matrix[slot * n + e]), radial * load(up, at), total)
            store(work.rows, row + m_out * stride + j, total)


@step
def reverse_high_path(
    layer: Any, up: Any, g_up: Any, sends: bool, p: int, row: int, i: int, n: int, work: Any
) -> None:
    """Reverse what atom `i` of the block receives along path `p`; arguments as for `reverse_messages`."""
    channels = layer.edge_channels
    lanes = lanes_of(up)
    ell = layer.path_out[p]
    stride = layer.l_paths[ell] * channels
    for e in range(work.first[i], work.first[i + 1]):
        for j in range(0, channels, lanes):
            k = (p * channels + j) * layer.n_knots * 3 + work.knot[e]
            store(work.radial, j, interpolate(layer.table, k, work.weights, e, n))
            store(work.radial, channels + j, interpolate(layer.table, k, work.weights, e + 6 * n, n))
        for m_in in range(2 * layer.path_in[p] + 1):
            slot = (layer.path_slot[p] + m_in * (2 * ell + 2)) * n + e
            at = work.sender[e] + (layer.path_in[p] ** 2 + m_in) * channels
            by_place = nothing(up)
            for j in range(0, channels, lanes):
                arrived = nothing(up)
                for m_out in range(2 * ell + 1):
                    entry = spread(work.matrix[slot + m_out * n])
                    arrived = fma(entry, load(work.rows, row + m_out * stride + j), arrived)
                if sends:
                    store(g_up, at + j, fma(load(work.radial, j), arrived, load(g_up, at + j)))
                by_place = fma(load(work.radial, channels + j) * load(up, at + j), arrived, by_place)
            for m_out in range(2 * ell + 1):
                by_entry = nothing(up)
                for j in range(0, channels, lanes):
                    weighted = load(work.radial, j) * load(up, at + j)
                    by_entry = fma(weighted, load(work.rows, row + m_out * stride + j), by_entry)
                # The gradient by the distance has its slot behind the entries.
                store_sums((by_entry,), by_place, work.g_matrix, slot + m_out * n, (2 * ell + 1 - m_out) * n)
