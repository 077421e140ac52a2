import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from torch import nn

import accel
from accel.data import load_structures, sized_system
from accel.errors import ModelError, PlanError, StructureError
from accel.plan import named_plan
from accel.reference import ReferenceEvaluator, load_model


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return load_model("h2co-small")


@pytest.fixture
def liquid() -> Atoms:
    (atoms,) = load_structures("shipped:liquid")
    atoms.calc = None
    return atoms


def test_ase_gets_what_the_plan_computes(model: nn.Module, liquid: Atoms) -> None:
    liquid.calc = accel.Calculator(model)
    found = ReferenceEvaluator(model).evaluate(liquid, stress=True)
    assert found.stress is not None
    assert liquid.get_potential_energy() == pytest.approx(found.energy_ev, abs=1e-9)
    np.testing.assert_allclose(liquid.get_forces(), found.forces, atol=1e-9)
    np.testing.assert_allclose(liquid.get_stress(voigt=False), found.stress, atol=1e-9)
    assert liquid.get_potential_energies().sum() == pytest.approx(found.energy_ev, abs=1e-6)


def test_forces_are_the_slope_of_the_energy(model: nn.Module) -> None:
    atoms = sized_system(load_structures("shipped:liquid"), 6)
    atoms.calc = accel.Calculator(model)
    step, force = 1e-4, atoms.get_forces()[2, 1]
    atoms.positions[2, 1] += step
    above = atoms.get_potential_energy()
    atoms.positions[2, 1] -= 2 * step
    assert force == pytest.approx((atoms.get_potential_energy() - above) / (2 * step), abs=1e-5)


def test_another_plan_can_be_chosen_by_name_or_as_a_value(model: nn.Module, liquid: Atoms) -> None:
    energies = []
    for plan in ("reference", "reference-fp32", named_plan("reference-fp32")):
        liquid.calc = accel.Calculator(model, plan)
        energies.append(liquid.get_potential_energy())
    assert energies[1] == energies[2]
    assert 0 < abs(energies[0] - energies[1]) < 1e-4 * len(liquid)


def test_stress_of_a_molecule_is_refused(model: nn.Module) -> None:
    atoms = Atoms("CO", [(0, 0, 0), (0, 0, 1.13)], calculator=accel.Calculator(model))
    with pytest.raises(PropertyNotImplementedError, match="reference gives no stress for CO"):
        atoms.get_stress()


def test_an_element_that_the_model_lacks_is_named(model: nn.Module) -> None:
    with pytest.raises(StructureError, match="Fe"):
        Atoms("Fe", calculator=accel.Calculator(model)).get_potential_energy()


def test_names_that_mean_nothing_are_refused(model: nn.Module) -> None:
    with pytest.raises(PlanError, match="no plan 'warp'"):
        accel.Calculator(model, "warp")
    with pytest.raises(ModelError, match="no model nowhere"):
        accel.Calculator("nowhere")
    with pytest.raises(AttributeError, match="no attribute 'Calculater'"):
        accel.Calculater  # noqa: B018
