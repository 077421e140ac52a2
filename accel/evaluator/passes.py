"""Forward and reverse passes over blocks of atoms.

A block holds atoms of one element that are numbered in a row, few enough that what lies between
two steps stays in cache. Inside a block arrays are ordered by l first, so that a linear layer is
one matrix product over all atoms and components of that l; between passes they are ordered by atom.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from accel.evaluator.compilation import kernel
from accel.evaluator.contraction import (
    contract,
    contract_reverse,
    multiply_rows,
    multiply_rows_reverse,
)
from accel.evaluator.convolution import (
    add_message,
    add_scalar_message,
    edge_matrix,
    hermite,
    radial_value,
    radial_value_and_slope,
    reverse_message,
    reverse_scalar_message,
)
from accel.evaluator.harmonics import harmonics_gradient
from accel.evaluator.matmul import matmul

BLOCK = 16
"""Atoms in a block: a multiple of `matmul.ROWS`."""


class Nodes(NamedTuple):
    """What one layer leaves at every atom. Gradients overwrite nothing that is read later."""

    up: Any
    """[n_atoms, n_lm_in, n_edge_channels], what the layer's senders carry."""
    message: Any
    """[n_atoms, n_lm, n_channels], after the linear layer."""
    features: Any
    """[n_atoms, n_lm_out, n_channels], after the product."""
    g_features: Any
    """[n_atoms, n_lm_out, n_channels]."""
    g_mid: Any
    """[n_atoms, n_rows, n_edge_channels], gradient by the summed messages."""


@kernel
def _by_l(flat: Any, atoms: int, ell: int, before: int, width: int, channels: int) -> Any:
    """Rows (atom, m) of one l in a block buffer, as a matrix with `width` columns."""
    start = BLOCK * before * channels
    rows = (atoms * (2 * ell + 1) + 3) // 4 * 4
    return flat[start : start + rows * width].reshape(rows, width)


@kernel
def _sum_messages(
    layer: Any, edges: Any, up: Any, a: int, signs: Any, w: Any, entries: Any, radial: Any, out: Any
) -> None:
    """Sum the messages that atom `a` receives into `out` [n_rows, n_edge_channels]."""
    for row in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[row, c] = 0.0
    for edge in range(edges.first[a], edges.first[a] + edges.count[a]):
        hermite(edges.fraction[edge], w)
        radial_value(layer.table, edges.knot[edge], w, radial)
        edge_matrix(layer.conv, edges.harmonics, edge, signs, entries)
        if up.shape[1] == 1:
            add_scalar_message(layer.conv, radial, entries, up, edges.neighbour[edge], out)
        else:
            add_message(layer.conv, radial, entries, up, edges.neighbour[edge], out)


@kernel
def _block_messages(
    layer: Any, edges: Any, nodes: Any, element: int, a0: int, a1: int, mid: Any, scratch: Any
) -> None:
    """Convolve and apply the linear layer for one block, into `nodes.message`."""
    n_rows = len(layer.conv.row_path)
    channels = nodes.up.shape[2]
    dtype = nodes.up.dtype
    signs = np.ones(edges.harmonics.shape[1], dtype=dtype)
    w = np.empty((2, 6), dtype=dtype)
    entries = np.empty(len(layer.conv.entry_in), dtype=dtype)
    radial = np.empty((layer.table.shape[1] // channels, channels), dtype=dtype)
    local = np.empty((n_rows, channels), dtype=dtype)
    atoms = a1 - a0
    for i in range(atoms):
        _sum_messages(layer, edges, nodes.up, a0 + i, signs, w, entries, radial, local)
        row = 0
        before = 0
        for ell in range(len(layer.l_paths)):
            paths = layer.l_paths[ell]
            target = _by_l(mid, atoms, ell, before, paths * channels, channels)
            for m in range(2 * ell + 1):
                for p in range(paths):
                    for c in range(channels):
                        target[i * (2 * ell + 1) + m, p * channels + c] = local[row, c]
                    row += 1
            before += paths * (2 * ell + 1)
    e = element if layer.linear.shape[0] > 1 else 0
    width = layer.linear.shape[2]
    before = 0
    k = 0
    for ell in range(len(layer.l_paths)):
        depth = layer.l_paths[ell] * channels
        source = _by_l(mid, atoms, ell, before, depth, channels)
        target = scratch[: source.shape[0] * width].reshape(source.shape[0], width)
        matmul(source, layer.linear[e, k : k + depth], target, source.shape[0], False)
        for i in range(atoms):
            for m in range(2 * ell + 1):
                for c in range(width):
                    nodes.message[a0 + i, ell * ell + m, c] = target[i * (2 * ell + 1) + m, c]
        before += layer.l_paths[ell] * (2 * ell + 1)
        k += depth


@kernel
def _gather(source: Any, a0: int, atoms: int, ell: int, flat: Any) -> Any:
    """Component l of a block of atoms as a matrix of rows (atom, m)."""
    width = source.shape[2]
    rows = (atoms * (2 * ell + 1) + 3) // 4 * 4
    out = flat[: rows * width].reshape(rows, width)
    for i in range(atoms):
        for m in range(2 * ell + 1):
            for c in range(width):
                out[i * (2 * ell + 1) + m, c] = source[a0 + i, ell * ell + m, c]
    return out


@kernel
def _scatter(source: Any, a0: int, atoms: int, ell: int, target: Any, add: bool) -> None:
    """The inverse of `_gather`, or its addition."""
    for i in range(atoms):
        for m in range(2 * ell + 1):
            for c in range(target.shape[2]):
                value = source[i * (2 * ell + 1) + m, c]
                if add:
                    value += target[a0 + i, ell * ell + m, c]
                target[a0 + i, ell * ell + m, c] = value


@kernel
def _apply(
    source: Any, matrices: Any, n_l: int, a0: int, atoms: int, target: Any, add: bool, one: Any, two: Any
) -> None:
    """`target[:, l] = source[:, l] @ matrices[l]` (or `+=`) for the first `n_l` values of l."""
    for ell in range(n_l):
        x = _gather(source, a0, atoms, ell, one)
        y = two[: x.shape[0] * matrices.shape[2]].reshape(x.shape[0], matrices.shape[2])
        matmul(x, matrices[ell], y, x.shape[0], False)
        _scatter(y, a0, atoms, ell, target, add)


@kernel
def _features_of(poly: Any, coefficients: Any, message: Any, a: int, x: Any, pair: Any, out: Any) -> None:
    """Contract one atom's message."""
    for lm in range(message.shape[1]):
        for c in range(message.shape[2]):
            x[lm, c] = message[a, lm, c]
    multiply_rows(poly, x)
    contract(poly, coefficients, x, pair, out)


@kernel
def forward_layer(
    layer: Any, edges: Any, nodes: Any, before: Any, blocks: Any, start: int, stop: int
) -> None:
    """Features of a layer for blocks `start` … `stop` - 1.

    Args:
        layer: `tables.LayerArrays`.
        edges: `geometry.Edges`.
        nodes: `Nodes` of this layer.
        before: [n_atoms, n_lm, n_channels], features that enter the layer.
        blocks: [n_blocks, 3], int64: element, first atom, end.
        start: First block.
        stop: End of the blocks.
    """
    n_lm = nodes.message.shape[1]
    channels = nodes.message.shape[2]
    n_out = nodes.features.shape[1]
    dtype = nodes.message.dtype
    mid = np.zeros(BLOCK * nodes.g_mid.shape[1] * nodes.g_mid.shape[2], dtype=dtype)
    one = np.zeros(BLOCK * (n_lm + n_out) * max(channels, nodes.up.shape[2]), dtype=dtype)
    two = np.zeros_like(one)
    x = np.ones((n_lm + 1 + len(layer.poly.product_a), channels), dtype=dtype)
    pair = np.empty(channels, dtype=dtype)
    contracted = np.empty((BLOCK, n_out, channels), dtype=dtype)
    for block in range(start, stop):
        element = blocks[block, 0]
        a0 = blocks[block, 1]
        atoms = blocks[block, 2] - a0
        _block_messages(layer, edges, nodes, element, a0, a0 + atoms, mid, one)
        for i in range(atoms):
            _features_of(
                layer.poly, layer.coefficients[element], nodes.message, a0 + i, x, pair, contracted[i]
            )
        for i in range(atoms):
            for lm in range(n_out):
                for c in range(channels):
                    nodes.features[a0 + i, lm, c] = contracted[i, lm, c]
        _apply(
            nodes.features, layer.product, layer.product.shape[0], a0, atoms, nodes.features, False, one, two
        )
        _apply(
            before,
            layer.residual[element],
            layer.residual.shape[1],
            a0,
            atoms,
            nodes.features,
            True,
            one,
            two,
        )


@kernel
def send_up(layer: Any, features: Any, up: Any, blocks: Any, start: int, stop: int) -> None:
    """What the senders of `layer` carry, from the features of the layer before."""
    one = np.zeros(BLOCK * features.shape[1] * features.shape[2], dtype=features.dtype)
    two = np.zeros(BLOCK * features.shape[1] * up.shape[2], dtype=features.dtype)
    for block in range(start, stop):
        a0 = blocks[block, 1]
        _apply(features, layer.up, layer.up.shape[0], a0, blocks[block, 2] - a0, up, False, one, two)


@kernel
def reverse_nodes(layer: Any, nodes: Any, g_before: Any, blocks: Any, start: int, stop: int) -> None:
    """From `g_features` to the gradient by summed messages, `g_mid`, and by the features before."""
    n_lm = nodes.message.shape[1]
    channels = nodes.message.shape[2]
    edge_channels = nodes.g_mid.shape[2]
    n_out = nodes.features.shape[1]
    dtype = nodes.message.dtype
    one = np.zeros(BLOCK * (n_lm + n_out) * channels, dtype=dtype)
    two = np.zeros(BLOCK * nodes.g_mid.shape[1] * max(edge_channels, channels), dtype=dtype)
    g_message = np.empty((BLOCK, n_lm + 1 + len(layer.poly.product_a), channels), dtype=dtype)
    x = np.ones((n_lm + 1 + len(layer.poly.product_a), channels), dtype=dtype)
    pair = np.empty(channels, dtype=dtype)
    g_pair = np.empty(channels, dtype=dtype)
    for block in range(start, stop):
        element = blocks[block, 0]
        a0 = blocks[block, 1]
        atoms = blocks[block, 2] - a0
        _apply(
            nodes.g_features,
            layer.residual_t[element],
            layer.residual.shape[1],
            a0,
            atoms,
            g_before,
            True,
            one,
            two,
        )
        _apply(
            nodes.g_features,
            layer.product_t,
            layer.product.shape[0],
            a0,
            atoms,
            nodes.g_features,
            False,
            one,
            two,
        )
        for i in range(atoms):
            for lm in range(n_lm):
                for c in range(channels):
                    x[lm, c] = nodes.message[a0 + i, lm, c]
            multiply_rows(layer.poly, x)
            contract_reverse(
                layer.poly,
                layer.coefficients[element],
                x,
                nodes.g_features[a0 + i],
                pair,
                g_pair,
                g_message[i],
            )
            multiply_rows_reverse(layer.poly, x, g_message[i])
        e = element if layer.linear.shape[0] > 1 else 0
        row = 0
        k = 0
        for ell in range(len(layer.l_paths)):
            paths = layer.l_paths[ell]
            depth = paths * edge_channels
            source = _gather(g_message, 0, atoms, ell, one)
            target = two[: source.shape[0] * depth].reshape(source.shape[0], depth)
            matrix = layer.linear_t[e, k : k + channels * depth].reshape(channels, depth)
            matmul(source, matrix, target, source.shape[0], False)
            for i in range(atoms):
                for m in range(2 * ell + 1):
                    for p in range(paths):
                        for c in range(edge_channels):
                            nodes.g_mid[a0 + i, row + m * paths + p, c] = target[
                                i * (2 * ell + 1) + m, p * edge_channels + c
                            ]
            row += paths * (2 * ell + 1)
            k += channels * depth


@kernel
def reverse_edges(
    layer: Any,
    edges: Any,
    nodes: Any,
    g_up: Any,
    knots_per_s: float,
    received: bool,
    max_ell: int,
    start: int,
    stop: int,
    forces: Any,
    virial: Any,
) -> None:
    """Reverse the messages that atoms `start` … `stop` - 1 sent.

    An atom reads the gradients of its neighbours (the list holds every edge in both directions), so
    that nothing is added to another atom's features; `forces` and `virial` belong to the caller's
    thread alone.

    Args:
        layer: `tables.LayerArrays`.
        edges: `geometry.Edges`.
        nodes: `Nodes` of this layer.
        g_up: [n_atoms, n_lm_in, n_edge_channels], overwritten.
        knots_per_s: Knots of the radial table for a step of one in ln(1 + r / 1 Å).
        received: Reverse the messages that the atoms received instead, whose senders need no gradient
            (`g_up` is scratch then): the gradient that is read 16 times stays in cache.
        max_ell: Highest harmonic.
        start: First atom.
        stop: End of the atoms.
        forces: [n_atoms, 3], fp64, added to.
        virial: [3, 3], fp64, added to: Σ edge ⊗ gradient.
    """
    dtype = nodes.up.dtype
    n_y = edges.harmonics.shape[1]
    signs = np.ones(n_y, dtype=dtype)
    odd = np.ones(n_y)
    for ell in range(1, max_ell + 1, 2):
        for m in range(2 * ell + 1):
            odd[ell * ell + m] = -1.0
            # Harmonics are kept for what an atom receives; what it sends goes the other way.
            if not received:
                signs[ell * ell + m] = -1.0
    w = np.empty((2, 6), dtype=dtype)
    entries = np.empty(len(layer.conv.entry_in), dtype=dtype)
    g_entries = np.empty_like(entries)
    channels = nodes.up.shape[2]
    value = np.empty((layer.table.shape[1] // channels, channels), dtype=dtype)
    slope = np.empty_like(value)
    scratch = np.empty(channels, dtype=dtype)
    g_y = np.empty(n_y)
    conv = layer.conv
    for a in range(start, stop):
        g_sender = g_up[a]
        for lm in range(g_sender.shape[0]):
            for c in range(g_sender.shape[1]):
                g_sender[lm, c] = 0.0
        for edge in range(edges.first[a], edges.first[a] + edges.count[a]):
            b = edges.neighbour[edge]
            sender = b if received else a
            receiver = a if received else b
            hermite(edges.fraction[edge], w)
            radial_value_and_slope(layer.table, edges.knot[edge], w, value, slope)
            edge_matrix(conv, edges.harmonics, edge, signs, entries)
            if nodes.up.shape[1] == 1:
                by_distance = reverse_scalar_message(
                    conv,
                    value,
                    slope,
                    entries,
                    nodes.up,
                    sender,
                    nodes.g_mid,
                    receiver,
                    scratch,
                    g_sender,
                    g_entries,
                )
            else:
                by_distance = reverse_message(
                    conv,
                    value,
                    slope,
                    entries,
                    nodes.up,
                    sender,
                    nodes.g_mid,
                    receiver,
                    scratch,
                    g_sender,
                    g_entries,
                )
            for lm in range(n_y):
                g_y[lm] = 0.0
            for i in range(len(entries)):
                for q in range(conv.entry_first[i], conv.entry_first[i + 1]):
                    g_y[conv.coupling_lm[q]] += conv.coupling[q] * g_entries[i]
            if received:
                for lm in range(n_y):
                    g_y[lm] *= odd[lm]
            by_distance = by_distance * knots_per_s / (1.0 + edges.distance[edge])
            _add_force(edges, edge, a, b, by_distance, g_y, max_ell, forces, virial)


@kernel
def _add_force(
    edges: Any,
    edge: int,
    a: int,
    b: int,
    by_distance: float,
    g_y: Any,
    max_ell: int,
    forces: Any,
    virial: Any,
) -> None:
    """Turn an edge's gradient by distance and harmonics into forces on its two atoms."""
    u0 = edges.unit[edge, 0]
    u1 = edges.unit[edge, 1]
    u2 = edges.unit[edge, 2]
    r = edges.distance[edge]
    h0, h1, h2 = harmonics_gradient(u0, u1, u2, max_ell, g_y)
    along = h0 * u0 + h1 * u1 + h2 * u2
    g0 = by_distance * u0 + (h0 - along * u0) / r
    g1 = by_distance * u1 + (h1 - along * u1) / r
    g2 = by_distance * u2 + (h2 - along * u2) / r
    forces[a, 0] += g0
    forces[a, 1] += g1
    forces[a, 2] += g2
    forces[b, 0] -= g0
    forces[b, 1] -= g1
    forces[b, 2] -= g2
    r0 = r * u0
    r1 = r * u1
    r2 = r * u2
    virial[0, 0] += r0 * g0
    virial[0, 1] += r0 * g1
    virial[0, 2] += r0 * g2
    virial[1, 0] += r1 * g0
    virial[1, 1] += r1 * g1
    virial[1, 2] += r1 * g2
    virial[2, 0] += r2 * g0
    virial[2, 1] += r2 * g1
    virial[2, 2] += r2 * g2


@kernel
def receive_up(layer: Any, g_up: Any, g_before: Any, blocks: Any, start: int, stop: int) -> None:
    """Add the gradient of `send_up` to the gradient by the features of the layer before."""
    size = BLOCK * g_up.shape[1] * max(g_up.shape[2], g_before.shape[2])
    one = np.zeros(size, dtype=g_up.dtype)
    two = np.zeros(size, dtype=g_up.dtype)
    for block in range(start, stop):
        a0 = blocks[block, 1]
        _apply(g_up, layer.up_t, layer.up.shape[0], a0, blocks[block, 2] - a0, g_before, True, one, two)
