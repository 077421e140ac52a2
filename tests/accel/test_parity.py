import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from accel.data import load_structures
from accel.errors import ParityError, StructureError
from accel.evaluator import CompiledEvaluator
from accel.parity import check_parity, failures, measure_parity
from accel.parity_table import PARITY_COLUMNS, parity_notes, parity_record, parity_table, run_parity
from accel.plan import ROUNDING_FP32, Plan, build_evaluator, find_plans, named_plan
from accel.prediction import Evaluator, Prediction
from accel.reference import ReferenceEvaluator, load_model
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


@pytest.mark.parametrize("plan", ["swap", "swap-fp32", "cueq"])
def test_what_stays_a_torch_module_is_held_to_the_gradient_of_a_force_loss(model: Any, plan: str) -> None:
    evaluator = build_evaluator(model, named_plan(plan))
    report = check_parity(
        evaluator, model, [liquid(4), structures()["an isolated atom"]], budget=named_plan(plan).tolerance
    )
    assert report.force_loss is not None
    assert report.force_loss < (1e-3 if plan == "swap-fp32" else 1e-11)


def test_a_wrong_gradient_of_right_forces_is_found(model: Any) -> None:
    evaluator = build_evaluator(model, named_plan("reference"))
    assert isinstance(evaluator, ReferenceEvaluator)
    linear = evaluator.model.interactions[1].linear  # type: ignore[union-attr,index]
    inner = linear.forward
    # Weights that training does not reach; energy and forces stay what they are.
    linear.forward = lambda x: inner(x, linear.weight.detach())
    with pytest.raises(ParityError, match=r"gradient of a force loss .* of its length"):
        check_parity(evaluator, model, [liquid(4)])


def test_the_drift_of_the_energy_is_judged_beside_the_references() -> None:
    model = load_model("h2co-small")
    molecule = load_structures("shipped:test")[0]
    right = CompiledEvaluator(model)
    report = check_parity(right, model, [molecule], drift_steps=40)
    assert report.drift is not None
    assert report.drift.no_worse

    class Heating(CompiledEvaluator):
        def evaluate(self, atoms: Atoms, *, stress: bool = False) -> Prediction:
            found = super().evaluate(atoms, stress=stress)
            # Forces along the motion: they do work that no energy pays for.
            momenta = atoms.get_momenta()
            return replace(found, forces=found.forces + 0.5 * momenta)

    heated = measure_parity(Heating(model), model, [molecule], drift_steps=40)
    assert "drift of the energy" in "; ".join(failures(heated, ROUNDING_FP32))


def test_many_plans_are_judged_in_one_table(model: Any) -> None:
    wrong = replace(named_plan("reference-fp32"), name="strict", tolerance=named_plan("exact").tolerance)
    results = run_parity(model, [named_plan("swap"), wrong, *find_plans(["oeq"])], [liquid(4)])

    table, notes = parity_table(results), parity_notes(results)
    assert table.columns == PARITY_COLUMNS
    assert [(row[0], row[-1]) for row in table.rows] == [
        ("swap", "passed"),
        ("strict", "failed"),
        ("oeq", "not tried"),
    ]
    assert any(note.startswith("strict is not to be trusted here: energy error") for note in notes)
    assert any("oeq was not tried: OpenEquivariance has kernels for CUDA" in note for note in notes)
    assert (
        json.loads(json.dumps(parity_record(results)))["plans"][0]["report"]["reference"]["n_structures"] == 1
    )
    with pytest.raises(StructureError, match="at least one structure"):
        run_parity(model, [Plan("mine")], [])
