"""An ASE calculator over any plan, so that a plan can be used wherever ASE is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from accel.plan import Plan, build_evaluator, find_plan, resolve_plan
from accel.reference import load_model

if TYPE_CHECKING:
    from torch import nn


class Calculator(AseCalculator):
    """Energy, forces, stress and node energies of a model, computed by a plan.

    atoms.calc = accel.Calculator("h2co-small")
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012, ASE's type

    def __init__(
        self,
        model: nn.Module | str,
        plan: Plan | str = "reference",
        *,
        device: str = "cpu",
        head: str | None = None,
        allow_pickle: bool = False,
        stress: bool = False,
    ) -> None:
        """Apply the plan to the model.

        Args:
            model: A mace-torch model in fp64, or a name or path that `accel.reference.load_model` takes.
            plan: A plan, its name, or its file; `auto` for the fastest (`accel.auto`).
            device: Where to compute.
            head: Which of several heads; by default the only one, or the one named `default`.
            allow_pickle: Whether `model` may be a pickle, which can run any code when it is opened.
            stress: Compute stress at every call, whether it is asked for or not: who asks for forces first
                and then for stress of the same atoms would have them computed twice.

        Raises:
            AccelError: The model cannot be loaded, or the plan cannot be applied to it.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        if isinstance(model, str):
            model = load_model(model, allow_pickle=allow_pickle)
        self.plan = resolve_plan(model, find_plan(plan) if isinstance(plan, str) else plan, device)
        self.evaluator = build_evaluator(model, self.plan, device, head=head)
        self._stress = stress

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute what is asked for, and what comes with it.

        Raises:
            StructureError: The model cannot take these atoms.
            PropertyNotImplementedError: Stress was asked of a structure that is not periodic.
        """
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        taken = self.atoms
        assert isinstance(taken, Atoms)  # set by the line above
        found = self.evaluator.evaluate(taken, stress=self._stress or "stress" in properties)
        results: dict[str, Any] = {
            "energy": found.energy_ev,
            "free_energy": found.energy_ev,
            "forces": found.forces,
        }
        if found.node_energies is not None:
            results["energies"] = found.node_energies
        if found.stress is not None:
            results["stress"] = full_3x3_to_voigt_6_stress(found.stress)
        for name in properties:
            if name not in results:
                raise PropertyNotImplementedError(
                    f"The plan {self.plan.name} gives no {name} for {taken.symbols}."
                )
        self.results = results
