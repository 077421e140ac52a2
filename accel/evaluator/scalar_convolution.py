"""The convolution where senders are scalars and harmonics reach l = 3: all paths of an edge at once.

That is every first layer of the usual models, and all layers of those with scalars only. An edge's matrix is
a row of harmonics then. All radial weights of an edge stand together in the table, an edge's gradient by what
it was sent is added in one go, and the sums over channels of as many edges as fill a vector are formed
together.
"""

from __future__ import annotations

from typing import Any

from accel.evaluator.block import places_to_l3
from accel.evaluator.compilation import inlined, step
from accel.evaluator.edge_lanes import (
    EDGES,
    ROWS,
    add_scalar_message,
    column,
    data_of,
    half_zeros,
    reverse_scalar_message,
    store_partial,
    summed_partial,
)
from accel.evaluator.lanes import lanes_of, load, store, store_rows, zeros


@step
def sum_scalar_messages(layer: Any, up: Any, atoms: int, work: Any) -> None:
    """As `convolution.sum_messages`."""
    _sum(zeros(9, up), layer, up, atoms, work)
    _sum(zeros(7, up), layer, up, atoms, work)


@inlined
def _sum(start: Any, layer: Any, up: Any, atoms: int, work: Any) -> None:
    """As many components of the message as registers hold: of l up to 2, or of l = 3."""
    channels = layer.edge_channels
    onward = 4 * data_of(up) * lanes_of(up)
    n_weights = 4 * data_of(up)
    for j in range(0, channels, lanes_of(up)):
        tile = j * layer.n_knots * 4 * data_of(up)
        for i in range(atoms):
            rows = start
            for e in range(work.first[i], work.first[i + 1]):
                rows = add_scalar_message(
                    rows, layer.table, tile + work.knot[e] * onward, onward,
                    work.weights, column(e, n_weights), work.matrix, column(e, layer.n_slots),
                    load(up, work.sender[e] + j),
                )  # fmt: skip
            _store_sums(rows, work.rows, places_to_l3(atoms, i, channels, j), channels)


@inlined
def _store_sums(rows: Any, out: Any, places: Any, channels: int) -> None:
    """Write what `_sum` has summed to where each l begins."""
    if len(rows) == 7:
        store_rows(rows, out, places[3], channels)
    else:
        store(out, places[0], rows[0])
        store_rows(rows[1:4], out, places[1], channels)
        store_rows(rows[4:9], out, places[2], channels)


@step
def reverse_scalar_messages(layer: Any, up: Any, g_up: Any, sends: bool, atoms: int, work: Any) -> None:
    """As `convolution.reverse_messages`; the first path gets the whole gradient by the place in the table."""
    channels = layer.edge_channels
    lanes = lanes_of(up)
    onward = 4 * data_of(up) * lanes
    n_weights = 4 * data_of(up)
    group = lanes // 2
    for i in range(atoms):
        for e in range(work.first[i], work.first[i + 1]):
            sums = half_zeros(up)
            by_datum = column(e, n_weights)
            entries = column(e, layer.n_slots)
            for j in range(0, channels, lanes):
                at = work.sender[e] + j
                places = places_to_l3(atoms, i, channels, j)
                sums, by_sent = reverse_scalar_message(
                    sums, layer.table, (j * layer.n_knots + work.knot[e] * lanes) * 4 * data_of(up), onward,
                    work.weights, by_datum, work.matrix, entries, load(up, at), work.rows, places, channels,
                )  # fmt: skip
                if sends:
                    store(g_up, at, by_sent + load(g_up, at))
            store_partial(sums, work.partial, e % group * ROWS * group)
            if e % group == group - 1:
                _sum_group(layer, e - group + 1, work)
    last = work.first[atoms]
    if last % group:
        _sum_group(layer, last - last % group, work)


@inlined
def _sum_group(layer: Any, e: int, work: Any) -> None:
    """From partial sums of the edges from `e` on to the gradient by their matrices."""
    at = column(e, layer.n_slots)
    summed_partial(work.partial, 0, work.g_matrix, at + EDGES)
    for ell in range(1, 4):
        for row in range(ell * ell, (ell + 1) * (ell + 1)):
            summed_partial(work.partial, row, work.g_matrix, at + (row + ell) * EDGES)
