"""Several structures in one evaluation of the compiled kernels: one set of atoms, no edge between two.

Kernels see atoms, and candidates for edges with the displacement of their sender; what cell that came
from they need not know. So candidates are searched for each structure by itself, displacements turned
into Å, and all put in a row. It saves what an evaluation costs whatever its size, and atoms of one element
from all structures share blocks.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from accel.data import check_elements, check_geometry
from accel.neighbours import Candidates, NeighbourList
from accel.prediction import Prediction

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from accel.evaluator.engine import CompiledEvaluator

_NO_CELL = np.eye(3)
"""Displacements are in Å, so the lattice that they count in is the unit one."""


class SideBySide:
    """One compiled evaluator, for many structures at a time. It works beside it: both can be used in turn."""

    def __init__(self, evaluator: CompiledEvaluator) -> None:
        # Tables, packed layers and threads are shared; what is kept from call to call is its own.
        self._kernels = copy.copy(evaluator)
        self._listed = _Listed()
        self._kernels._neighbours = self._listed  # type: ignore[assignment]
        self._kernels._structure = self._kernels._candidates = self._kernels._edges = None
        self._search = NeighbourList(evaluator._extracted.cutoff_a, skin_a=0.0)

    def evaluate(self, structures: Sequence[Atoms]) -> list[Prediction]:
        """Energies and forces; no stress, because kernels sum one virial over all atoms.

        Raises:
            StructureError: The model cannot take one of them.
        """
        known = self._kernels._extracted.atomic_numbers.tolist()
        for atoms in structures:
            check_geometry(atoms)
            check_elements(atoms, known)
        numbers = np.concatenate([np.asarray(atoms.numbers, dtype=np.int64) for atoms in structures])
        positions = np.concatenate([np.asarray(atoms.positions, dtype=np.float64) for atoms in structures])
        structure = self._kernels._prepare(numbers, _apart(structures, self._search.cutoff_a))
        self._listed.candidates = self._candidates(structures, structure.order)
        ordered = np.ascontiguousarray(positions[structure.order])
        edges = self._kernels._measure(ordered, _NO_CELL, np.zeros(3, dtype=bool), structure)
        energies, forces, _ = self._kernels._run(structure, edges)
        by_atom, by_force = np.empty_like(energies), np.empty_like(forces)
        by_atom[structure.order], by_force[structure.order] = energies, forces
        ends = np.cumsum([len(atoms) for atoms in structures])
        return [
            Prediction(
                float(by_atom[end - n : end].sum()), by_force[end - n : end], None, by_atom[end - n : end]
            )
            for end, n in zip(ends, map(len, structures), strict=True)
        ]

    def _candidates(self, structures: Sequence[Atoms], order: NDArray[np.int64]) -> Candidates:
        """Candidates of all structures, in the order in which the kernels number their atoms."""
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        first, second, shifts = [], [], []
        start = 0
        for atoms in structures:
            cell = np.array(atoms.cell, dtype=np.float64)
            self._search.forget()
            found = self._search.update(np.asarray(atoms.positions), cell, np.array(atoms.pbc))
            own = np.repeat(np.arange(len(atoms)), np.diff(found.first))
            first.append(place[start + own])
            second.append(place[start + found.neighbour])
            shifts.append(found.shift @ cell)
            start += len(atoms)
        rows = np.concatenate(first)
        sorting = np.argsort(rows, kind="stable")
        bounds = np.searchsorted(rows[sorting], np.arange(len(order) + 1)).astype(np.int64)
        return Candidates(
            bounds,
            np.concatenate(second)[sorting].astype(np.int32),
            np.ascontiguousarray(np.concatenate(shifts)[sorting]),
        )


class _Listed:
    """In place of a `NeighbourList`: candidates that were put together elsewhere."""

    candidates: Candidates

    def forget(self) -> None:
        """There is nothing to forget: candidates are given anew for every evaluation."""

    def update(self, *_: NDArray[np.float64]) -> Candidates:
        return self.candidates


def _apart(structures: Sequence[Atoms], cutoff_a: float) -> NDArray[np.float64]:
    """Places by which atoms are numbered: structures in columns of their own, so that they stay together.

    Distances are taken from the positions as they are, which lose no digits to this.
    """
    places, start = [], 0.0
    for atoms in structures:
        place = np.array(atoms.positions, dtype=np.float64)
        place[:, 0] += start - place[:, 0].min()
        start = (np.floor(place[:, 0].max() / cutoff_a) + 1.0) * cutoff_a
        places.append(place)
    return np.concatenate(places)
