"""Small untrained models of every family, and structures of every kind, for parity tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule

from accel.mace_torch import build_model, modules

RESIDUAL = "RealAgnosticResidualInteractionBlock"
PLAIN = "RealAgnosticInteractionBlock"


ATTENTION = "RealAgnosticAttResidualInteractionBlock"
DENSITY = "RealAgnosticDensityInteractionBlock"
DENSITY_RESIDUAL = "RealAgnosticDensityResidualInteractionBlock"
NON_LINEAR = "RealAgnosticResidualNonLinearInteractionBlock"
TWO_HEADS: dict[str, Any] = {
    "heads": ["dft", "Default"],
    "atomic_energies": [[-13.8, -58.1, -110.5], [-13.1, -57.0, -111.2]],
    "atomic_inter_scale": [0.7, 1.1],
    "atomic_inter_shift": [-0.1, 0.2],
}

COVERED: dict[str, dict[str, Any]] = {
    "scalars": {"max_ell": 3},
    "scalars, residual first": {"interaction_cls_first": RESIDUAL},
    "vectors": {"hidden_irreps": "6x0e+6x1o", "max_ell": 3},
    "tensors": {"hidden_irreps": "4x0e+4x1o+4x2e"},
    "up to l = 3": {"hidden_irreps": "4x0e+4x1o+4x2e+4x3o", "max_ell": 3},
    "harmonics up to l = 5": {"hidden_irreps": "4x0e+4x1o+4x2e+4x3o+4x4e", "max_ell": 5, "correlation": 2},
    "without parity": {"hidden_irreps": "4x0e+4x1e", "use_so3": True},
    "a single interaction": {"num_interactions": 1},
    "three interactions": {"num_interactions": 3, "hidden_irreps": "5x0e+5x1o"},
    "never residual": {"interaction_cls": PLAIN},
    "correlation 1": {"correlation": 1},
    "correlation 2": {"correlation": 2, "hidden_irreps": "6x0e+6x1o"},
    "correlation 4": {"correlation": 4, "max_ell": 1, "hidden_irreps": "4x0e+4x1o"},
    "a correlation for each layer": {"correlation": [2, 3]},
    "gaussian radial basis": {"radial_type": "gaussian", "num_bessel": 12},
    "chebyshev radial basis": {"radial_type": "chebyshev", "num_bessel": 3, "r_max": 2.5},
    "cutoff on the weights": {"apply_cutoff": False},
    "agnesi transform": {"distance_transform": "Agnesi", "hidden_irreps": "4x0e+4x1o"},
    "soft transform, cutoff on the weights": {"distance_transform": "Soft", "apply_cutoff": False},
    "zbl repulsion": {"pair_repulsion": True},
    "agnesi transform and repulsion": {"distance_transform": "Agnesi", "pair_repulsion": True},
    "last readout only": {"use_last_readout_only": True},
    "edge irreps of their own": {"hidden_irreps": "8x0e+8x1o", "edge_irreps": "4x0e+4x1o"},
    "edge irreps from the first layer": {
        "hidden_irreps": "8x0e+8x1o",
        "edge_irreps": "4x0e+4x1o",
        "use_edge_irreps_first": True,
    },
    "all irreps kept": {"hidden_irreps": "4x0e+4x1o", "keep_last_layer_irreps": True},
    "an odd number of channels": {"hidden_irreps": "7x0e+7x1o"},
    "reduced couplings": {"use_reduced_cg": False, "hidden_irreps": "4x0e+4x1o"},
    "an agnostic product": {"use_agnostic_product": True},
    "readout with biases": {"readout_cls": "NonLinearBiasReadoutBlock"},
    "gate tanh": {"gate": "tanh"},
    "gate abs": {"gate": "abs"},
    "no gate": {"gate": "None"},
    "two heads": TWO_HEADS,
    "density, repulsion and transform": {
        "interaction_cls": DENSITY_RESIDUAL,
        "interaction_cls_first": DENSITY,
        "hidden_irreps": "4x0e+4x1o",
        "distance_transform": "Agnesi",
        "pair_repulsion": True,
    },
    "density, never residual": {"interaction_cls": DENSITY, "interaction_cls_first": DENSITY_RESIDUAL},
    "non-linear": {
        "interaction_cls": NON_LINEAR,
        "interaction_cls_first": NON_LINEAR,
        "hidden_irreps": "4x0e+4x1o",
        "readout_cls": "NonLinearBiasReadoutBlock",
    },
    "non-linear after plain, cutoff on the weights": {
        "interaction_cls": NON_LINEAR,
        "num_interactions": 3,
        "edge_irreps": "3x0e+3x1o",
        "hidden_irreps": "4x0e+4x1o",
        "apply_cutoff": False,
    },
    "two heads, readout with biases": {"readout_cls": "NonLinearBiasReadoutBlock", **TWO_HEADS},
}
"""What changes in a model of each family that the compiled evaluator covers."""

NOT_COVERED: dict[str, tuple[dict[str, Any], str]] = {
    "attention": ({"interaction_cls": ATTENTION}, "RealAgnosticAttResidualInteractionBlock"),
    "odd scalars": ({"hidden_irreps": "4x0e+4x0o+4x1o", "max_ell": 1}, "irreps 4x0e\\+4x0o"),
    "a missing l": ({"hidden_irreps": "4x0e+4x2e"}, "irreps 4x0e\\+4x2e"),
    "correlation 5": ({"correlation": 5, "max_ell": 1}, "correlation above 4"),
}
"""What changes in a model that it does not cover, and how that is named."""


def random_model(dtype: torch.dtype = torch.float64, seed: int = 3, **changes: Any) -> Any:
    """A model with random weights: H, C and O, 8 channels of scalars, two interactions."""
    torch.manual_seed(seed)
    config: dict[str, Any] = {
        "r_max": 3.5,
        "num_bessel": 6,
        "num_polynomial_cutoff": 5,
        "max_ell": 2,
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
    model: Any = build_model(config, dtype)
    for block in model.interactions:
        if hasattr(block, "beta"):  # as they are made, elements and density hardly matter
            with torch.no_grad():
                block.alpha.fill_(3.0)
                block.beta.fill_(0.8)
                block.source_embedding.weight.mul_(500.0)
                block.target_embedding.weight.mul_(500.0)
    return model


def without_scale(model: Any) -> Any:
    """The same as a `MACE`, which has neither scale nor shift."""
    del model.scale_shift
    model.__class__ = modules.MACE
    return model


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
