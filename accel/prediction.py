"""What every way of evaluating a model returns, so that any two can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Prediction:
    """Energy and its derivatives for one structure, always handed over in fp64."""

    energy_ev: float
    """Total energy, isolated-atom energies included."""
    forces: NDArray[np.float64]
    """[n_atoms, 3], eV/Å."""
    stress: NDArray[np.float64] | None
    """[3, 3], eV/Å³, positive under tension as in ASE; None where not asked for or not periodic."""
    node_energies: NDArray[np.float64] | None = None
    """[n_atoms], eV; None where the way of evaluating does not give them."""


class Evaluator(Protocol):
    """One way of evaluating one model: a plan applied to it on one device."""

    def evaluate(self, atoms: Atoms, *, stress: bool = False) -> Prediction:
        """Energy, forces and, where asked for, stress of `atoms`.

        Raises:
            StructureError: The model cannot take these atoms (an unknown element, NaN positions).
        """
