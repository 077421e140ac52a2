"""Systems: the structures that plans are timed on, and what they ask of a model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from ase import Atoms

from accel.data import sized_system
from accel.reference import to_graph

_GRAPH_REPEATS = 5


@dataclass(frozen=True, slots=True)
class System:
    """What is timed: a structure, and what it asks of a model."""

    name: str
    atoms: Atoms
    n_edges: int
    graph_ms: float
    """Of which mace-torch's neighbour list and graph: the median of a few."""

    @property
    def n_atoms(self) -> int:
        """Atoms."""
        return len(self.atoms)


def make_systems(model: torch.nn.Module, base: Sequence[Atoms], sizes: Sequence[int]) -> list[System]:
    """Systems of about these sizes made from `base`; its first structure as it is where there are none.

    Raises:
        StructureError: The model cannot take them.
    """
    candidates = [sized_system(base, size) for size in sizes] or [base[0]]
    by_size = {len(atoms): atoms for atoms in candidates}
    systems = []
    for n_atoms, atoms in sorted(by_size.items()):
        times = []
        for _ in range(_GRAPH_REPEATS):
            began = time.perf_counter()
            graph = to_graph(atoms, model)
            times.append((time.perf_counter() - began) * 1e3)
        n_edges = int(graph["edge_index"].shape[1])
        systems.append(System(f"{n_atoms} atoms", atoms, n_edges, statistics.median(times)))
    return systems
