"""Graphs of a few fixed shapes, which is what a recorded CUDA graph needs: it replays what it saw.

Atoms and edges are filled up to the next of a series of sizes. What fills up is a second structure in the
same batch: atoms that only have edges to themselves, longer than the cutoff. Nothing of it reaches the
first structure, so energies, forces and stress of that one are what they were, whatever the model.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GROWTH = 1.2
_SMALLEST = 16
_BEYOND = 4.0
"""Length of the filling edges, in cutoffs."""


def bucket(n: int) -> int:
    """The smallest of 16, 20, 24, … (each a fifth more) that is larger than `n`."""
    size = _SMALLEST
    while size <= n:
        size = math.ceil(size * _GROWTH)
    return size


def padded(graph: dict[str, Tensor], cutoff_a: float) -> dict[str, Tensor]:
    """What a model reads of the graph of one structure, filled up to sizes that few graphs share.

    Reads shapes alone, so it never waits for a device.

    Returns:
        A graph of two structures; the first is the one given, its atoms first.
    """
    n_atoms, n_edges = len(graph["positions"]), graph["edge_index"].shape[1]
    more_atoms, more_edges = bucket(n_atoms) - n_atoms, bucket(n_edges) - n_edges
    far = _BEYOND * cutoff_a
    attributes = graph["node_attrs"].new_zeros(more_atoms, graph["node_attrs"].shape[1])
    attributes[:, 0] = 1.0
    one_cell = graph["unit_shifts"].new_zeros(more_edges, 3)
    one_cell[:, 0] = 1.0
    loops = graph["edge_index"].new_full((2, more_edges), n_atoms)
    box = far * torch.eye(3, dtype=graph["cell"].dtype, device=graph["cell"].device)
    return {
        "positions": torch.cat([graph["positions"], graph["positions"].new_zeros(more_atoms, 3)]),
        "node_attrs": torch.cat([graph["node_attrs"], attributes]),
        "edge_index": torch.cat([graph["edge_index"], loops], dim=1),
        "shifts": torch.cat([graph["shifts"], far * one_cell.to(graph["shifts"].dtype)]),
        "unit_shifts": torch.cat([graph["unit_shifts"], one_cell]),
        "cell": torch.cat([graph["cell"].reshape(3, 3), box]),
        "batch": torch.cat([graph["batch"], graph["batch"].new_ones(more_atoms)]),
        "head": graph["head"].expand(2).clone(),
        "ptr": graph["ptr"].new_tensor([0, n_atoms, n_atoms + more_atoms]),
    }
