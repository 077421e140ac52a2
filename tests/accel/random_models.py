"""Small untrained models of every family, and structures of every kind, for parity tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule

from accel.mace_torch import build_model

RESIDUAL = "RealAgnosticResidualInteractionBlock"
PLAIN = "RealAgnosticInteractionBlock"


def random_model(dtype: torch.dtype = torch.float64, seed: int = 3, **changes: Any) -> Any:
    """A model with random weights: H, C and O, 8 channels of scalars, two interactions."""
    torch.manual_seed(seed)
    config: dict[str, Any] = {
        "r_max": 3.5,
        "num_bessel": 6,
        "num_polynomial_cutoff": 5,
        "max_ell": 3,
        "interaction_cls": RESIDUAL,
        "interaction_cls_first": PLAIN,
        "num_interactions": 2,
        "num_elements": 3,
        "hidden_irreps": "8x0e",
        "MLP_irreps": "6x0e",
        "gate": "silu",
        "edge_irreps": None,
        "readout_cls": "NonLinearReadoutBlock",
        "atomic_energies": [[-13.8, -58.1, -110.5]],
        "avg_num_neighbors": 7.3,
        "atomic_numbers": [1, 6, 8],
        "correlation": 3,
        "radial_type": "bessel",
        "atomic_inter_scale": 0.7,
        "atomic_inter_shift": -0.1,
        "heads": ["Default"],
        **changes,
    }
    return build_model(config, dtype)


def liquid(n_molecules: int = 8, seed: int = 0) -> Atoms:
    """Water molecules on a jittered grid in a skewed cell, about as dense as the liquid."""
    rng = np.random.default_rng(seed)
    side = 3.1
    cells = int(np.ceil(n_molecules ** (1 / 3)))
    atoms = Atoms(cell=np.diag([side * cells] * 3) + rng.uniform(-0.4, 0.4, (3, 3)), pbc=True)
    for index in np.ndindex(cells, cells, cells):
        if len(atoms) < 3 * n_molecules:
            water = molecule("H2O")
            water.rotate(float(rng.uniform(0, 360)), rng.normal(size=3))
            water.translate(
                side * (np.array(index) + 0.5) + rng.normal(0, 0.15, 3) - water.get_center_of_mass()
            )
            atoms += water
    return atoms


def structures() -> dict[str, Atoms]:
    """One structure of every kind that tends to break an evaluator."""
    far = Atoms("OHC", [(0, 0, 0), (20, 0, 0), (0, 20, 0)])
    diamond = bulk("C", "diamond", a=3.6)
    diamond.rattle(0.05, seed=1)
    slab = molecule("CH3OH", cell=[6, 6, 0], pbc=[True, True, False])
    wire = molecule("CH3CH2OH", cell=[4.5, 0, 0], pbc=[True, False, False])
    wrapped = liquid(8, seed=2)
    wrapped.positions += 37.0  # far outside the cell
    return {
        "a molecule": molecule("CH3COOH"),
        "a cluster of one element": Atoms("C5", np.random.default_rng(4).uniform(0, 3.5, (5, 3))),
        "a liquid": liquid(27),
        "a cell smaller than the cutoff": diamond,
        "a slab": slab,
        "a wire": wire,
        "atoms outside their cell": wrapped,
        "an isolated atom": Atoms("O"),
        "no two atoms within the cutoff": far,
        "a lone atom beside a molecule": molecule("CH4") + Atoms("O", [(9, 9, 9)]),
    }
