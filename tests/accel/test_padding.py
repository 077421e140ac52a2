import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from accel.reference import to_graph
from accel.vendors.padding import bucket, padded
from tests.accel.random_models import COVERED, liquid, random_model


def test_sizes_are_few_and_leave_room_for_one_more() -> None:
    sizes = [bucket(n) for n in range(1000)]
    assert all(size > n for n, size in enumerate(sizes))
    assert sizes == sorted(sizes)
    assert len(set(sizes)) < 25


@pytest.mark.parametrize(
    "family", ["vectors", "non-linear after plain, cutoff on the weights", "density, repulsion and transform"]
)
def test_what_fills_up_a_graph_changes_nothing_of_the_structure(family: str) -> None:
    model = random_model(**COVERED[family])
    for atoms in (liquid(4), molecule("CH3OH"), Atoms("O")):
        graph = to_graph(atoms, model)
        plain = model(graph, compute_stress=True)
        filled = padded(to_graph(atoms, model), float(model.r_max))
        found = model(filled, compute_stress=True)

        assert filled["edge_index"].shape[1] == bucket(graph["edge_index"].shape[1])
        assert len(filled["positions"]) == bucket(len(atoms))
        assert found["energy"][0].item() == pytest.approx(plain["energy"].item(), rel=1e-13)
        forces, stress = found["forces"].detach(), found["stress"].detach()
        assert torch.isfinite(forces).all()
        np.testing.assert_allclose(forces[: len(atoms)], plain["forces"].detach(), rtol=0, atol=1e-12)
        np.testing.assert_allclose(stress[0], plain["stress"].detach()[0], rtol=0, atol=1e-12)


def test_filling_up_reads_no_value_from_the_device() -> None:
    model = random_model(num_interactions=1)
    graph = {name: value.to("meta") for name, value in to_graph(molecule("CH4"), model).items()}

    filled = padded({**graph, "ptr": graph["ptr"]}, 3.5)

    assert filled["positions"].shape == (bucket(5), 3)
