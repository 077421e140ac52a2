"""From the gradient by radial weights and matrices of a block's edges to forces."""

from __future__ import annotations

from typing import Any

from accel.evaluator.compilation import step
from accel.evaluator.edge_lanes import EDGES, column
from accel.evaluator.harmonics import harmonics_gradient
from accel.evaluator.lanes import fma, lanes_of, load, load_double, nothing, spread, store


@step
def edge_forces(layer: Any, knots_per_s: float, max_ell: int, n: int, work: Any) -> None:
    """Gradient by the vector from each sender to its receiver, into `work.force`.

    Args:
        layer: `packing.PackedLayer`.
        knots_per_s: Knots of the radial table for a step of one in ln(1 + r / 1 Å).
        max_ell: Highest harmonic.
        n: Edges of the block, padded.
        work: `block.Work`; its harmonics are overwritten by the gradient by them.
    """
    n_y = (max_ell + 1) ** 2
    for e in range(0, n, lanes_of(work.y)):
        by_slot = column(e, layer.n_slots)
        by_lm = column(e, n_y)
        for lm in range(n_y):
            store(work.y, by_lm + lm * EDGES, nothing(work.y))
        for slot in range(layer.n_slots):
            by_entry = load(work.g_matrix, by_slot + slot * EDGES)
            for q in range(layer.slot_first[slot], layer.slot_first[slot + 1]):
                at = by_lm + layer.coupling_lm[q] * EDGES
                store(work.y, at, fma(spread(layer.coupling[q]), by_entry, load(work.y, at)))
    # Where senders are scalars the first path has the whole gradient by the place.
    n_paths = 1 if layer.scalar else len(layer.path)
    for e in range(0, n, lanes_of(work.unit)):
        by_slot = column(e, layer.n_slots)
        by_place = nothing(work.unit)
        for p in range(n_paths):
            slots = layer.path_rows[p] + 1
            for m in range(1, 2 * layer.path_in[p] + 2):
                at = by_slot + (layer.path_slot[p] + m * slots - 1) * EDGES
                by_place = by_place + load_double(work.g_matrix, at)
        at = column(e, 3)
        x = load(work.unit, at)
        y = load(work.unit, at + EDGES)
        z = load(work.unit, at + 2 * EDGES)
        r = load(work.distance, e)
        hx, hy, hz = harmonics_gradient(x, y, z, max_ell, work.y, column(e, n_y), EDGES)
        along = knots_per_s * by_place / (spread(1.0) + r) - (hx * x + hy * y + hz * z) / r
        store(work.force, at, along * x + hx / r)
        store(work.force, at + EDGES, along * y + hy / r)
        store(work.force, at + 2 * EDGES, along * z + hz / r)


@step
def add_forces(a0: int, atoms: int, work: Any, forces: Any, virial: Any) -> None:
    """Add `work.force` to the forces on both ends of each edge, and to the virial."""
    for i in range(atoms):
        a = a0 + i
        for e in range(work.first[i], work.first[i + 1]):
            b = work.neighbour[e]
            r = work.distance[e]
            at = column(e, 3)
            for k in range(3):
                g = work.force[at + k * EDGES]
                forces[a, k] -= g
                forces[b, k] += g
                for axis in range(3):
                    virial[axis, k] += r * work.unit[at + axis * EDGES] * g
