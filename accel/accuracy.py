"""How far one answer is from another: the errors that plans are judged by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from accel.errors import ParityError

if TYPE_CHECKING:
    from accel.prediction import Prediction

_MEV = 1000.0


@dataclass(frozen=True, slots=True)
class ErrorStats:
    """Errors over a number of structures. NaN in an answer is NaN here, and passes no gate."""

    n_structures: int
    energy_mev_per_atom: float
    """Root mean square over structures, of the error per atom."""
    force_rmse_mev_per_a: float
    """Root mean square over components."""
    force_max_mev_per_a: float
    """The largest component."""
    stress_rmse_mev_per_a3: float | None = None
    """Root mean square over components; None where no stress was compared."""


class ErrorSum:
    """Adds up errors, structure by structure."""

    def __init__(self) -> None:
        self.n_structures = 0
        """How many have been taken in."""
        self._energy = self._force = self._stress = 0.0
        self._n_components = self._n_stresses = 0
        self._worst = 0.0

    def add(self, answer: Prediction, truth: Prediction) -> None:
        """Take in one structure.

        Raises:
            ParityError: The answer is not of the truth's shape, or lacks the stress that the truth has.
        """
        if answer.forces.shape != truth.forces.shape:
            raise ParityError(f"forces of shape {answer.forces.shape} where {truth.forces.shape} is right")
        difference = (answer.forces - truth.forces) * _MEV
        self.n_structures += 1
        self._energy += ((answer.energy_ev - truth.energy_ev) * _MEV / max(1, len(difference))) ** 2
        self._force += float(np.sum(difference**2))
        self._n_components += difference.size
        # np.maximum keeps a NaN where Python's max would lose it.
        self._worst = float(np.maximum(self._worst, np.max(np.abs(difference), initial=0.0)))
        if truth.stress is not None:
            if answer.stress is None:
                raise ParityError("no stress where the reference has one")
            self._stress += float(np.sum(((answer.stress - truth.stress) * _MEV) ** 2))
            self._n_stresses += truth.stress.size

    @property
    def stats(self) -> ErrorStats:
        """What has been added so far.

        Raises:
            ValueError: Nothing has been.
        """
        if not self.n_structures:
            raise ValueError("no structure has been compared")
        return ErrorStats(
            n_structures=self.n_structures,
            energy_mev_per_atom=math.sqrt(self._energy / self.n_structures),
            force_rmse_mev_per_a=math.sqrt(self._force / max(1, self._n_components)),
            force_max_mev_per_a=self._worst,
            stress_rmse_mev_per_a3=math.sqrt(self._stress / self._n_stresses) if self._n_stresses else None,
        )


def compare(answer: Prediction, truth: Prediction) -> ErrorStats:
    """The error of one answer.

    Raises:
        ParityError: The answer is not of the truth's shape, or lacks the stress that the truth has.
    """
    errors = ErrorSum()
    errors.add(answer, truth)
    return errors.stats
