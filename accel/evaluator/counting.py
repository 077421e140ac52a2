"""Fused multiply-adds of one evaluation, so that a time can be set beside what the arithmetic allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from accel.evaluator.edge_lanes import KNOT_DATA

if TYPE_CHECKING:
    from accel.evaluator.packing import PackedLayer


def multiply_adds(layers: tuple[PackedLayer, ...], n_atoms: int, n_edges: int) -> int:
    """Channel-wise multiply-adds of energy and forces; scalar work on geometry is left out.

    Counted as the kernels do them: an edge's radial weights from the data of two knots forward, and twice
    that in reverse; every entry of the edge's matrix once forward and three times in reverse; linear
    layers once each way; a term of the contraction twice forward and four times in reverse.
    """
    per_edge = per_atom = 0
    for layer in layers:
        n_paths, wide, width = int(layer.l_paths.sum()), layer.edge_channels, layer.channels
        entries = int(np.count_nonzero(np.diff(layer.slot_first)))
        per_edge += (6 * KNOT_DATA[str(layer.table.dtype)] * n_paths + (1 + 3) * entries) * wide
        per_atom += 2 * sum(
            (2 * ell + 1) * int(paths) * wide * width for ell, paths in enumerate(layer.l_paths)
        )
        per_atom += (2 + 4) * len(layer.term_d) * width
        per_atom += 2 * sum((2 * ell + 1) * width * width for ell in range(layer.n_product))
        per_atom += 2 * sum((2 * ell + 1) * width * wide for ell in range(layer.n_up))
        per_atom += 2 * sum((2 * ell + 1) * width * width for ell in range(layer.n_residual))
        per_atom += 2 * layer.readout.size
    return n_edges * per_edge + n_atoms * per_atom
