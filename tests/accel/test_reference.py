import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from ase import Atoms
from ase.build import bulk, molecule

from accel.data import load_structures
from accel.errors import MissingBackend, ModelError, StructureError
from accel.mace_torch import build_model, mace_tools, model_config, quiet
from accel.reference import (
    ReferenceEvaluator,
    describe,
    load_model,
    model_card,
    save_model,
    shipped_models,
    to_graph,
)

with quiet():
    from mace.calculators import MACECalculator

CONFIG: dict[str, Any] = {
    "r_max": 3.5,
    "num_bessel": 6,
    "num_polynomial_cutoff": 5,
    "max_ell": 2,
    "interaction_cls": "RealAgnosticResidualInteractionBlock",
    "interaction_cls_first": "RealAgnosticResidualInteractionBlock",
    "num_interactions": 2,
    "num_elements": 3,
    "hidden_irreps": "4x0e+4x1o",
    "MLP_irreps": "4x0e",
    "gate": "silu",
    "edge_irreps": None,
    "readout_cls": "NonLinearReadoutBlock",
    "atomic_energies": [[-13.8, -58.1, -110.5]],
    "avg_num_neighbors": 7.3,
    "atomic_numbers": [1, 6, 8],
    "correlation": 2,
    "radial_type": "bessel",
    "atomic_inter_scale": 0.7,
    "atomic_inter_shift": -0.1,
    "heads": ["Default"],
    "use_reduced_cg": False,
}


class RunsCode:
    """What a hostile pickle does: opening it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.fixture(scope="module")
def tiny() -> torch.nn.Module:
    """A model that has never been trained, small enough to build in no time."""
    torch.manual_seed(7)
    return build_model(CONFIG, torch.float64)


@pytest.fixture(scope="module")
def kept(tiny: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder, which no test changes."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny, folder)
    return folder


@pytest.fixture
def stored(kept: Path, tmp_path: Path) -> Path:
    """A copy of its folder, to break."""
    return Path(shutil.copytree(kept, tmp_path / "tiny"))


@pytest.fixture(scope="module")
def loaded(kept: Path) -> dict[str, torch.nn.Module]:
    """It, read back in both precisions."""
    return {dtype: load_model(str(kept), dtype=dtype) for dtype in ("float64", "float32")}


@pytest.fixture(autouse=True)
def _torch_default_dtype_stays() -> Iterator[None]:
    before = torch.get_default_dtype()
    yield
    assert torch.get_default_dtype() == before


def structures() -> list[Atoms]:
    """Free, periodic, periodic in two directions, a cell smaller than the cutoff, and one atom."""
    slab = molecule("CH3OH", cell=[6, 6, 0], pbc=[True, True, False])
    small = Atoms(
        "CO", [(0, 0, 0), (0.3, 0.2, 1.2)], cell=[[2.6, 0, 0], [0.4, 2.7, 0], [0, 0.5, 2.9]], pbc=True
    )
    return [molecule("CH3COOH"), load_structures("shipped:liquid")[0], slab, small, Atoms("O")]


def test_a_stored_model_gives_the_same_bits_when_it_is_read_back(
    tiny: torch.nn.Module, loaded: dict[str, torch.nn.Module]
) -> None:
    for atoms in structures():
        want = ReferenceEvaluator(tiny).evaluate(atoms, stress=True)
        got = ReferenceEvaluator(loaded["float64"]).evaluate(atoms, stress=True)
        assert got.energy_ev == want.energy_ev
        np.testing.assert_array_equal(got.forces, want.forces)
        np.testing.assert_array_equal(got.node_energies, want.node_energies)
        np.testing.assert_array_equal(got.stress, want.stress)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_state_dict_fits_a_model_that_mace_torch_builds(
    tiny: torch.nn.Module, loaded: dict[str, torch.nn.Module], dtype: str
) -> None:
    plain = build_model(CONFIG, getattr(torch, dtype))

    plain.load_state_dict(loaded[dtype].state_dict(), strict=True)

    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(tensor.double(), tiny.state_dict()[name].double(), rtol=2e-7, atol=0)


def test_a_stored_models_config_is_what_it_was_built_from(tiny: torch.nn.Module, kept: Path) -> None:
    config = json.loads((kept / "config.json").read_text())["config"]

    assert config == model_config(tiny)
    assert {key: config[key] for key in CONFIG} == CONFIG


def test_neither_of_the_stored_files_is_a_pickle(stored: Path) -> None:
    assert sorted(path.name for path in stored.iterdir()) == ["config.json", "weights.safetensors"]
    assert safetensors.torch.load_file(stored / "weights.safetensors").keys()
    json.loads((stored / "config.json").read_text())


@pytest.mark.parametrize("atoms", structures(), ids=["free", "liquid", "slab", "small-cell", "one-atom"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_evaluation_is_that_of_mace_torchs_own_calculator(
    loaded: dict[str, torch.nn.Module], atoms: Atoms, dtype: str
) -> None:
    prediction = ReferenceEvaluator(loaded[dtype]).evaluate(atoms, stress=True)

    theirs = atoms.copy()
    theirs.calc = MACECalculator(models=loaded[dtype], default_dtype=dtype)

    tolerance = 1e-12 if dtype == "float64" else 1e-6
    assert prediction.energy_ev == pytest.approx(theirs.get_potential_energy(), rel=tolerance)
    np.testing.assert_allclose(prediction.forces, theirs.get_forces(), rtol=0, atol=10 * tolerance)
    assert prediction.node_energies is not None
    np.testing.assert_allclose(prediction.node_energies, theirs.get_potential_energies(), rtol=tolerance)
    if atoms.pbc.all():
        assert prediction.stress is not None
        np.testing.assert_allclose(prediction.stress, theirs.get_stress(voigt=False), rtol=0, atol=tolerance)
    else:
        assert prediction.stress is None


def test_everything_is_handed_over_in_fp64_whatever_the_models_dtype(
    loaded: dict[str, torch.nn.Module],
) -> None:
    prediction = ReferenceEvaluator(loaded["float32"]).evaluate(
        load_structures("shipped:liquid")[0], stress=True
    )

    for values in (prediction.forces, prediction.stress, prediction.node_energies):
        assert values is not None
        assert values.dtype == np.float64


def test_stress_is_computed_only_where_it_is_asked_for(tiny: torch.nn.Module) -> None:
    assert ReferenceEvaluator(tiny).evaluate(bulk("C")).stress is None


def test_forces_are_the_slope_of_the_energy(tiny: torch.nn.Module) -> None:
    atoms = molecule("CH3OH")
    atoms.rattle(0.1, seed=3)
    evaluator = ReferenceEvaluator(tiny)
    forces = evaluator.evaluate(atoms).forces

    for atom, axis in np.ndindex(*forces.shape):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * 1e-4
            energies.append(evaluator.evaluate(moved).energy_ev)
        assert forces[atom, axis] == pytest.approx(-(energies[0] - energies[1]) / 2e-4, abs=1e-6)


def test_stress_is_the_slope_of_the_energy_under_strain(tiny: torch.nn.Module) -> None:
    atoms = structures()[3]
    evaluator = ReferenceEvaluator(tiny)
    stress = evaluator.evaluate(atoms, stress=True).stress
    assert stress is not None

    for i, j in ((0, 0), (1, 2), (2, 2)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * 5e-5
            strain[j, i] += sign * 5e-5
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energies.append(evaluator.evaluate(strained).energy_ev)
        slope = (energies[0] - energies[1]) / 2e-4 / atoms.get_volume()
        assert stress[i, j] == pytest.approx(slope, abs=1e-6)


def test_energy_and_forces_turn_with_the_molecule(tiny: torch.nn.Module) -> None:
    rng = np.random.default_rng(5)
    atoms = molecule("CH3CH2OH")
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))  # a rotation or a reflection
    order = rng.permutation(len(atoms))
    turned = atoms[order]
    turned.positions = turned.positions @ rotation + (3, -1, 2)

    before, after = ReferenceEvaluator(tiny).evaluate(atoms), ReferenceEvaluator(tiny).evaluate(turned)

    assert after.energy_ev == pytest.approx(before.energy_ev, abs=1e-10)
    np.testing.assert_allclose(after.forces, before.forces[order] @ rotation, atol=1e-10)


def test_node_energies_add_up_to_the_energy(tiny: torch.nn.Module) -> None:
    prediction = ReferenceEvaluator(tiny).evaluate(structures()[1])

    assert prediction.node_energies is not None
    assert prediction.node_energies.sum() == pytest.approx(prediction.energy_ev, rel=1e-13)


def test_unknown_elements_and_wrong_positions_are_refused(tiny: torch.nn.Module) -> None:
    evaluator = ReferenceEvaluator(tiny, name="the model tiny")
    lost = molecule("CH3OH")
    lost.positions[2, 1] = np.nan

    with pytest.raises(
        StructureError, match=r"N \(nitrogen\), which the model tiny does not know \(it knows H, C, O"
    ):
        evaluator.evaluate(molecule("CH3CONH2"))
    with pytest.raises(StructureError, match="not numbers"):
        evaluator.evaluate(lost)


def test_evaluating_leaves_model_and_structure_as_they_were(tiny: torch.nn.Module) -> None:
    atoms = structures()[2]
    before, state = atoms.copy(), {name: tensor.clone() for name, tensor in tiny.state_dict().items()}

    ReferenceEvaluator(tiny).evaluate(atoms, stress=True)

    assert atoms == before
    assert atoms.calc is None
    for name, tensor in tiny.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_a_head_is_chosen_by_name_and_by_default_only_where_that_is_clear() -> None:
    config = {**CONFIG, "heads": ["xtb", "dft"], "atomic_energies": [[-1.0, -2, -3], [-10, -20, -30]]}
    torch.manual_seed(1)
    model = build_model(
        {**config, "atomic_inter_scale": [1.0, 1.0], "atomic_inter_shift": [0.0, 0.0]}, torch.float64
    )
    oxygen = Atoms("O")

    first = ReferenceEvaluator(model, head="xtb").evaluate(oxygen).energy_ev
    second = ReferenceEvaluator(model, head="dft").evaluate(oxygen).energy_ev

    assert second - first == pytest.approx(-27, abs=1)
    with pytest.raises(ModelError, match="no head named default; choose one of: xtb, dft"):
        ReferenceEvaluator(model).evaluate(oxygen)


def test_a_description_is_the_same_in_both_precisions_but_for_the_dtype(
    loaded: dict[str, torch.nn.Module],
) -> None:
    full, half = describe(loaded["float64"]), describe(loaded["float32"])

    assert full.elements == ("H", "C", "O")
    assert (full.r_max_a, full.n_channels, full.max_l, full.max_ell, full.correlation) == (3.5, 4, 1, 2, 2)
    assert full.content_hash == half.content_hash
    assert (full.dtype, half.dtype) == ("float64", "float32")


def test_another_weight_or_another_shift_is_another_model(tiny: torch.nn.Module) -> None:
    other_weight, other_shift = build_model(CONFIG, torch.float64), build_model(CONFIG, torch.float64)
    for model in (other_weight, other_shift):
        model.load_state_dict(tiny.state_dict())
    with torch.no_grad():
        next(iter(other_weight.parameters())).view(-1)[0] += 1e-3
        other_shift.get_buffer("scale_shift.shift").add_(1e-3)

    hashes = {describe(model).content_hash for model in (tiny, other_weight, other_shift)}

    assert len(hashes) == 3


def test_a_graph_is_in_the_models_dtype(loaded: dict[str, torch.nn.Module]) -> None:
    graph = to_graph(molecule("H2O"), loaded["float32"])

    assert graph["positions"].dtype == torch.float32
    assert graph["edge_index"].shape == (2, 6)


def test_a_loaded_model_is_frozen_and_can_be_thawed(kept: Path) -> None:
    model = load_model(str(kept))

    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.requires_grad_(True).parameters())


def test_a_pickle_is_not_opened_unless_it_is_allowed(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save(RunsCode(trace), tmp_path / "hostile.model")

    with pytest.raises(ModelError, match=r"hostile\.model is a pickle, which can run any code.*allow"):
        load_model(str(tmp_path / "hostile.model"))

    assert not trace.exists()


def test_an_allowed_pickle_is_opened_with_a_warning_and_is_the_same_model(
    tiny: torch.nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(tiny, tmp_path / "mine.model")

    with caplog.at_level(logging.WARNING, logger="accel"):
        model = load_model(str(tmp_path / "mine.model"), allow_pickle=True)

    assert "mine.model, a pickle" in caplog.text
    atoms = molecule("CH3OH")
    assert (
        ReferenceEvaluator(model).evaluate(atoms).energy_ev
        == ReferenceEvaluator(tiny).evaluate(atoms).energy_ev
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"not a model", b"PK\x03\x04 cut short", b"\x80\x04}\x94.", b"\x80\x04cnowhere\nThing\n."],
)
def test_a_file_that_is_no_model_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.model").write_bytes(content)

    with pytest.raises(ModelError, match=r"broken\.model (cannot be opened|holds a|is empty)") as refusal:
        load_model(str(tmp_path / "broken.model"), allow_pickle=True)

    assert "\n" not in str(refusal.value)


def test_a_pickle_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "linear.model")

    with pytest.raises(ModelError, match="holds a Linear, not a mace-torch model"):
        load_model(str(tmp_path / "linear.model"), allow_pickle=True)


def test_a_model_cut_short_is_refused(tiny: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(tiny, tmp_path / "whole.model")
    content = (tmp_path / "whole.model").read_bytes()
    (tmp_path / "cut.model").write_bytes(content[: len(content) // 2])

    with pytest.raises(ModelError, match=r"cut\.model cannot be opened"):
        load_model(str(tmp_path / "cut.model"), allow_pickle=True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": 99}, "newer than this program"),
        ({"format": None}, "not written by this program"),
        ({"dtype": "float16"}, "incomplete"),
        ({"config": None}, "incomplete"),
        ({"config": {**CONFIG, "interaction_cls": "os.system"}}, "describes no model"),
        ({"config": {**CONFIG, "hidden_irreps": "four scalars"}}, "describes no model"),
        ({"config": {**CONFIG, "surprise": 1}}, "describes no model"),
        ({"config": {**CONFIG, "hidden_irreps": "8x0e+8x1o"}}, "weights do not fit"),
        ({"rebuilt": {}}, "weights do not fit"),
        ({"weights_sha256": "0"}, "damaged"),
    ],
)
def test_a_config_that_fits_no_model_is_refused(stored: Path, changes: dict[str, Any], told: str) -> None:
    record = json.loads((stored / "config.json").read_text())
    (stored / "config.json").write_text(json.dumps({**record, **changes}))

    with pytest.raises(ModelError, match=told) as refusal:
        load_model(str(stored))

    assert str(stored) in str(refusal.value)


def test_another_coupling_basis_than_the_weights_were_fitted_in_is_noticed(stored: Path) -> None:
    record = json.loads((stored / "config.json").read_text())
    name = next(name for name in record["rebuilt"] if name.endswith("U_matrix_2"))
    record["rebuilt"][name] *= 1.001
    (stored / "config.json").write_text(json.dumps(record))

    with pytest.raises(ModelError, match=r"builds another .*U_matrix_2"):
        load_model(str(stored))


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_missing_and_damaged_files_are_named(stored: Path, name: str) -> None:
    content = (stored / name).read_bytes()

    (stored / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=name):
        load_model(str(stored))
    (stored / name).unlink()
    with pytest.raises(ModelError, match=f"it has no {name}"):
        load_model(str(stored))


def test_weights_that_are_not_numbers_are_refused(kept: Path, tmp_path: Path) -> None:
    broken = load_model(str(kept))
    next(iter(broken.parameters())).view(-1)[0] = torch.nan
    save_model(broken, tmp_path / "nan")

    with pytest.raises(ModelError, match="is not finite"):
        load_model(str(tmp_path / "nan"))


def test_a_model_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(ModelError, match=r"no model h2co-smal.*h2co-small"):
        load_model("h2co-smal")
    with pytest.raises(ModelError, match="h2co-small"):
        model_card("h2co-smal")


def test_wrong_dtypes_and_devices_are_named(stored: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded as bfloat16"):
        load_model(str(stored), dtype="bfloat16")
    with pytest.raises(MissingBackend, match="the device gpu"):
        load_model(str(stored), device="gpu")


def test_a_model_of_another_kind_cannot_be_stored(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Linear and not a ScaleShiftMACE"):
        save_model(torch.nn.Linear(2, 2), tmp_path / "linear")

    assert not (tmp_path / "linear").exists()


def test_shipped_models_load_by_name() -> None:
    assert shipped_models() == ("h2co-medium", "h2co-small")
    assert describe(load_model("h2co-small")).elements == ("H", "C", "O")


def test_the_border_to_mace_torch_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    build_model(CONFIG, torch.float64)
    mace_tools.count_parameters(torch.nn.Linear(1, 1))

    assert capsys.readouterr().out == ""
