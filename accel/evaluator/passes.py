"""Forward and reverse passes over blocks of atoms.

Every layer but the last is passed twice, once each way; between the two it keeps what its atoms got
and sent. At the last layer each block turns round at once. An atom reverses the messages that it
received: it reads one gradient for all of its edges, which stays in cache, and adds to what each
sender sent. Every thread adds in an array of its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from accel.evaluator.block import edge_matrices, gather_edges, ticks
from accel.evaluator.compilation import kernel, step
from accel.evaluator.convolution import reverse_messages, sum_messages
from accel.evaluator.density import add_slopes
from accel.evaluator.edge_forces import add_forces, edge_forces
from accel.evaluator.matmul import matmul_by_l
from accel.evaluator.nodes import reverse_send, reverse_update, send, update
from accel.evaluator.readout import read_out


class Nodes(NamedTuple):
    """What one layer keeps between passes; flat. Of a block, features are kept by l (`block`)."""

    place: Any
    """[n_atoms], int64: the row of `up` that an atom reads: its element's in the first layer."""
    up: Any
    """[n_rows, n_in, edge_channels], what the senders carry."""
    before: Any
    """Features that enter the layer."""
    n_before: int
    """Their components."""
    g_before: Any
    """Gradient by them."""
    message: Any
    """[n_atoms, n_kept, channels]; none for the last layer."""
    features: Any
    """[n_atoms, n_out, channels]; none for the last layer."""
    g_features: Any


class System(NamedTuple):
    """What all layers share."""

    edges: Any
    """`geometry.Edges`."""
    blocks: Any
    """[n_blocks, 3], int64: element, first atom, end."""
    max_ell: int
    knots_per_s: float
    """Knots of the radial table for a step of one in ln(1 + r / 1 Å)."""
    scale: float
    """Of the readouts."""
    energies: Any
    """[n_atoms], fp64, added to."""


@step
def _receive(layer: Any, nodes: Any, system: Any, a0: int, atoms: int, work: Any) -> int:
    """Edges of a block, their matrices and the summed messages."""
    began = ticks()
    n = gather_edges(layer, system.edges, nodes.place, a0, atoms, system.max_ell, work)
    edge_matrices(layer, system.max_ell, work, n)
    gathered = ticks()
    sum_messages(layer, nodes.up, atoms, work)
    work.ticks[0] += gathered - began
    work.ticks[1] += ticks() - gathered
    return n


@step
def _give_back(
    layer: Any, nodes: Any, system: Any, g_up: Any, sends: bool, a0: int, atoms: int, n: int,
    forces: Any, virial: Any, work: Any,
) -> None:  # fmt: skip
    """From `work.rows` to gradients of what neighbours sent, and to forces."""
    began = ticks()
    reverse_messages(layer, nodes.up, g_up, sends, atoms, work)
    add_slopes(layer, atoms, work)
    reversed_ = ticks()
    edge_forces(layer, system.knots_per_s, system.max_ell, n, work)
    add_forces(a0, atoms, work, forces, virial)
    work.ticks[6] += reversed_ - began
    work.ticks[7] += ticks() - reversed_


@kernel
def forward(
    layer: Any, nodes: Any, following: Any, up: Any, system: Any, start: int, stop: int, work: Any
) -> None:
    """Features of a layer that is not the last, and what they send in the following one.

    Args:
        layer: `packing.PackedLayer`.
        nodes: `Nodes` of the layer.
        following: The next layer.
        up: [n_atoms, …] what is sent in it.
        system: `System`.
        start: First block.
        stop: End of the blocks.
        work: `block.Work`.
    """
    for block in range(start, stop):
        element, a0, end = system.blocks[block]
        atoms = end - a0
        _receive(layer, nodes, system, a0, atoms, work)
        features = nodes.features[a0 * layer.n_out * layer.channels :]
        g_features = nodes.g_features[a0 * layer.n_out * layer.channels :]
        message = nodes.message[a0 * layer.n_kept * layer.channels :]
        before = nodes.before[a0 * nodes.n_before * layer.channels :]
        update(layer, element, atoms, before, message, features, work)
        read_out(layer, features, atoms, system.scale, system.energies[a0:], g_features)
        began = ticks()
        send(following, atoms, features, up[a0 * following.n_in * following.edge_channels :], work)
        work.ticks[2] += ticks() - began


@kernel
def turn(
    layer: Any, nodes: Any, g_up: Any, sends: bool, system: Any, start: int, stop: int,
    forces: Any, virial: Any, work: Any,
) -> None:  # fmt: skip
    """The last layer, forward and reverse.

    Args:
        layer: `packing.PackedLayer`.
        nodes: `Nodes` of the layer.
        g_up: [n_atoms, …] gradient by what was sent, added to: this thread's own.
        sends: Whether features that enter the layer depend on positions.
        system: `System`.
        start: First block.
        stop: End of the blocks.
        forces: [n_atoms, 3], fp64, added to: this thread's own.
        virial: [3, 3], fp64, added to: Σ edge ⊗ gradient.
        work: `block.Work`.
    """
    for block in range(start, stop):
        element, a0, end = system.blocks[block]
        atoms = end - a0
        n = _receive(layer, nodes, system, a0, atoms, work)
        before = nodes.before[a0 * nodes.n_before * layer.channels :]
        update(layer, element, atoms, before, work.message, work.features, work)
        read_out(layer, work.features, atoms, system.scale, system.energies[a0:], work.g_features)
        _residual(layer, nodes, sends, element, a0, atoms, work.g_features, work)
        reverse_update(
            layer,
            element,
            atoms,
            before,
            work.message,
            work.g_features,
            nodes.g_before[a0 * nodes.n_before * layer.channels :],
            sends,
            work,
        )
        _give_back(layer, nodes, system, g_up, sends, a0, atoms, n, forces, virial, work)


@kernel
def reverse(
    layer: Any, nodes: Any, following: Any, g_up_following: Any, g_up: Any, sends: bool, system: Any,
    start: int, stop: int, forces: Any, virial: Any, work: Any,
) -> None:  # fmt: skip
    """Reverse a layer that is not the last. Arguments are those of `turn`, and of the next layer.

    `g_up_following` is [n_threads, …], the gradient by what was sent in the next layer.
    """
    for block in range(start, stop):
        element, a0, end = system.blocks[block]
        atoms = end - a0
        g_features = nodes.g_features[a0 * layer.n_out * layer.channels :]
        message = nodes.message[a0 * layer.n_kept * layer.channels :]
        began = ticks()
        reverse_send(following, atoms, a0, g_up_following, g_features, work)
        work.ticks[5] += ticks() - began
        _residual(layer, nodes, sends, element, a0, atoms, g_features, work)
        before = nodes.before[a0 * nodes.n_before * layer.channels :]
        began = ticks()
        n = gather_edges(layer, system.edges, nodes.place, a0, atoms, system.max_ell, work)
        edge_matrices(layer, system.max_ell, work, n)
        work.ticks[0] += ticks() - began
        reverse_update(
            layer,
            element,
            atoms,
            before,
            message,
            g_features,
            nodes.g_before[a0 * nodes.n_before * layer.channels :],
            sends,
            work,
        )
        _give_back(layer, nodes, system, g_up, sends, a0, atoms, n, forces, virial, work)


@step
def _residual(
    layer: Any, nodes: Any, sends: bool, element: int, a0: int, atoms: int, g_features: Any, work: Any
) -> None:
    """Reverse what went past the product."""
    if sends:
        began = ticks()
        channels = layer.channels
        past = layer.residual_t[element * layer.n_residual * channels**2 :]
        g_before = nodes.g_before[a0 * nodes.n_before * channels :]
        matmul_by_l(g_features, atoms, channels, past, layer.n_residual, g_before, channels, True)
        work.ticks[5] += ticks() - began
