import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from ase import Atoms

import accel.shipped
from accel.data import labels, load_structures
from accel.model_files import SHIPPED_MODELS
from accel.reference import ReferenceEvaluator, describe, load_model, model_card, shipped_models
from accel.shipped.card import card_text, label_errors

FOLDER = Path(accel.shipped.__file__).parent
SETS = ("train", "valid", "test")


def of_kind(frames: list[Atoms], kind: str) -> list[Atoms]:
    return [atoms for atoms in frames if atoms.info["config_type"] == kind]


@pytest.mark.parametrize("name", [*SETS, "liquid"])
def test_every_shipped_frame_has_labels_that_add_up(name: str) -> None:
    for atoms in load_structures(f"shipped:{name}"):
        label = labels(atoms)
        assert label is not None
        assert set(atoms.symbols) <= {"H", "C", "O"}
        np.testing.assert_allclose(label.forces.sum(axis=0), 0, atol=2e-3)
        assert (label.stress is not None) == atoms.pbc.all()


def test_every_kind_of_structure_is_there() -> None:
    counts = {
        name: Counter(atoms.info["config_type"] for atoms in load_structures(f"shipped:{name}"))
        for name in SETS
    }

    assert counts["train"] == {"molecule": 300, "cluster": 252, "liquid": 12}
    assert counts["valid"] == {"molecule": 25, "cluster": 21, "liquid": 4}
    assert counts["test"] == {"molecule": 75, "cluster": 42, "unseen": 36, "liquid": 8}


def test_no_structure_is_in_two_sets_or_twice_in_one() -> None:
    seen = [atoms.positions.tobytes() for name in SETS for atoms in load_structures(f"shipped:{name}")]

    assert len(set(seen)) == len(seen)


def test_what_is_called_unseen_is_in_no_set_that_a_model_saw() -> None:
    seen = {atoms.info["name"] for name in ("train", "valid") for atoms in load_structures(f"shipped:{name}")}
    unseen = {atoms.info["name"] for atoms in of_kind(load_structures("shipped:test"), "unseen")}

    assert unseen
    assert not seen & unseen


def test_the_liquid_is_methanol_at_its_density() -> None:
    (liquid,) = load_structures("shipped:liquid")

    assert liquid.get_chemical_formula() == "C16H64O16"
    assert liquid.pbc.all()
    assert liquid.get_masses().sum() / 0.602214 / liquid.get_volume() == pytest.approx(0.79, rel=1e-3)


def test_what_is_shipped_is_small() -> None:
    sizes = {
        path: path.stat().st_size for path in FOLDER.rglob("*") if path.suffix in (".xyz", ".safetensors")
    }

    assert len(sizes) == 6
    assert sum(size for path, size in sizes.items() if path.suffix == ".xyz") < 1.5e6
    assert sum(size for path, size in sizes.items() if path.suffix == ".safetensors") < 3e6


@pytest.mark.parametrize("name", shipped_models())
def test_a_cards_description_of_its_model_and_data_is_true(name: str) -> None:
    card = model_card(name)

    summary = describe(load_model(name))
    assert card["model"] == {**json.loads(json.dumps(card["model"])), "content_hash": summary.content_hash}
    assert card["model"]["n_parameters"] == summary.n_parameters
    assert tuple(card["model"]["elements"]) == summary.elements
    for part, digest in card["data"]["sha256"].items():
        assert hashlib.sha256((FOLDER / f"{part}.xyz").read_bytes()).hexdigest() == digest
    assert (SHIPPED_MODELS / name / "card.md").read_text(encoding="utf-8") == card_text(card)


@pytest.mark.parametrize("name", shipped_models())
def test_a_cards_errors_are_those_of_the_stored_weights(name: str) -> None:
    evaluator = ReferenceEvaluator(load_model(name))
    test = load_structures("shipped:test")

    for kind in ("molecule", "unseen"):
        measured = label_errors(evaluator, of_kind(test, kind))
        assert measured == pytest.approx(model_card(name)["errors"][kind], rel=1e-6)


@pytest.mark.parametrize("name", shipped_models())
def test_a_shipped_model_has_learned_its_task(name: str) -> None:
    test = load_structures("shipped:test")

    errors = model_card(name)["errors"]

    for kind in ("molecule", "cluster", "liquid"):
        forces = np.concatenate([atoms.arrays["REF_forces"].ravel() for atoms in of_kind(test, kind)])
        assert errors[kind]["n_structures"] == len(of_kind(test, kind))
        assert errors[kind]["force_rmse_mev_per_a"] < 0.2 * 1e3 * forces.std()
        assert errors[kind]["energy_rmse_mev_per_atom"] < 15


@pytest.mark.parametrize("name", shipped_models())
def test_the_stored_weights_are_the_fp64_ones_of_training(name: str) -> None:
    stored = safetensors.torch.load_file(SHIPPED_MODELS / name / "weights.safetensors")

    for weight, parameter in load_model(name).named_parameters():
        assert stored[weight].dtype == torch.float64
        assert torch.equal(stored[weight], parameter)


def test_the_two_models_have_the_forms_that_they_are_named_for() -> None:
    small, medium = describe(load_model("h2co-small")), describe(load_model("h2co-medium"))

    assert (small.n_channels, small.max_l, small.max_ell, small.correlation, small.r_max_a) == (
        32,
        0,
        3,
        3,
        4.0,
    )
    assert (medium.n_channels, medium.max_l, medium.max_ell, medium.correlation, medium.r_max_a) == (
        64,
        1,
        3,
        3,
        4.0,
    )
