"""Work space of one thread, and the edges of the block that it is at.

A block holds atoms of one element that are numbered in a row, few enough that all that lies between
two steps stays in cache. What a block's atoms carry is ordered by l, then atom, then m, so that a
linear layer is one matrix product for each l. Its edges are numbered from 0 on; what belongs to an
edge is a column (`edge_lanes.column`), so that a vector takes as many edges at a time as it has numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from accel.evaluator.compilation import inlined, kernel, step
from accel.evaluator.edge_lanes import EDGES, KNOT_DATA, ROWS, column, data_of, store_knot_weights
from accel.evaluator.harmonics import harmonics
from accel.evaluator.lanes import aligned, fma, lanes_of, load, nothing, spread, store, width
from accel.evaluator.lanes import ticks as ticks

if TYPE_CHECKING:
    from accel.evaluator.packing import PackedLayer

BLOCK = 24
"""Atoms in a block: a multiple of `lanes.TILE_ROWS`."""
STEPS = ("edges", "messages", "linear", "contraction", "reverse contraction", "reverse linear",
         "reverse messages", "forces")  # fmt: skip
"""What `Work.ticks` counts, in this order."""


class Work(NamedTuple):
    """Scratch of one thread; `n` is the number of a block's edges, padded."""

    first: Any
    """[BLOCK + 1], int64; edges of an atom of the block."""
    neighbour: Any
    """[n], int64."""
    sender: Any
    """[n], int64; where the sender's features begin."""
    knot: Any
    """[n], int64; the interval in the radial table."""
    unit: Any
    """[3, n], fp64."""
    distance: Any
    """[n], fp64."""
    weights: Any
    """[4 n_data, n]; of the data of two knots for the radial value, and for its slope."""
    y: Any
    """[n_y, n]; harmonics, and later the gradient by them."""
    matrix: Any
    """[n_slots, n]."""
    g_matrix: Any
    """[n_slots, n]."""
    force: Any
    """[3, n], fp64."""
    radial: Any
    """[2, edge_channels]."""
    partial: Any
    """Sums over channels that are not finished (`scalar_convolution`)."""
    rows: Any
    """Summed messages, later their gradient: [Σ_l (2l+1) n_paths, edge_channels] for each atom."""
    contracted: Any
    features: Any
    """[n_out, channels] for each atom, as are `contracted` and `g_features`."""
    g_features: Any
    message: Any
    """[n_kept, channels] for each atom, as are `g_message` and `active`."""
    g_message: Any
    active: Any
    density: Any
    """[BLOCK], fp64; by what messages are divided (`density`)."""
    g_density: Any
    """[n], fp64; gradient by an edge's place in the tables through the density."""
    sent: Any
    """[n_lm_in, edge_channels] for each atom."""
    x: Any
    """[n_lm + 1 + n_products] vectors, as is `g_x`."""
    g_x: Any
    ticks: Any
    """[n_steps], int64: time spent in each step, in ticks of the processor."""


def make_work(layers: tuple[PackedLayer, ...], n_edges: int, max_ell: int, dtype: Any) -> Work:
    """Room for blocks of up to `n_edges` edges."""
    n = -(-n_edges // EDGES) * EDGES

    def of_block(numbers: Any) -> Any:
        return aligned(BLOCK * max(numbers(layer) for layer in layers), dtype)

    n_slots = max(layer.n_slots for layer in layers)
    n_rows = max(len(layer.l_paths) ** 2 + 1 + len(layer.product_a) for layer in layers)
    return Work(
        first=np.zeros(BLOCK + 1, dtype=np.int64),
        neighbour=np.zeros(n, dtype=np.int64),
        sender=np.zeros(n, dtype=np.int64),
        knot=np.zeros(n, dtype=np.int64),
        unit=aligned(3 * n, np.float64),
        distance=aligned(n, np.float64),
        weights=aligned(4 * KNOT_DATA[str(dtype)] * n, dtype),
        y=aligned((max_ell + 1) ** 2 * n, dtype),
        matrix=aligned(n_slots * n, dtype),
        g_matrix=aligned(n_slots * n, dtype),
        force=aligned(3 * n, np.float64),
        radial=aligned(2 * max(layer.edge_channels for layer in layers), dtype),
        partial=aligned(ROWS * width(dtype) ** 2 // 4, dtype),
        rows=of_block(lambda layer: layer.message_rows * layer.edge_channels),
        contracted=of_block(lambda layer: layer.n_out * layer.channels),
        features=of_block(lambda layer: layer.n_out * layer.channels),
        g_features=of_block(lambda layer: layer.n_out * layer.channels),
        message=of_block(lambda layer: layer.n_kept * layer.channels),
        g_message=of_block(lambda layer: layer.n_kept * layer.channels),
        active=of_block(lambda layer: layer.n_kept * layer.channels if layer.gated.n_gates else 0),
        density=np.zeros(BLOCK),
        g_density=np.zeros(n),
        sent=of_block(lambda layer: layer.n_in * layer.edge_channels),
        x=aligned(n_rows * width(dtype), dtype),
        g_x=aligned(n_rows * width(dtype), dtype),
        ticks=np.zeros(len(STEPS), dtype=np.int64),
    )


@kernel
def time_stamp() -> int:
    """What steps are timed by; 0 where programs may not read it."""
    now: int = ticks()
    return now


@inlined
def places_to_l3(atoms: int, i: int, channels: int, j: int) -> tuple[int, int, int, int]:
    """Where the components of l = 0, 1, 2, 3 of atom `i` begin, at channel `j`, in an array by l."""
    return (
        i * channels + j,
        (atoms + i * 3) * channels + j,
        (atoms * 4 + i * 5) * channels + j,
        (atoms * 9 + i * 7) * channels + j,
    )


@step
def gather_edges(layer: Any, edges: Any, place: Any, a0: int, atoms: int, max_ell: int, work: Any) -> int:
    """Bring the edges of a block into `work`, with harmonics and weights of the knot data.

    Args:
        layer: `packing.PackedLayer`.
        edges: `geometry.Edges`.
        place: [n_atoms], int64: which row of the senders' features is an atom's.
        a0: First atom.
        atoms: Atoms in the block.
        max_ell: Highest harmonic.
        work: Overwritten.

    Returns:
        The number of edges, padded.
    """
    e = 0
    for i in range(atoms):
        work.first[i] = e
        e += edges.count[a0 + i]
    work.first[atoms] = e
    n = (e + EDGES - 1) // EDGES * EDGES
    size = layer.n_in * layer.edge_channels
    # The fraction waits where the force will be written.
    n_weights = 4 * data_of(work.weights)
    n_y = (max_ell + 1) ** 2
    for i in range(atoms):
        source = edges.first[a0 + i]
        for e in range(work.first[i], work.first[i + 1]):
            b = edges.neighbour[source]
            work.neighbour[e] = b
            work.sender[e] = place[b] * size
            work.knot[e] = edges.knot[source]
            at = column(e, 3)
            work.unit[at] = edges.unit[source, 0]
            work.unit[at + EDGES] = edges.unit[source, 1]
            work.unit[at + 2 * EDGES] = edges.unit[source, 2]
            work.distance[e] = edges.distance[source]
            work.force[at] = edges.fraction[source]
            source += 1
    for e in range(work.first[atoms], n):
        at = column(e, 3)
        work.unit[at] = 0.0
        work.unit[at + EDGES] = 1.0
        work.unit[at + 2 * EDGES] = 0.0
        work.distance[e] = 1.0
        work.force[at] = 0.0
    for e in range(0, n, lanes_of(work.unit)):
        at = column(e, 3)
        store_knot_weights(load(work.force, at), work.weights, column(e, n_weights))
        x = load(work.unit, at)
        y = load(work.unit, at + EDGES)
        z = load(work.unit, at + 2 * EDGES)
        harmonics(x, y, z, max_ell, work.y, column(e, n_y), EDGES)
    return n


@step
def edge_matrices(layer: Any, max_ell: int, work: Any, n: int) -> None:
    """Entries Σ CG·Y of the matrices of a block's `n` edges."""
    for e in range(0, n, lanes_of(work.matrix)):
        by_slot = column(e, layer.n_slots)
        by_lm = column(e, (max_ell + 1) ** 2)
        for slot in range(layer.n_slots):
            total = nothing(work.matrix)
            for q in range(layer.slot_first[slot], layer.slot_first[slot + 1]):
                total = fma(
                    spread(layer.coupling[q]), load(work.y, by_lm + layer.coupling_lm[q] * EDGES), total
                )
            store(work.matrix, by_slot + slot * EDGES, total)
