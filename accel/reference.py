"""The mace-torch model as the definition of correct: loaded, described, and evaluated as it is."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from accel.data import check_elements, check_geometry
from accel.errors import ModelError
from accel.mace_torch import default_dtype, mace_data, mace_tools, model_config, model_dtype, o3
from accel.model_files import load_model, model_card, save_model, shipped_models, torch_device
from accel.ops.chebyshev import DifferentiableChebyshev
from accel.prediction import Prediction

log = logging.getLogger(__name__)

__all__ = [
    "ModelSummary",
    "ReferenceEvaluator",
    "describe",
    "load_model",
    "model_card",
    "save_model",
    "shipped_models",
    "to_graph",
]


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """What a model is, for provenance."""

    elements: tuple[str, ...]
    r_max_a: float
    n_interactions: int
    n_channels: int
    max_l: int
    """Of the messages between interactions."""
    max_ell: int
    """Of the spherical harmonics."""
    correlation: int
    n_parameters: int
    dtype: str
    content_hash: str
    """SHA-256 of the weights rounded to fp32: the same in fp64 and in fp32, on every device."""


def describe(model: torch.nn.Module) -> ModelSummary:
    """What `model` is.

    Raises:
        ModelError: It is not a ScaleShiftMACE.
    """
    try:
        config = model_config(model)
    except ValueError as error:
        raise ModelError(f"The model cannot be described: {error}.") from error
    messages = o3.Irreps(config["hidden_irreps"])
    return ModelSummary(
        elements=tuple(chemical_symbols[z] for z in config["atomic_numbers"]),
        r_max_a=config["r_max"],
        n_interactions=config["num_interactions"],
        n_channels=messages.count("0e"),
        max_l=messages.lmax,
        max_ell=config["max_ell"],
        correlation=config["correlation"],
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
        dtype=str(model_dtype(model)).removeprefix("torch."),
        content_hash=_content_hash(model),
    )


def to_graph(
    atoms: Atoms, model: torch.nn.Module, *, head: str | None = None, name: str = "the model"
) -> dict[str, torch.Tensor]:
    """What `model` takes: `atoms` with mace-torch's own neighbour list, in the model's dtype, on its device.

    `head` is needed only where the model has several, none of them `default`; `name` is for messages.

    Raises:
        StructureError: The model cannot take these atoms.
        ModelError: The model has several heads and `head` names none of them.
    """
    part: Any = model
    numbers = [int(z) for z in part.atomic_numbers]
    check_geometry(atoms)
    check_elements(atoms, numbers, model=name)
    heads = heads_of(model)
    with default_dtype(model_dtype(model)):
        graph = mace_data.AtomicData.from_config(
            mace_data.config_from_atoms(atoms, head_name=heads[head_number(model, head)]),
            z_table=mace_tools.AtomicNumberTable(numbers),
            cutoff=float(part.r_max),
            heads=heads,
        )
        batch = mace_tools.torch_geometric.batch.Batch.from_data_list([graph])
    return {
        name: value.to(part.r_max.device)
        for name, value in batch.to_dict().items()
        if isinstance(value, torch.Tensor)
    }


def heads_of(model: torch.nn.Module) -> list[str]:
    """Names of the model's heads: data of different levels of theory that it was trained on."""
    return list(getattr(model, "heads", ["Default"]))


def head_number(model: torch.nn.Module, name: str | None) -> int:
    """Which head `name` is; without a name the only one, or the one called `default`.

    Raises:
        ModelError: The model has several heads and `name` is none of them.
    """
    heads = heads_of(model)
    if name is None and len(heads) == 1:
        return 0
    wanted = "default" if name is None else name.lower()
    found = [number for number, head in enumerate(heads) if head.lower() == wanted]
    if not found:
        raise ModelError(f"The model has no head named {wanted}; choose one of: {', '.join(heads)}.")
    return found[0]


class ReferenceEvaluator:
    """A model evaluated by mace-torch as it is, in the model's own dtype: an `Evaluator`."""

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        device: str = "cpu",
        head: str | None = None,
        name: str = "the model",
    ) -> None:
        """Move `model` to `device`; `head` and `name` are those of `to_graph`.

        A Chebyshev basis is made differentiable first: mace-torch's is not, and its forces are then not
        the slope of its energy, which nothing can be measured against.
        """
        for module in model.modules():
            if DifferentiableChebyshev.covers(module):
                DifferentiableChebyshev.adopt(module)
                log.warning("The forces of %s would lack the derivative of its Chebyshev basis: added.", name)
        self.model = model.to(torch_device(device))
        self.head = head
        self.name = name

    def evaluate(self, atoms: Atoms, *, stress: bool = False) -> Prediction:
        """Energy, forces, node energies and, for a structure periodic in all directions, stress.

        Raises:
            StructureError: The model cannot take these atoms (an unknown element, NaN positions).
            ModelError: The model has several heads and none was chosen.
        """
        stress = stress and bool(atoms.pbc.all())
        graph = to_graph(atoms, self.model, head=self.head, name=self.name)
        # mace-torch's ZBL turns atomic numbers into floats, which have the default precision.
        with default_dtype(model_dtype(self.model)):
            output = self.model(graph, compute_stress=stress)
        return Prediction(
            energy_ev=float(output["energy"].detach()),
            forces=_fp64(output["forces"]),
            stress=_fp64(output["stress"])[0] if stress else None,
            node_energies=_fp64(output["node_energy"]),
        )


def _content_hash(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    state = model.state_dict()
    fitted = {name for name, _ in model.named_parameters()}
    fitted |= {name for name in state if name.startswith(("atomic_energies_fn.", "scale_shift."))}
    for name in sorted(fitted):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().to(torch.float32).numpy().tobytes())
    return digest.hexdigest()


def _fp64(tensor: torch.Tensor) -> NDArray[np.float64]:
    return tensor.detach().cpu().to(torch.float64).numpy()
