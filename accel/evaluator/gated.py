"""What non-linear interaction blocks do to a message between convolution and contraction.

Its sums, normalised, get what the atom itself sends added; scalars pass through SiLU, every other l is
multiplied by a sigmoid of scalars of its own (the gates); a linear layer follows. Of a block of atoms,
what is before the gates is kept behind the messages: by l, and behind that the gates of each atom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from accel.evaluator.agreement import must_agree
from accel.evaluator.compilation import step
from accel.evaluator.matmul import matmul, matmul_by_l

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrices = tuple[NDArray[np.float64], ...]


@dataclass(frozen=True, slots=True)
class Gated:
    """The same as matrices acting from the right; `n_gates` is the number of l above 0."""

    gates: NDArray[np.float64]
    """[n_paths of l = 0 · n_edge_channels, n_gates · n_channels], from the summed messages."""
    own: Matrices
    """By l: [n_channels, n_channels], from the features that enter the layer."""
    own_gates: NDArray[np.float64]
    """[n_channels, n_gates · n_channels]."""
    second: Matrices
    """By l: [n_channels, n_channels], after the gates."""
    scalar_scale: float
    """Factor that makes the second moment of SiLU one, as below."""
    gate_scale: float


class GatedArrays(NamedTuple):
    """The same in panels (`packing`); `_t` marks transposes."""

    n_gates: int
    """0 where a layer has no gates: all else is empty then."""
    gates: Any
    gates_t: Any
    n_own: int
    own: Any
    own_t: Any
    own_gates: Any
    own_gates_t: Any
    second: Any
    second_t: Any
    scalar_scale: float
    gate_scale: float


def read_gated(block: Any, first: Matrices, own: Matrices, second: Matrices) -> tuple[Matrices, Gated]:
    """Matrices and factors of a non-linear block, its gates checked against the module.

    Args:
        block: The interaction.
        first: Matrices of its `linear_1`; l = 0 holds the gates as well.
        own: Matrices from the features that enter to the same.
        second: Matrices of its `linear_2`.

    Returns:
        The matrices of `first` without the gates, and the rest.
    """
    gate = block.equivariant_nonlin
    channels = second[0].shape[0]
    found = Gated(
        gates=first[0][:, channels:],
        own=(own[0][:, :channels], *own[1:]),
        own_gates=own[0][:, channels:],
        second=second,
        scalar_scale=gate._scalar_cst,
        gate_scale=gate._gate_cst,
    )
    x = torch.randn(3, gate.irreps_in.dim, dtype=torch.float64)
    must_agree(_through_gates(found, x.numpy(), len(second)), gate(x).numpy(), "a non-linear block")
    return (first[0][:, :channels], *first[1:]), found


def _through_gates(gated: Gated, x: NDArray[np.float64], n_l: int) -> NDArray[np.float64]:
    channels = len(gated.own_gates)
    scalars, gates = x[:, :channels], x[:, channels : n_l * channels]
    parts = [gated.scalar_scale * scalars / (1 + np.exp(-scalars))]
    at = n_l * channels
    for ell in range(1, n_l):
        gate = gated.gate_scale / (1 + np.exp(-gates[:, (ell - 1) * channels : ell * channels]))
        part = x[:, at : at + (2 * ell + 1) * channels].reshape(len(x), channels, -1)
        parts.append((part * gate[:, :, None]).reshape(len(x), -1))
        at += (2 * ell + 1) * channels
    return np.concatenate(parts, axis=1)


@step
def sum_gates(layer: Any, atoms: int, rows: Any, inner: Any) -> None:
    """The gates' part of the linear layer after the convolution."""
    if layer.gated.n_gates:
        at = atoms * len(layer.l_paths) ** 2 * layer.channels
        depth = layer.l_paths[0] * layer.edge_channels
        wide = layer.gated.n_gates * layer.channels
        matmul(rows, atoms, depth, layer.gated.gates, inner[at:], wide, False)


@step
def sum_gates_reverse(layer: Any, atoms: int, g_inner: Any, g_rows: Any) -> None:
    """Add the gradient through the gates' part to that by the summed messages."""
    if layer.gated.n_gates:
        at = atoms * len(layer.l_paths) ** 2 * layer.channels
        depth = layer.l_paths[0] * layer.edge_channels
        wide = layer.gated.n_gates * layer.channels
        matmul(g_inner[at:], atoms, wide, layer.gated.gates_t, g_rows, depth, True)


@step
def add_own(layer: Any, atoms: int, before: Any, inner: Any) -> None:
    """Add what comes from the block's atoms themselves."""
    channels = layer.channels
    gated = layer.gated
    matmul_by_l(before, atoms, channels, gated.own, gated.n_own, inner, channels, True)
    at = atoms * len(layer.l_paths) ** 2 * channels
    matmul(before, atoms, channels, gated.own_gates, inner[at:], gated.n_gates * channels, True)


@step
def add_own_reverse(layer: Any, atoms: int, g_inner: Any, g_before: Any) -> None:
    """Add the gradient through the atoms themselves to that by the features that enter."""
    channels = layer.channels
    gated = layer.gated
    matmul_by_l(g_inner, atoms, channels, gated.own_t, gated.n_own, g_before, channels, True)
    at = atoms * len(layer.l_paths) ** 2 * channels
    matmul(g_inner[at:], atoms, gated.n_gates * channels, gated.own_gates_t, g_before, channels, True)


@step
def activate(layer: Any, atoms: int, inner: Any, scratch: Any, message: Any) -> None:
    """From what is before the gates to the messages that are contracted."""
    channels = layer.channels
    n_l = len(layer.l_paths)
    gates = inner[atoms * n_l * n_l * channels :]
    for k in range(atoms * channels):
        scratch[k] = layer.gated.scalar_scale * inner[k] / (1.0 + np.exp(-inner[k]))
    for ell in range(1, n_l):
        for i in range(atoms):
            at = (atoms * ell * ell + i * (2 * ell + 1)) * channels
            for c in range(channels):
                x = gates[(i * (n_l - 1) + ell - 1) * channels + c]
                gate = layer.gated.gate_scale / (1.0 + np.exp(-x))
                for k in range(at + c, at + (2 * ell + 1) * channels, channels):
                    scratch[k] = gate * inner[k]
    matmul_by_l(scratch, atoms, channels, layer.gated.second, n_l, message, channels, False)


@step
def activate_reverse(layer: Any, atoms: int, inner: Any, g_message: Any, g_active: Any) -> None:
    """From the gradient by the messages to that by what is before the gates, in place.

    Args:
        layer: `packing.PackedLayer`.
        atoms: In the block.
        inner: What is before the gates.
        g_message: The gradient; has room for the gates behind it.
        g_active: Scratch of the same size.
    """
    channels = layer.channels
    n_l = len(layer.l_paths)
    first_gate = atoms * n_l * n_l * channels
    matmul_by_l(g_message, atoms, channels, layer.gated.second_t, n_l, g_active, channels, False)
    for k in range(atoms * channels):
        sigmoid = 1.0 / (1.0 + np.exp(-inner[k]))
        slope = sigmoid * (1.0 + inner[k] * (1.0 - sigmoid))
        g_message[k] = layer.gated.scalar_scale * slope * g_active[k]
    for ell in range(1, n_l):
        for i in range(atoms):
            at = (atoms * ell * ell + i * (2 * ell + 1)) * channels
            for c in range(channels):
                place = first_gate + (i * (n_l - 1) + ell - 1) * channels + c
                sigmoid = 1.0 / (1.0 + np.exp(-inner[place]))
                total = 0.0
                for k in range(at + c, at + (2 * ell + 1) * channels, channels):
                    total += g_active[k] * inner[k]
                    g_message[k] = layer.gated.gate_scale * sigmoid * g_active[k]
                g_message[place] = layer.gated.gate_scale * sigmoid * (1.0 - sigmoid) * total
