"""Any plan as a model of TorchSim, which moves many systems at once.

TorchSim hands over one batch of systems; it is evaluated as one (`accel.batch`), so that small systems
share what an evaluation costs. Plans that compute on the CPU take the batch there and hand their answer
back on the device and in the precision of the state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from accel.batch import BatchEvaluator
from accel.calculator import Calculator
from accel.errors import MissingBackend, PlanError, StructureError

try:
    from torch_sim.io import state_to_atoms
    from torch_sim.models.interface import ModelInterface
    from torch_sim.state import SimState
except ImportError as error:
    raise MissingBackend(
        f"TorchSim cannot be imported here ({error}): pip install mace-workbench[torchsim]."
    ) from error

if TYPE_CHECKING:
    from torch import nn

    from accel.plan import Plan

_DTYPES = (torch.float64, torch.float32)


class TorchSimModel(ModelInterface):  # type: ignore[misc]
    """A MACE model computed by a plan, for TorchSim's integrators, optimisers and runners.

    model = accel.TorchSimModel("h2co-small", "exact")

    Args:
        model: A mace-torch model in fp64, or a name or path that `accel.reference.load_model` takes.
        plan: A plan, its name, or its file.
        device: Where the plan computes, and where states are.
        dtype: Of states and answers; how exactly is computed is the plan's affair.
        compute_forces: Whether forces are handed over; they come with the energy in any case.
        compute_stress: Whether stress is computed. It needs states that are periodic, and compiled kernels
            take systems one after the other for it.
        head: Which of several heads; by default the only one, or the one named `default`.
        allow_pickle: Whether `model` may be a pickle, which can run any code when it is opened.

    Raises:
        AccelError: The model cannot be loaded, or the plan cannot be applied to it.
    """

    def __init__(
        self,
        model: nn.Module | str,
        plan: Plan | str = "reference",
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float64,
        compute_forces: bool = True,
        compute_stress: bool = False,
        head: str | None = None,
        allow_pickle: bool = False,
    ) -> None:
        super().__init__()
        if dtype not in _DTYPES:
            raise PlanError(
                f"A state of TorchSim cannot be in {dtype} here: take torch.float64 or torch.float32."
            )
        calculator = Calculator(model, plan, device=device, head=head, allow_pickle=allow_pickle)
        self.plan = calculator.plan
        self._batch = BatchEvaluator(calculator.evaluator)
        self._device = torch.device(device)
        self._dtype = dtype
        self._compute_forces = compute_forces
        self._compute_stress = compute_stress

    def forward(self, state: SimState | dict[str, Any], **_: Any) -> dict[str, torch.Tensor]:
        """Energies [n_systems], eV; forces [n_atoms, 3], eV/Å; stresses [n_systems, 3, 3], eV/Å³.

        Raises:
            StructureError: The model cannot take a system, or stress is wanted of one that is not periodic.
        """
        if isinstance(state, dict):
            state = SimState(**state, masses=torch.ones_like(state["positions"][:, 0]))
        if self._compute_stress and not state.pbc:
            raise StructureError(
                "Systems that are not periodic have no stress: make the model with compute_stress=False."
            )
        found = self._batch.evaluate(state_to_atoms(state), stress=self._compute_stress)
        like = {"dtype": self._dtype, "device": state.positions.device}
        results = {"energy": torch.tensor([one.energy_ev for one in found], **like)}
        if self._compute_forces:
            results["forces"] = torch.cat([torch.as_tensor(one.forces, **like) for one in found])
        if self._compute_stress:
            results["stress"] = torch.stack([torch.as_tensor(one.stress, **like) for one in found])
        return results
