"""The convolution of a block of atoms with their edges, forward and reverse, without writing messages.

In MACE's product of features and harmonics the harmonics have multiplicity 1, so Σ CG·Y is one
small matrix for each edge and path that all channels share. Forward, one tile of the radial table
(a path and a vector of channels) serves all edges of the block from the first-level cache, and the
2l + 1 sums of an atom stay in registers over all of its edges. In reverse the sums are over channels,
so that these are the innermost loop.
"""

from __future__ import annotations

from typing import Any

from accel.evaluator.compilation import inlined, step
from accel.evaluator.edge_lanes import EDGES, column, data_of, interpolated
from accel.evaluator.lanes import (
    add_outer,
    add_scaled,
    fma,
    lanes_of,
    load,
    load_rows,
    nothing,
    store,
    store_rows,
    store_sums,
    weighted_sum,
    zeros,
)
from accel.evaluator.scalar_convolution import reverse_scalar_messages, sum_scalar_messages


@inlined
def _tile(layer: Any, p: int, j: int) -> Any:
    """Where the table of path `p` and the vector of channels from `j` on begins."""
    return (layer.path[p] * layer.edge_channels + j) * layer.n_knots * data_of(layer.table)


@inlined
def _row(layer: Any, p: int, atoms: int, i: int) -> Any:
    """Where the rows of path `p` and atom `i` begin in `work.rows`; they are `l_paths · channels` apart."""
    ell = layer.path_out[p]
    before = 0
    for l_before in range(ell):
        before += layer.l_paths[l_before] * (2 * l_before + 1)
    here = (i * (2 * ell + 1) + layer.path_first[p]) * layer.l_paths[ell] + layer.path_column[p]
    return (atoms * before + here) * layer.edge_channels


@step
def sum_messages(layer: Any, up: Any, atoms: int, work: Any) -> None:
    """Sum the messages that a block's atoms receive into `work.rows`.

    Args:
        layer: `packing.PackedLayer`.
        up: Features of all senders.
        atoms: In the block.
        work: `block.Work` with the block's edges and their matrices.
    """
    if layer.scalar:
        sum_scalar_messages(layer, up, atoms, work)
        return
    for p in range(len(layer.path)):
        rows = layer.path_rows[p]
        if rows == 1:
            _sum_path(zeros(1, up), layer, up, p, atoms, work)
        elif rows == 3:
            _sum_path(zeros(3, up), layer, up, p, atoms, work)
        elif rows == 5:
            _sum_path(zeros(5, up), layer, up, p, atoms, work)
        else:
            _sum_path(zeros(7, up), layer, up, p, atoms, work)


@inlined
def _sum_path(start: Any, layer: Any, up: Any, p: int, atoms: int, work: Any) -> None:
    """One piece of a path, which has as many components of the message as `start` has rows."""
    channels = layer.edge_channels
    n_in = 2 * layer.path_in[p] + 1
    begin = layer.path_in[p] ** 2 * channels
    stride = layer.l_paths[layer.path_out[p]] * channels
    per_knot = data_of(up) * lanes_of(up)
    n_weights = 4 * data_of(up)
    for j in range(0, channels, lanes_of(up)):
        tile = _tile(layer, p, j)
        for i in range(atoms):
            rows = start
            for e in range(work.first[i], work.first[i + 1]):
                radial = interpolated(
                    layer.table, tile + work.knot[e] * per_knot, per_knot, work.weights, column(e, n_weights)
                )
                at = work.sender[e] + begin + j
                slot = column(e, layer.n_slots) + layer.path_slot[p] * EDGES
                for _ in range(n_in):
                    rows = add_outer(rows, work.matrix, slot, EDGES, radial * load(up, at))
                    at += channels
                    slot += (len(start) + 1) * EDGES
            store_rows(rows, work.rows, _row(layer, p, atoms, i) + j, stride)


@step
def reverse_messages(layer: Any, up: Any, g_up: Any, sends: bool, atoms: int, work: Any) -> None:
    """Reverse the messages that a block's atoms receive: from `work.rows` to `g_up` and `work.g_matrix`.

    Args:
        layer: `packing.PackedLayer`.
        up: Features of all senders.
        g_up: Gradient by them, added to: the caller's thread's own.
        sends: Whether the senders' features depend on positions; if not, `g_up` is left alone.
        atoms: In the block.
        work: `block.Work` with the block's edges and their matrices.
    """
    if layer.scalar:
        reverse_scalar_messages(layer, up, g_up, sends, atoms, work)
        return
    for p in range(len(layer.path)):
        rows = layer.path_rows[p]
        if rows == 1:
            _reverse_path(zeros(1, up), layer, up, g_up, sends, p, atoms, work)
        elif rows == 3:
            _reverse_path(zeros(3, up), layer, up, g_up, sends, p, atoms, work)
        elif rows == 5:
            _reverse_path(zeros(5, up), layer, up, g_up, sends, p, atoms, work)
        else:
            _reverse_path(zeros(7, up), layer, up, g_up, sends, p, atoms, work)


@inlined
def _reverse_path(
    start: Any, layer: Any, up: Any, g_up: Any, sends: bool, p: int, atoms: int, work: Any
) -> None:
    """One piece of a path, which has as many components of the message as `start` has rows."""
    channels = layer.edge_channels
    lanes = lanes_of(up)
    n_in = 2 * layer.path_in[p] + 1
    begin = layer.path_in[p] ** 2 * channels
    stride = layer.l_paths[layer.path_out[p]] * channels
    radial = work.radial
    per_knot = data_of(up) * lanes
    n_weights = 4 * data_of(up)
    for i in range(atoms):
        row = _row(layer, p, atoms, i)
        for e in range(work.first[i], work.first[i + 1]):
            for m in range(n_in):
                slot = column(e, layer.n_slots) + (layer.path_slot[p] + m * (len(start) + 1)) * EDGES
                at = work.sender[e] + begin + m * channels
                by_entry = start
                by_place = nothing(up)
                for j in range(0, channels, lanes):
                    if m == 0:
                        k = _tile(layer, p, j) + work.knot[e] * per_knot
                        by_datum = column(e, n_weights)
                        value = interpolated(layer.table, k, per_knot, work.weights, by_datum)
                        by_datum += 2 * data_of(up) * EDGES
                        slope = interpolated(layer.table, k, per_knot, work.weights, by_datum)
                        if n_in > 1:
                            store(radial, j, value)
                            store(radial, channels + j, slope)
                    else:
                        value = load(radial, j)
                        slope = load(radial, channels + j)
                    sent = load(up, at + j)
                    g_rows = load_rows(start, work.rows, row + j, stride)
                    arrived = weighted_sum(g_rows, work.matrix, slot, EDGES)
                    if sends:
                        store(g_up, at + j, fma(value, arrived, load(g_up, at + j)))
                    by_entry = add_scaled(by_entry, g_rows, value * sent)
                    by_place = fma(slope * sent, arrived, by_place)
                store_sums(by_entry, by_place, work.g_matrix, slot, EDGES)
