import runpy
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from accel.data import load_structures
from accel.errors import ModelError, PlanError, StructureError
from accel.evaluator import CompiledEvaluator
from accel.evaluator.compilation import cache_folder
from accel.reference import ReferenceEvaluator, load_model, to_graph
from tests.accel.random_models import (
    COVERED,
    NOT_COVERED,
    TWO_HEADS,
    liquid,
    random_model,
    structures,
    without_scale,
)


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


@pytest.mark.parametrize("family", COVERED)
def test_every_covered_family_agrees_with_mace_torch(family: str) -> None:
    model = random_model(**COVERED[family])

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


@pytest.mark.parametrize("family", NOT_COVERED)
def test_what_is_not_covered_is_refused_by_name(family: str) -> None:
    changes, named = NOT_COVERED[family]
    model = random_model(**changes)

    with pytest.raises(PlanError, match=named) as refusal:
        CompiledEvaluator(model)

    assert "is not covered by the compiled evaluator: use plan" in str(refusal.value)


def test_a_model_without_scale_and_shift_agrees_with_mace_torch() -> None:
    model = without_scale(random_model(pair_repulsion=True))

    assert_same(model, liquid(8), CompiledEvaluator(model))


@pytest.mark.parametrize(
    "family", ["agnesi transform and repulsion", "density, repulsion and transform", "non-linear"]
)
def test_every_kind_of_structure_agrees_where_elements_matter_in_pairs(family: str) -> None:
    model = random_model(**COVERED[family])
    evaluator = CompiledEvaluator(model)

    for atoms in structures().values():
        assert_same(model, atoms, evaluator)


def test_each_head_can_be_chosen_and_a_wrong_one_is_named() -> None:
    model = random_model(**TWO_HEADS)
    atoms = liquid(8)

    for head in ("dft", "DEFAULT", None):
        truth = ReferenceEvaluator(model, head=head).evaluate(atoms)
        ours = CompiledEvaluator(model, head=head).evaluate(atoms)
        assert ours.energy_ev == pytest.approx(truth.energy_ev, rel=1e-12)
        np.testing.assert_allclose(ours.forces, truth.forces, rtol=0, atol=1e-9)
    with pytest.raises(ModelError, match="no head named mp; choose one of: dft, Default"):
        CompiledEvaluator(model, head="mp")


@pytest.mark.parametrize(
    "family", ["chebyshev radial basis", "zbl repulsion", "density, never residual", "non-linear"]
)
def test_forces_are_the_slope_of_the_energy_of_mace_torch(family: str) -> None:
    """Also where mace-torch's own forces are not (Chebyshev), or could be wrong in the same way."""
    model = random_model(**COVERED[family])
    atoms = liquid(8)
    direction = np.random.default_rng(1).normal(size=atoms.positions.shape)

    def energy(step: float) -> float:
        moved = atoms.copy()
        moved.positions += step * direction
        with torch.no_grad():
            return float(model(to_graph(moved, model), compute_force=False)["energy"])

    # Before anything makes the model's basis differentiable.
    h = 1e-4
    slope = (8 * (energy(h) - energy(-h)) - (energy(2 * h) - energy(-2 * h))) / (12 * h)
    forces = CompiledEvaluator(model).evaluate(atoms).forces

    assert (forces * direction).sum() == pytest.approx(-slope, rel=1e-6, abs=1e-6)


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


def test_a_copy_of_the_code_in_another_place_compiles_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    hits = []
    for place in ("here", "there"):
        source = tmp_path / place / "doubling.py"
        source.parent.mkdir()
        source.write_text(
            "from accel.evaluator.compilation import kernel\n@kernel\ndef double(x):\n    return 2.0 * x\n"
        )
        double = runpy.run_path(str(source))["double"]
        assert double(3.0) == 6.0
        hits.append(sum(double.stats.cache_hits.values()))

    assert hits == [0, 1]


def test_compiled_code_goes_where_it_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "a file, not a folder"
    blocked.write_text("")
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    folder = cache_folder()

    assert folder.is_relative_to(tmp_path)
    (folder / "kernel").write_text("compiled")
