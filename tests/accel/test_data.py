from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.data import check_elements, check_geometry, labels, load_structures, sized_system
from accel.errors import StructureError


def bonded_parts(atoms: Atoms) -> list[str]:
    """Formulas of the molecules in `atoms`, by distances alone and without periodic images."""
    apart = atoms.get_all_distances()
    bonded = apart < np.where(np.add.outer(atoms.numbers, atoms.numbers) == 2, 0.95, 1.7)
    parts, left = [], set(range(len(atoms)))
    while left:
        part = [left.pop()]
        for atom in part:
            part += [other for other in sorted(left) if bonded[atom, other]]
            left -= set(part)
        parts.append(atoms[part].get_chemical_formula())
    return parts


def test_every_frame_of_a_users_file_is_read_in_order(tmp_path: Path) -> None:
    frames = [molecule(name) for name in ("H2O", "CH4", "CH3OH")]
    ase.io.write(tmp_path / "mine.xyz", frames)

    read = load_structures(str(tmp_path / "mine.xyz"))

    assert [atoms.get_chemical_formula() for atoms in read] == ["H2O", "CH4", "CH4O"]
    np.testing.assert_allclose(read[2].positions, frames[2].positions, atol=1e-7)


def test_a_limit_takes_frames_from_all_of_the_file(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "ten.xyz", [Atoms("H", [(i, 0, 0)]) for i in range(10)])

    taken = [atoms.positions[0, 0] for atoms in load_structures(str(tmp_path / "ten.xyz"), limit=4)]

    assert taken == [0, 2, 5, 7]
    assert len(load_structures(str(tmp_path / "ten.xyz"), limit=11)) == 10


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("nothing.xyz", None, "There is no structure file"),
        ("empty.xyz", b"", "is empty"),
        ("blank.xyz", b"\n\n", "cannot read|no structures"),
        ("words.xyz", b"this is not a structure\n", "cannot read"),
        ("cut.xyz", b"3\n\nH 0 0 0\nO 0 0 1\n", "cannot read"),
        ("letters.xyz", b"1\n\nH 0 zero 0\n", "cannot read"),
        ("noise.xyz", bytes(range(256)) * 4, "cannot read"),
        ("noise.db", bytes(range(256)) * 4, "cannot read"),
        ("noise.unheard-of", bytes(range(256)) * 4, "cannot read"),
        ("nan.xyz", b"1\n\nH 0 0 0\n1\n\nH 0 nan 0\n", "Frame 2 of .*nan.xyz cannot be used.* not numbers"),
        ("no-atoms.xyz", b"0\n\n", "no atoms|no structures"),
    ],
)
def test_a_file_that_holds_no_structures_is_refused_in_a_sentence(
    tmp_path: Path, name: str, content: bytes | None, told: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(StructureError, match=told) as refusal:
        load_structures(str(tmp_path / name))

    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).endswith(".")


def test_a_folder_is_no_structure_file(tmp_path: Path) -> None:
    with pytest.raises(StructureError, match="no structure file"):
        load_structures(str(tmp_path))


def test_a_wrong_shipped_name_is_answered_with_the_right_ones() -> None:
    with pytest.raises(StructureError, match="shipped:train, shipped:valid, shipped:test, shipped:liquid"):
        load_structures("shipped:traim")


def test_labels_are_found_where_mace_torch_and_ase_put_them() -> None:
    forces = np.arange(9.0).reshape(3, 3)
    marked, calculated, plain = molecule("H2O"), molecule("H2O"), molecule("H2O")
    marked.info["REF_energy"], marked.arrays["REF_forces"] = -1.0, forces
    calculated.calc = SinglePointCalculator(calculated, energy=-1.0, forces=forces)
    plain.info["energy"], plain.arrays["forces"] = -1.0, forces

    for atoms in (marked, calculated, plain):
        found = labels(atoms)
        assert found is not None
        assert found.energy_ev == -1.0
        np.testing.assert_array_equal(found.forces, forces)


def test_labels_made_for_mace_torch_come_before_a_calculators() -> None:
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((3, 3)))
    atoms.info["REF_energy"] = -2.0

    found = labels(atoms)

    assert found is not None
    assert found.energy_ev == -2.0


def test_an_energy_without_forces_is_no_label() -> None:
    atoms = molecule("H2O")
    atoms.info["REF_energy"] = -1.0

    assert labels(atoms) is None
    assert labels(molecule("H2O")) is None


@pytest.mark.parametrize("forces", [np.zeros((2, 3)), np.full((3, 3), np.nan)])
def test_labels_that_cannot_be_right_are_refused(forces: np.ndarray) -> None:
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    atoms.calc.results["forces"] = forces

    with pytest.raises(StructureError, match="labels of H2O"):
        labels(atoms)


@pytest.mark.parametrize("shape", ["voigt", "matrix", "nine"])
def test_a_stress_label_is_read_in_every_shape_that_files_give_it(shape: str) -> None:
    matrix = np.array([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]])
    atoms = molecule("H2O", cell=[5, 5, 5], pbc=True)
    atoms.info["REF_energy"], atoms.arrays["REF_forces"] = -1.0, np.zeros((3, 3))
    atoms.info["REF_stress"] = {"voigt": np.arange(1.0, 7), "matrix": matrix, "nine": matrix.ravel()}[shape]

    found = labels(atoms)

    assert found is not None
    assert found.stress is not None
    np.testing.assert_array_equal(found.stress, matrix)


@pytest.mark.parametrize(
    ("atoms", "told"),
    [
        (Atoms(), "no atoms"),
        (Atoms("H", [(0, np.inf, 0)]), "not numbers"),
        (Atoms("H", cell=[5, 5, 0], pbc=True), "periodic in a direction without a cell vector"),
    ],
)
def test_what_no_model_can_evaluate_is_refused(atoms: Atoms, told: str) -> None:
    with pytest.raises(StructureError, match=told):
        check_geometry(atoms)


def test_a_slab_is_periodic_only_where_it_has_cell_vectors() -> None:
    check_geometry(Atoms("H", cell=[5, 5, 0], pbc=[True, True, False]))


def test_unknown_elements_are_named_with_those_that_are_known() -> None:
    check_elements(molecule("CH3OH"), [1, 6, 8])

    with pytest.raises(StructureError) as refusal:
        check_elements(molecule("CH3CONH2"), [1, 6, 8], model="the model h2co-small")

    assert str(refusal.value) == (
        "The structure C2H5NO has N (nitrogen), which the model h2co-small does not know (it knows H, C, O): "
        "take other structures, or a model that was trained on these elements."
    )


@pytest.mark.parametrize("n_atoms", [1, 6, 15, 50, 95])
def test_a_small_system_is_a_free_cluster_of_whole_molecules(n_atoms: int) -> None:
    system = sized_system(load_structures("shipped:liquid"), n_atoms)

    assert not system.pbc.any()
    assert set(bonded_parts(system)) == {"CH4O"}
    assert abs(len(system) - n_atoms) <= 5  # methanol has six atoms, and one of them at least is taken


@pytest.mark.parametrize("n_atoms", [96, 192, 400, 768, 3000])
def test_a_large_system_is_the_liquid_repeated(n_atoms: int) -> None:
    (liquid,) = load_structures("shipped:liquid")

    system = sized_system([liquid], n_atoms)

    assert system.pbc.all()
    assert len(system) % len(liquid) == 0
    assert abs(len(system) - n_atoms) <= max(len(liquid) / 2, 0.15 * n_atoms)
    assert len(system) / system.get_volume() == pytest.approx(len(liquid) / liquid.get_volume())
    assert system.cell.lengths().max() <= 2.01 * system.cell.lengths().min()


def test_a_long_cell_is_repeated_across_its_length() -> None:
    rod = Atoms("H", cell=[3, 3, 12], pbc=True)

    assert sized_system([rod], 16).cell.lengths().tolist() == [12, 12, 12]


@settings(max_examples=30, deadline=None)
@given(st.integers(min_value=1, max_value=20000))
def test_a_system_of_any_size_is_the_same_each_time(n_atoms: int) -> None:
    base = load_structures("shipped:liquid")

    assert sized_system(base, n_atoms) == sized_system(base, n_atoms)


def test_without_a_periodic_structure_the_nearest_in_size_is_taken() -> None:
    base = [molecule("H2O"), molecule("C6H6"), molecule("CH3OH")]

    system = sized_system(base, 7)
    system.positions += 1

    assert system.get_chemical_formula() == "CH4O"
    np.testing.assert_array_equal(base[2].positions, molecule("CH3OH").positions)


@pytest.mark.parametrize(("base", "n_atoms"), [([], 5), ([molecule("H2O")], 0)])
def test_a_system_of_nothing_cannot_be_made(base: list[Atoms], n_atoms: int) -> None:
    with pytest.raises(StructureError, match="cannot be made"):
        sized_system(base, n_atoms)
