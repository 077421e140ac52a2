"""From positions and kept neighbours to the edges inside the cutoff."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from accel.evaluator.compilation import kernel


class Edges(NamedTuple):
    """Edges of each atom, in the places that its candidates have in the neighbour list.

    Atom a's edges are `first[a]` … `first[a] + count[a] - 1`: messages that a receives.
    """

    first: Any
    """[n_atoms + 1], int64."""
    count: Any
    """[n_atoms], int64; edges inside the cutoff."""
    neighbour: Any
    """[n_candidates], int32; the sender."""
    unit: Any
    """[n_candidates, 3], fp64, from the sender to the atom."""
    distance: Any
    """[n_candidates], fp64, Å."""
    knot: Any
    """[n_candidates], int32; interval of the radial tables."""
    fraction: Any
    """[n_candidates], fp64; place inside the interval, 0 to 1."""


def allocate(first: Any) -> Edges:
    """Room for the edges of a neighbour list whose candidates start at `first`."""
    n_atoms, n_candidates = len(first) - 1, int(first[-1])
    return Edges(
        first=first,
        count=np.zeros(n_atoms, dtype=np.int64),
        neighbour=np.empty(n_candidates, dtype=np.int32),
        unit=np.empty((n_candidates, 3)),
        distance=np.empty(n_candidates),
        knot=np.empty(n_candidates, dtype=np.int32),
        fraction=np.empty(n_candidates),
    )


@kernel
def measure_edges(
    edges: Edges,
    candidate: Any,
    shift: Any,
    positions: Any,
    cell: Any,
    start: int,
    stop: int,
    r_min: float,
    cutoff: float,
    n_intervals: int,
) -> int:
    """Fill the edges of atoms `start` … `stop` - 1.

    Returns:
        -1, or the first atom that has a neighbour nearer than `r_min`.
    """
    low = np.log1p(r_min)
    knots_per_s = n_intervals / (np.log1p(cutoff) - low)
    too_near = -1
    for a in range(start, stop):
        place = edges.first[a]
        for c in range(edges.first[a], edges.first[a + 1]):
            b = candidate[c]
            s0 = shift[c, 0]
            s1 = shift[c, 1]
            s2 = shift[c, 2]
            dx = positions[b, 0] - positions[a, 0] + s0 * cell[0, 0] + s1 * cell[1, 0] + s2 * cell[2, 0]
            dy = positions[b, 1] - positions[a, 1] + s0 * cell[0, 1] + s1 * cell[1, 1] + s2 * cell[2, 1]
            dz = positions[b, 2] - positions[a, 2] + s0 * cell[0, 2] + s1 * cell[1, 2] + s2 * cell[2, 2]
            squared = dx * dx + dy * dy + dz * dz
            if squared >= cutoff * cutoff:
                continue
            r = np.sqrt(squared)
            if r < r_min:
                if too_near < 0:
                    too_near = a
                continue
            edges.neighbour[place] = b
            edges.unit[place, 0] = -dx / r
            edges.unit[place, 1] = -dy / r
            edges.unit[place, 2] = -dz / r
            edges.distance[place] = r
            scaled = (np.log1p(r) - low) * knots_per_s
            interval = min(int(scaled), n_intervals - 1)
            edges.knot[place] = interval
            edges.fraction[place] = scaled - interval
            place += 1
        edges.count[a] = place - edges.first[a]
    return too_near
