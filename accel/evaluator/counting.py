"""Fused multiply-adds of one evaluation, so that a time can be set beside what the arithmetic allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accel.evaluator.tables import LayerArrays


def multiply_adds(layers: tuple[LayerArrays, ...], n_atoms: int, n_edges: int) -> int:
    """Channel-wise multiply-adds of energy and forces; scalar work on geometry is left out.

    Counted as the kernels do them: an edge's radial weights from six knot data forward, and twelve
    in reverse; every entry of the edge's matrix once forward and three times in reverse; linear
    layers once each way; a term of the contraction twice forward and four times in reverse.
    """
    per_edge = per_atom = 0
    for layer in layers:
        n_weights = layer.table.shape[1]
        channels = layer.up.shape[2]
        width = layer.linear.shape[2]
        entries = len(layer.conv.entry_in)
        per_edge += (6 + 12) * n_weights + (1 + 3) * entries * channels
        per_atom += 2 * sum(
            (2 * ell + 1) * int(paths) * channels * width for ell, paths in enumerate(layer.l_paths)
        )
        per_atom += (2 + 4) * len(layer.poly.term_d) * width
        per_atom += 2 * sum((2 * ell + 1) * width * width for ell in range(layer.product.shape[0]))
        per_atom += 2 * sum((2 * ell + 1) * width * channels for ell in range(layer.up.shape[0]))
        per_atom += 2 * sum((2 * ell + 1) * width * width for ell in range(layer.residual.shape[1]))
        per_atom += 2 * layer.readout.size
    return n_edges * per_edge + n_atoms * per_atom
