"""The mace-torch model as the definition of correct: loaded, described, and evaluated as it is."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
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
    "batch_graph",
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
    return batch_graph([atoms], model, head=head, name=name)


def batch_graph(
    structures: Sequence[Atoms], model: torch.nn.Module, *, head: str | None = None, name: str = "the model"
) -> dict[str, torch.Tensor]:
    """The same for several structures in one graph, with no edge between two of them.

    Raises:
        StructureError: The model cannot take one of them.
        ModelError: As `to_graph`.
    """
    part: Any = model
    numbers = [int(z) for z in part.atomic_numbers]
    for atoms in structures:
        check_geometry(atoms)
        check_elements(atoms, numbers, model=name)
    heads = heads_of(model)
    head_name = heads[head_number(model, head)]
    with default_dtype(model_dtype(model)):
        graphs = [
            mace_data.AtomicData.from_config(
                mace_data.config_from_atoms(atoms, head_name=head_name),
                z_table=mace_tools.AtomicNumberTable(numbers),
                cutoff=float(part.r_max),
                heads=heads,
            )
            for atoms in structures
        ]
        batch = mace_tools.torch_geometric.batch.Batch.from_data_list(graphs)
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
        return self.evaluate_batch([atoms], stress=stress)[0]

    def evaluate_batch(self, structures: Sequence[Atoms], *, stress: bool = False) -> list[Prediction]:
        """The same for several structures in one pass through the model.

        Raises:
            StructureError: The model cannot take one of them.
            ModelError: The model has several heads and none was chosen.
        """
        periodic = [stress and bool(atoms.pbc.all()) for atoms in structures]
        graph = batch_graph(structures, self.model, head=self.head, name=self.name)
        # mace-torch's ZBL turns atomic numbers into floats, which have the default precision.
        with default_dtype(model_dtype(self.model)):
            output = self.model(graph, compute_stress=any(periodic))
        energies, forces, by_atom = (_fp64(output[name]) for name in ("energy", "forces", "node_energy"))
        stresses = _fp64(output["stress"]) if any(periodic) else None
        predictions, start = [], 0
        for number, atoms in enumerate(structures):
            own = slice(start, start + len(atoms))
            start += len(atoms)
            predictions.append(
                Prediction(
                    energy_ev=float(energies[number]),
                    forces=forces[own],
                    stress=stresses[number] if stresses is not None and periodic[number] else None,
                    node_energies=by_atom[own],
                )
            )
        return predictions


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
