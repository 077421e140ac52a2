import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from matscipy.neighbours import neighbour_list

from accel.errors import StructureError
from accel.neighbours import NeighbourList
from tests.accel.random_models import liquid, structures


def pairs(neighbours: NeighbourList, atoms: Atoms) -> list[tuple[int, int, int, int, int]]:
    """Pairs inside the cutoff, as sorted tuples (a, b, S)."""
    cell = np.array(atoms.cell)
    found = neighbours.update(atoms.positions, cell, np.array(atoms.pbc))
    a = np.repeat(np.arange(len(atoms)), np.diff(found.first))
    vectors = atoms.positions[found.neighbour] - atoms.positions[a] + found.shift @ cell
    inside = np.linalg.norm(vectors, axis=1) < neighbours.cutoff_a
    rows = zip(a[inside], found.neighbour[inside], *found.shift[inside].astype(int).T, strict=True)
    return sorted(tuple(int(value) for value in row) for row in rows)  # type: ignore[misc]


def expected(atoms: Atoms, cutoff: float) -> list[tuple[int, int, int, int, int]]:
    cell = atoms.cell.complete()
    i, j, shift = neighbour_list("ijS", positions=atoms.positions, cell=cell, pbc=atoms.pbc, cutoff=cutoff)
    return sorted(zip(i.tolist(), j.tolist(), *shift.T.tolist(), strict=True))


@pytest.mark.parametrize("kind", list(structures()))
def test_pairs_are_those_of_another_library(kind: str) -> None:
    atoms = structures()[kind]

    assert pairs(NeighbourList(3.5, 0.7), atoms) == expected(atoms, 3.5)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    steps=st.lists(st.floats(0.0, 0.12), min_size=1, max_size=8),
    strain=st.floats(0.0, 0.03),
)
def test_kept_pairs_are_complete_however_atoms_move_and_the_cell_deforms(
    seed: int, steps: list[float], strain: float
) -> None:
    rng = np.random.default_rng(seed)
    atoms = liquid(8, seed=1)
    neighbours = NeighbourList(3.0, 0.4)

    for step in steps:
        atoms.positions += rng.normal(0, step, atoms.positions.shape)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, strain, (3, 3))), scale_atoms=True)
        assert pairs(neighbours, atoms) == expected(atoms, 3.0)


def test_a_search_is_made_only_when_atoms_have_moved_half_the_skin() -> None:
    atoms = liquid(8)
    neighbours = NeighbourList(3.0, 0.4)
    pairs(neighbours, atoms)

    atoms.positions[3] += [0.19, 0, 0]
    pairs(neighbours, atoms)
    assert neighbours.searches == 1

    atoms.positions[3] += [0.02, 0, 0]
    pairs(neighbours, atoms)
    assert neighbours.searches == 2


def test_a_changed_periodicity_is_noticed() -> None:
    atoms = bulk("C", "diamond", a=3.6)
    neighbours = NeighbourList(3.0)
    with_images = pairs(neighbours, atoms)

    atoms.pbc = False

    assert len(pairs(neighbours, atoms)) < len(with_images)


def test_a_flat_periodic_cell_is_refused() -> None:
    flat = Atoms("H", cell=[[4, 0, 0], [4, 0, 0], [0, 0, 4]], pbc=True)

    with pytest.raises(StructureError, match="three independent vectors"):
        NeighbourList(3.0).update(flat.positions, np.array(flat.cell), np.array(flat.pbc))
