from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import nn

from accel.errors import MissingBackend, PlanError
from accel.mace_torch import build_model
from accel.plan import Plan, build_evaluator, named_plan
from accel.reference import ReferenceEvaluator
from accel.vendors.torch_compile import compiled_evaluator

TINY: dict[str, Any] = {
    "r_max": 3.0,
    "num_bessel": 2,
    "num_polynomial_cutoff": 5,
    "max_ell": 1,
    "interaction_cls": "RealAgnosticResidualInteractionBlock",
    "interaction_cls_first": "RealAgnosticResidualInteractionBlock",
    "num_interactions": 1,
    "num_elements": 2,
    "hidden_irreps": "2x0e",
    "MLP_irreps": "2x0e",
    "gate": "silu",
    "edge_irreps": None,
    "readout_cls": "NonLinearReadoutBlock",
    "radial_MLP": [4],
    "atomic_energies": [[-13.8, -58.1]],
    "avg_num_neighbors": 3.0,
    "atomic_numbers": [1, 6],
    "correlation": 2,
    "radial_type": "bessel",
    "atomic_inter_scale": 0.7,
    "atomic_inter_shift": -0.1,
    "heads": ["Default"],
}


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(7)
    return build_model(TINY, torch.float64).requires_grad_(False).eval()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile warns of torch itself
def test_a_captured_model_gives_the_same_energy_forces_and_stress(model: nn.Module) -> None:
    # All of torch.compile but the C++ compiler's minutes, which each benchmark's gate stands in for.
    plan = Plan("capture", "compile", options={"backend": "aot_eager"})
    compiled, reference = build_evaluator(model, plan), ReferenceEvaluator(model)
    shake = np.random.default_rng(1)
    for _ in range(2):
        atoms = Atoms("CH3", shake.uniform(0, 4, (4, 3)), cell=[4.0, 4.2, 4.4], pbc=True)
        found, right = compiled.evaluate(atoms, stress=True), reference.evaluate(atoms, stress=True)
        assert found.stress is not None
        assert right.stress is not None
        assert found.energy_ev == pytest.approx(right.energy_ev, abs=1e-12)
        np.testing.assert_allclose(found.forces, right.forces, atol=1e-12)
        np.testing.assert_allclose(found.stress, right.stress, atol=1e-12)
        assert np.abs(right.forces).max() > 1e-3


def test_without_a_compiler_the_way_out_is_named(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(MissingBackend, match=r"needs a C\+\+ compiler .* install g\+\+"):
        build_evaluator(model, named_plan("compile"))


def test_threads_on_which_it_crashes_are_refused_unless_a_plan_asks_for_them(model: nn.Module) -> None:
    torch.set_num_threads(2)
    try:
        with pytest.raises(PlanError, match="crashes on the CPU with 2 threads"):
            build_evaluator(model, named_plan("compile"))
        build_evaluator(model, Plan("mine", "compile", options={"many_threads": True}))
    finally:
        torch.set_num_threads(1)


def test_a_backend_that_is_not_there_is_named(model: nn.Module) -> None:
    with pytest.raises(PlanError, match=r"no backend 'abacus'; there are: .*inductor"):
        build_evaluator(model, Plan("mine", "compile", options={"backend": "abacus"}))


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(PlanError, match="it is a Linear and not a ScaleShiftMACE"):
        compiled_evaluator(nn.Linear(1, 1), dtype="float64", device="cpu")
