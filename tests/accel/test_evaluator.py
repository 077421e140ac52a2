import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from accel.data import load_structures
from accel.errors import PlanError, StructureError
from accel.evaluator import CompiledEvaluator
from accel.evaluator.compilation import cache_folder
from accel.reference import ReferenceEvaluator, load_model
from tests.accel.random_models import PLAIN, RESIDUAL, liquid, random_model, structures

FAMILIES: dict[str, dict[str, Any]] = {
    "scalars": {},
    "scalars, residual first": {"interaction_cls_first": RESIDUAL},
    "vectors": {"hidden_irreps": "6x0e+6x1o"},
    "tensors": {"hidden_irreps": "4x0e+4x1o+4x2e", "max_ell": 2},
    "up to l = 3": {"hidden_irreps": "4x0e+4x1o+4x2e+4x3o"},
    "a single interaction": {"num_interactions": 1},
    "three interactions": {"num_interactions": 3, "hidden_irreps": "5x0e+5x1o"},
    "never residual": {"interaction_cls": PLAIN},
    "correlation 1": {"correlation": 1},
    "correlation 2": {"correlation": 2, "hidden_irreps": "6x0e+6x1o"},
    "gaussian radial basis": {"radial_type": "gaussian", "num_bessel": 12},
    "cutoff on the weights": {"apply_cutoff": False},
    "last readout only": {"use_last_readout_only": True},
    "edge irreps of their own": {"hidden_irreps": "8x0e+8x1o", "edge_irreps": "4x0e+4x1o"},
    "all irreps kept": {"hidden_irreps": "4x0e+4x1o", "keep_last_layer_irreps": True},
    "an odd number of channels": {"hidden_irreps": "7x0e+7x1o"},
    "reduced couplings": {"use_reduced_cg": False, "hidden_irreps": "4x0e+4x1o"},
}


def assert_same(model: Any, atoms: Atoms, evaluator: CompiledEvaluator) -> None:
    """Within what the issue allows the exact evaluator: 1e-9 eV/Å and 1e-12 of the energy."""
    truth = ReferenceEvaluator(model).evaluate(atoms, stress=True)
    ours = evaluator.evaluate(atoms, stress=True)

    assert ours.energy_ev == pytest.approx(truth.energy_ev, rel=1e-12)
    np.testing.assert_allclose(ours.forces, truth.forces, rtol=0, atol=1e-9)
    assert ours.node_energies is not None
    assert truth.node_energies is not None
    np.testing.assert_allclose(ours.node_energies, truth.node_energies, rtol=1e-12)
    assert (ours.stress is None) == (truth.stress is None)
    if ours.stress is not None and truth.stress is not None:
        np.testing.assert_allclose(ours.stress, truth.stress, rtol=0, atol=1e-11)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_covered_family_agrees_with_mace_torch(family: str) -> None:
    model = random_model(**FAMILIES[family])

    assert_same(model, liquid(8), CompiledEvaluator(model))


@pytest.mark.parametrize("hidden", ["8x0e", "4x0e+4x1o"])
def test_every_kind_of_structure_agrees_with_mace_torch_whatever_came_before(hidden: str) -> None:
    model = random_model(hidden_irreps=hidden)
    evaluator = CompiledEvaluator(model)

    for atoms in structures().values():
        assert_same(model, atoms, evaluator)


@pytest.mark.parametrize("name", ["h2co-small", "h2co-medium"])
def test_shipped_models_agree_with_mace_torch_in_both_precisions(name: str) -> None:
    model = load_model(name)
    atoms = load_structures("shipped:liquid")[0]

    assert_same(model, atoms, CompiledEvaluator(model))
    truth = ReferenceEvaluator(model).evaluate(atoms)
    fast = CompiledEvaluator(model, dtype="float32").evaluate(atoms)
    error = fast.forces - truth.forces
    assert np.sqrt((error**2).mean()) < 0.02e-3
    assert np.abs(error).max() < 0.2e-3
    assert abs(fast.energy_ev - truth.energy_ev) / len(atoms) < 0.005e-3


def test_steps_of_a_trajectory_agree_while_neighbours_are_kept() -> None:
    model = random_model()
    evaluator = CompiledEvaluator(model, skin_a=0.4)
    atoms = liquid(27)
    rng = np.random.default_rng(5)

    for _ in range(8):
        atoms.positions += rng.normal(0, 0.03, atoms.positions.shape)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.002, (3, 3))), scale_atoms=True)
        assert_same(model, atoms, evaluator)


def test_two_threads_give_the_answer_of_one() -> None:
    model = random_model(hidden_irreps="4x0e+4x1o")
    atoms = liquid(27)

    one = CompiledEvaluator(model).evaluate(atoms, stress=True)
    two = CompiledEvaluator(model, threads=2).evaluate(atoms, stress=True)

    np.testing.assert_allclose(two.forces, one.forces, rtol=0, atol=1e-13)
    assert one.stress is not None
    assert two.stress is not None
    np.testing.assert_allclose(two.stress, one.stress, rtol=0, atol=1e-13)
    assert two.energy_ev == pytest.approx(one.energy_ev, rel=1e-14)


def test_a_model_in_fp32_is_evaluated_as_its_weights_say() -> None:
    model = random_model(dtype=torch.float32)
    atoms = molecule("CH3COOH")

    ours = CompiledEvaluator(model).evaluate(atoms)

    truth = ReferenceEvaluator(model.double()).evaluate(atoms)
    np.testing.assert_allclose(ours.forces, truth.forces, rtol=0, atol=1e-9)


def test_preparing_leaves_the_model_as_it_was() -> None:
    model = random_model(dtype=torch.float32)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    CompiledEvaluator(model)

    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(
        torch.equal(after[name], value) and after[name].dtype == value.dtype for name, value in before.items()
    )
    assert all(parameter.requires_grad for parameter in model.interactions.parameters())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"pair_repulsion": True}, "ZBL"),
        ({"distance_transform": "Agnesi"}, "AgnesiTransform"),
        ({"radial_type": "chebyshev"}, "Chebyshev"),
        ({"interaction_cls": "RealAgnosticDensityResidualInteractionBlock"}, "DensityResidual"),
        ({"interaction_cls": "RealAgnosticResidualNonLinearInteractionBlock"}, "NonLinear"),
        ({"correlation": 4, "max_ell": 1}, "correlation"),
        ({"max_ell": 4, "correlation": 1}, "max_ell"),
        ({"gate": "tanh"}, "gate tanh"),
        ({"use_agnostic_product": True}, "element-agnostic"),
        (
            {
                "heads": ["a", "b"],
                "atomic_energies": [[-1.0, -2.0, -3.0], [-1.0, -2.0, -3.0]],
                "atomic_inter_scale": [1.0, 1.0],
                "atomic_inter_shift": [0.0, 0.0],
            },
            "several heads",
        ),
    ],
)
def test_what_is_not_covered_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    model = random_model(**changes)

    with pytest.raises(PlanError, match=named) as refusal:
        CompiledEvaluator(model)

    assert "is not covered by the compiled evaluator: use plan" in str(refusal.value)


def test_structures_that_cannot_be_evaluated_are_refused_in_a_sentence() -> None:
    evaluator = CompiledEvaluator(random_model())

    with pytest.raises(StructureError, match="no atoms"):
        evaluator.evaluate(Atoms())
    with pytest.raises(StructureError, match="does not know"):
        evaluator.evaluate(Atoms("Xe"))
    with pytest.raises(StructureError, match="not numbers"):
        evaluator.evaluate(Atoms("H2", [(0, 0, 0), (np.nan, 0, 1)]))
    with pytest.raises(StructureError, match="overlap"):
        evaluator.evaluate(Atoms("H2", [(0, 0, 0), (0, 0, 0.01)]))
    with pytest.raises(StructureError, match="overlap"):
        evaluator.evaluate(Atoms("H2", [(0, 0, 0), (0, 0, 0)]))
    with pytest.raises(StructureError, match="three independent vectors"):
        evaluator.evaluate(Atoms("H", cell=[[4, 0, 0], [4, 0, 0], [0, 0, 4]], pbc=True))

    # A refusal leaves nothing behind.
    assert_same(random_model(), molecule("H2O"), evaluator)


def test_bad_settings_are_refused() -> None:
    model = random_model()

    with pytest.raises(PlanError, match="float16"):
        CompiledEvaluator(model, dtype="float16")  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="threads"):
        CompiledEvaluator(model, threads=0)


def test_compiled_code_goes_where_it_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "a file, not a folder"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    folder = cache_folder()

    assert folder.is_relative_to(tmp_path)
    (folder / "kernel").write_text("compiled")
