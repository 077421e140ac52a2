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
    add_sums,
    column,
    data_of,
    reverse_scalar_message,
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
    last = work.first[atoms]
    work.g_matrix[: (last + EDGES - 1) // EDGES * EDGES * layer.n_slots] = 0
    for j in range(0, channels, lanes):
        tile = j * layer.n_knots * 4 * data_of(up)
        for i in range(atoms):
            places = places_to_l3(atoms, i, channels, j)
            for e in range(work.first[i], work.first[i + 1]):
                at = work.sender[e] + j
                by_sent = reverse_scalar_message(
                    layer.table, tile + work.knot[e] * onward, onward, work.weights, column(e, n_weights),
                    work.matrix, column(e, layer.n_slots), load(up, at), work.rows, places, channels,
                    work.partial, e % group * ROWS * group,
                )  # fmt: skip
                if sends:
                    store(g_up, at, by_sent + load(g_up, at))
                if e % group == group - 1:
                    _add_group(layer, e - group + 1, work)
        if last % group:
            _add_group(layer, last - last % group, work)


@inlined
def _add_group(layer: Any, e: int, work: Any) -> None:
    """From partial sums of the edges from `e` on to the gradient by their matrices."""
    at = column(e, layer.n_slots)
    add_sums(work.partial, 0, work.g_matrix, at + EDGES)
    for ell in range(1, 4):
        for row in range(ell * ell, (ell + 1) * (ell + 1)):
            add_sums(work.partial, row, work.g_matrix, at + (row + ell) * EDGES)
