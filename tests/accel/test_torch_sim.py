"""Plans as models of TorchSim, for real: batches, integrators, and what is refused."""

import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

import accel
from accel.data import load_structures
from accel.errors import MissingBackend, PlanError, StructureError
from accel.plan import build_evaluator, named_plan
from tests.accel.random_models import liquid, random_model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what its own libraries say of each other is not ours to mend
    import torch_sim


@pytest.fixture(scope="module")
def model() -> Any:
    return random_model(hidden_irreps="4x0e+4x1o")


def state_of(structures: list[Atoms], dtype: torch.dtype = torch.float64) -> Any:
    return torch_sim.io.atoms_to_state(structures, torch.device("cpu"), dtype)


@pytest.mark.parametrize("plan", ["exact", "swap"])
def test_a_batch_of_systems_gets_the_answers_of_each(model: Any, plan: str) -> None:
    systems = [liquid(4), liquid(8), liquid(4, seed=3)]
    right = [build_evaluator(model, named_plan(plan)).evaluate(atoms, stress=True) for atoms in systems]

    found = accel.TorchSimModel(model, plan, compute_stress=True)(state_of(systems))

    assert found["energy"].tolist() == pytest.approx([one.energy_ev for one in right], rel=1e-13)
    forces = np.concatenate([one.forces for one in right])
    np.testing.assert_allclose(found["forces"], forces, rtol=0, atol=1e-11)
    stress = np.stack([one.stress for one in right if one.stress is not None])
    np.testing.assert_allclose(found["stress"], stress, rtol=0, atol=1e-11)


def test_free_systems_have_no_stress(model: Any) -> None:
    state = state_of([molecule("CH4"), Atoms("O")])
    found = accel.TorchSimModel(model, "exact", dtype=torch.float32)(state)
    assert sorted(found) == ["energy", "forces"]
    assert found["forces"].dtype == torch.float32
    with pytest.raises(StructureError, match=r"have no stress: .*compute_stress=False"):
        accel.TorchSimModel(model, "exact", compute_stress=True)(state)


def test_torch_sim_moves_systems_and_keeps_their_energy() -> None:
    model = accel.TorchSimModel("h2co-small", "exact")
    systems = load_structures("shipped:test")[:3]
    for atoms in systems:
        atoms.pbc = False
    units = torch_sim.units.MetalUnits
    step = {
        "model": model,
        "dt": torch.tensor(2.5e-4 * units.time),
        "kT": torch.tensor(300.0 * units.temperature),
    }
    start, move = torch_sim.integrators.nve(**step)
    state = start(state_of(systems), seed=1)

    def total(state: Any) -> Any:
        kinetic = torch_sim.quantities.calc_kinetic_energy(
            masses=state.masses, momenta=state.momenta, system_idx=state.system_idx
        )
        return state.energy + kinetic

    before, places = total(state), state.positions.clone()
    for _ in range(20):
        state = move(state)

    assert (state.positions - places).abs().max() > 1e-3
    assert (total(state) - before).abs().max() < 5e-3


def test_what_cannot_be_had_is_refused(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PlanError, match=r"cannot be in torch\.float16"):
        accel.TorchSimModel(model, dtype=torch.float16)
    monkeypatch.delitem(sys.modules, "accel.vendors.torch_sim")
    monkeypatch.setitem(sys.modules, "torch_sim.io", None)
    with pytest.raises(MissingBackend, match=r"pip install mace-workbench\[torchsim\]"):
        _ = accel.TorchSimModel
