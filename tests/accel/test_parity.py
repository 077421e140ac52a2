from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from accel.errors import ParityError, StructureError
from accel.evaluator import CompiledEvaluator
from accel.parity import check_parity
from accel.plan import ROUNDING_FP32
from accel.prediction import Evaluator, Prediction
from tests.accel.random_models import liquid, random_model, structures

TRIED_ON = ("a molecule", "a liquid", "a cell smaller than the cutoff", "a slab", "an isolated atom")


@pytest.fixture(scope="module")
def model() -> object:
    return random_model(hidden_irreps="4x0e+4x1o")


class Flawed:
    """An evaluator whose answers are changed on the way out."""

    def __init__(self, inner: Evaluator, flaw: str) -> None:
        self.inner = inner
        self.flaw = flaw

    def evaluate(self, atoms: Atoms, *, stress: bool = False) -> Prediction:
        right = self.inner.evaluate(atoms, stress=stress)
        if self.flaw == "energy":
            return replace(right, energy_ev=right.energy_ev * (1 + 1e-6))
        if self.flaw == "stress" and right.stress is not None:
            return replace(right, stress=right.stress.T * 1.01)
        if self.flaw == "rotation":
            # A preferred direction that the trial structures as they stand do not show.
            tilt = 1e-6 * abs(atoms.cell[0, 1]) + 1e-6 * (atoms.cell[0, 0] < 0)
            return replace(right, forces=right.forces + tilt)
        if self.flaw == "NaN":
            return replace(right, forces=np.full_like(right.forces, np.nan))
        if self.flaw == "step":
            bonds = atoms.get_all_distances()
            near = (bonds > 0) & (bonds < 2.0)
            kick = 1e-5 * near.sum(axis=1)[:, None] * np.array([0.0, 0.0, 1.0])
            return replace(right, forces=right.forces + kick * (len(atoms) > 2 and atoms.cell.rank == 0))
        return right


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_compiled_evaluator_passes(model: object, dtype: str) -> None:
    evaluator = CompiledEvaluator(model, dtype=dtype)  # type: ignore[arg-type]
    tried = [structures()[name] for name in TRIED_ON]
    knots = np.linspace(1.0, 3.4, 7)

    budget = {"budget": ROUNDING_FP32} if dtype == "float32" else {}
    report = check_parity(evaluator, model, tried, knots_a=knots, **budget)  # type: ignore[arg-type]

    assert report.reference.n_structures == len(tried)
    if dtype == "float64":
        assert report.reference.force_max_mev_per_a < 1e-6
        assert report.finite_difference_mev_per_a < 1e-3


@pytest.mark.parametrize(
    ("flaw", "named"),
    [
        ("energy", "energy error"),
        ("stress", "stress error"),
        ("rotation", "rotation"),
        ("NaN", "nan"),
        ("step", "jump"),
    ],
)
def test_a_flaw_is_found_and_named(model: object, flaw: str, named: str) -> None:
    evaluator = Flawed(CompiledEvaluator(model), flaw)

    with pytest.raises(ParityError, match=named):
        check_parity(evaluator, model, [liquid(8)], knots_a=[2.0])  # type: ignore[arg-type]


def test_parity_without_structures_is_refused(model: object) -> None:
    with pytest.raises(StructureError, match="at least one structure"):
        check_parity(CompiledEvaluator(model), model, [])  # type: ignore[arg-type]
