"""Neighbour lists that are kept between steps until atoms have moved half a skin.

The search is vesin's. Lattice vectors are rows; a candidate (a, b, S) stands for the vector from
atom a to the image of atom b displaced by S whole cells: r_b + S·cell - r_a.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import vesin
from ase.geometry import complete_cell

from accel.errors import StructureError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs within the cutoff and skin, each in both directions, sorted by their first atom."""

    first: NDArray[np.int64]
    """[n_atoms + 1]; candidates of atom a are `first[a]` … `first[a + 1] - 1`."""
    neighbour: NDArray[np.int32]
    """[n_candidates]."""
    shift: NDArray[np.float64]
    """[n_candidates, 3], whole cells the neighbour is displaced by."""


class NeighbourList:
    """Candidates for pairs nearer than `cutoff_a`, searched again only when they may have changed."""

    def __init__(self, cutoff_a: float, skin_a: float = 0.5) -> None:
        self.cutoff_a = cutoff_a
        self.skin_a = skin_a
        self.searches = 0
        """Times that a search was made, for those who tune the skin."""
        self._found: Candidates | None = None
        self._positions: NDArray[np.float64] = np.zeros((0, 3))
        self._cell: NDArray[np.float64] = np.zeros((3, 3))
        self._pbc: NDArray[np.bool_] = np.zeros(3, dtype=bool)

    def forget(self) -> None:
        """Search again at the next update: the atoms are not those of the last one."""
        self._found = None

    def update(
        self, positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_]
    ) -> Candidates:
        """Candidates that hold every pair nearer than the cutoff.

        Args:
            positions: [n_atoms, 3], Å.
            cell: [3, 3], Å; rows may be zero where not periodic.
            pbc: [3].

        Returns:
            The same object as before as long as it is still complete.

        Raises:
            StructureError: The cell is flat along a periodic direction.
        """
        if self._found is None or not self._still_complete(positions, cell, pbc):
            self._found = self._search(positions, cell, pbc)
            self._positions, self._cell, self._pbc = positions.copy(), cell.copy(), pbc.copy()
            self.searches += 1
        return self._found

    def _still_complete(
        self, positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_]
    ) -> bool:
        """Whether no pair can have come inside the cutoff that was outside cutoff and skin.

        A deformed cell carries the old positions along: distances shrink by at most the smallest
        singular value of the deformation, and on top of it two atoms approach by their own moves.
        """
        if positions.shape != self._positions.shape or not np.array_equal(pbc, self._pbc):
            return False
        reach, carried = self.cutoff_a + self.skin_a, self._positions
        if not np.array_equal(cell, self._cell):
            deformation = np.linalg.solve(complete_cell(self._cell), complete_cell(cell))
            reach *= float(np.linalg.svd(deformation, compute_uv=False).min())
            carried = carried @ deformation
        moves = positions - carried
        furthest = float(np.sqrt(np.einsum("ac,ac->a", moves, moves).max(initial=0.0)))
        return reach - 2.0 * furthest >= self.cutoff_a

    def _search(
        self, positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_]
    ) -> Candidates:
        box = complete_cell(cell)
        lengths = np.linalg.norm(box, axis=1)
        if pbc.any() and (
            not np.all(np.linalg.norm(cell, axis=1)[pbc] > 0)
            or abs(np.linalg.det(box)) < 1e-6 * float(np.prod(lengths))
        ):
            raise StructureError(
                "The cell is flat along a periodic direction: give three independent vectors."
            )
        search = vesin.NeighborList(
            cutoff=self.cutoff_a + self.skin_a, full_list=True, sorted=True, n_threads=1
        )
        i, j, shift = search.compute(points=positions, box=box, periodic=pbc, quantities="ijS")
        first = np.searchsorted(i, np.arange(len(positions) + 1)).astype(np.int64)
        return Candidates(first, j.astype(np.int32), np.ascontiguousarray(shift, dtype=np.float64))
