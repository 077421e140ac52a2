"""What happens at the atoms of one block between summed messages and features, forward and reverse."""

from __future__ import annotations

from typing import Any

from accel.evaluator.block import ticks
from accel.evaluator.compilation import step
from accel.evaluator.contraction import contract, contract_reverse
from accel.evaluator.density import normalise, normalise_reverse
from accel.evaluator.gated import (
    activate,
    activate_reverse,
    add_own,
    add_own_reverse,
    sum_gates,
    sum_gates_reverse,
)
from accel.evaluator.matmul import matmul, matmul_by_l


@step
def update(
    layer: Any,
    element: int,
    atoms: int,
    before: Any,
    message: Any,
    features: Any,
    work: Any,
) -> None:
    """From `work.rows` to a block's messages and features.

    Args:
        layer: `packing.PackedLayer`.
        element: Of the block.
        atoms: In the block.
        before: Features of the block that enter the layer.
        message: Written.
        features: Written.
        work: `block.Work`.
    """
    channels = layer.channels
    began = ticks()
    rows_at = 0
    # Where there are gates, what is before them is kept behind the messages.
    inner = message[atoms * len(layer.l_paths) ** 2 * channels if layer.gated.n_gates else 0 :]
    for ell in range(len(layer.l_paths)):
        depth = layer.l_paths[ell] * layer.edge_channels
        rows = atoms * (2 * ell + 1)
        matmul(
            work.rows[rows_at:], rows, depth,
            layer.linear[element * layer.linear_stride + layer.linear_first[ell] :],
            inner[atoms * ell * ell * channels :], channels, False,
        )  # fmt: skip
        rows_at += rows * depth
    sum_gates(layer, atoms, work.rows, inner)
    normalise(layer, atoms, inner, work)
    if layer.gated.n_gates:
        add_own(layer, atoms, before, inner)
        activate(layer, atoms, inner, work.g_message, message)
    linear = ticks()
    contract(layer, element, atoms, message, work.x, work.contracted)
    contracted = ticks()
    matmul_by_l(work.contracted, atoms, channels, layer.product, layer.n_product, features, channels, False)
    past = layer.residual[element * layer.n_residual * channels * channels :]
    matmul_by_l(before, atoms, channels, past, layer.n_residual, features, channels, True)
    work.ticks[2] += linear - began + ticks() - contracted
    work.ticks[3] += contracted - linear


@step
def reverse_update(
    layer: Any,
    element: int,
    atoms: int,
    before: Any,
    message: Any,
    g_features: Any,
    g_before: Any,
    sends: bool,
    work: Any,
) -> None:
    """From the gradient by a block's features to that by its summed messages, in `work.rows`.

    Args:
        layer: `packing.PackedLayer`.
        element: Of the block.
        atoms: In the block.
        before: Features of the block that enter the layer.
        message: As `update` left it; overwritten.
        g_features: The gradient.
        g_before: Gradient by `before`, added to where `sends`.
        sends: Whether `before` depends on positions.
        work: `block.Work`.
    """
    channels = layer.channels
    began = ticks()
    matmul_by_l(
        g_features, atoms, channels, layer.product_t, layer.n_product, work.contracted, channels, False
    )
    linear = ticks()
    contract_reverse(layer, element, atoms, message, work.contracted, work.x, work.g_x, work.g_message)
    contracted = ticks()
    inner = message[atoms * len(layer.l_paths) ** 2 * channels if layer.gated.n_gates else 0 :]
    if layer.gated.n_gates:
        activate_reverse(layer, atoms, inner, work.g_message, work.active)
        if sends:
            add_own_reverse(layer, atoms, work.g_message, g_before)
        # Without the atoms' own part, which was added after the division.
        work.active[:] = 0
        add_own(layer, atoms, before, work.active)
        for k in range(atoms * layer.n_kept * channels - (len(message) - len(inner))):
            inner[k] -= work.active[k]
    normalise_reverse(layer, atoms, inner, work.g_message, work)
    rows_at = 0
    for ell in range(len(layer.l_paths)):
        wide = layer.l_paths[ell] * layer.edge_channels
        rows = atoms * (2 * ell + 1)
        matmul(
            work.g_message[atoms * ell * ell * channels :], rows, channels,
            layer.linear_t[element * layer.linear_stride + layer.linear_first[ell] :],
            work.rows[rows_at:], wide, False,
        )  # fmt: skip
        rows_at += rows * wide
    sum_gates_reverse(layer, atoms, work.g_message, work.rows)
    work.ticks[4] += contracted - linear
    work.ticks[5] += linear - began + ticks() - contracted


@step
def send(layer: Any, atoms: int, features: Any, up: Any, work: Any) -> None:
    """What a block's atoms send in `layer`, from the features that enter it, into `up`, atom by atom."""
    channels = layer.edge_channels
    matmul_by_l(features, atoms, layer.channels, layer.up, layer.n_up, work.sent, channels, False)
    for ell in range(layer.n_up):
        for i in range(atoms):
            source = (atoms * ell * ell + i * (2 * ell + 1)) * channels
            target = (i * layer.n_in + ell * ell) * channels
            for c in range((2 * ell + 1) * channels):
                up[target + c] = work.sent[source + c]


@step
def reverse_send(layer: Any, atoms: int, a0: int, g_up: Any, g_features: Any, work: Any) -> None:
    """Add the gradient by what a block's atoms send to that by their features; `g_up` [n_threads, …]."""
    channels = layer.edge_channels
    for ell in range(layer.n_up):
        for i in range(atoms):
            target = (atoms * ell * ell + i * (2 * ell + 1)) * channels
            source = ((a0 + i) * layer.n_in + ell * ell) * channels
            for c in range((2 * ell + 1) * channels):
                work.sent[target + c] = g_up[0, source + c]
            for thread in range(1, g_up.shape[0]):
                for c in range((2 * ell + 1) * channels):
                    work.sent[target + c] += g_up[thread, source + c]
    matmul_by_l(work.sent, atoms, channels, layer.up_t, layer.n_up, g_features, layer.channels, True)
