"""How a plan is put on a model: one builder for each technique, its libraries imported when it is asked for.

Apart from `accel.plan`, which must be cheap to import: there a plan is described, here it is done.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import torch

from accel.errors import MissingBackend, PlanError
from accel.plan import BLOCKS, Plan, build_evaluator, resolve_plan

if TYPE_CHECKING:
    from torch import nn

    from accel.prediction import Evaluator


def build(model: nn.Module, plan: Plan, device: str, head: str | None) -> Evaluator:
    """What `accel.plan.build_evaluator` does.

    Raises:
        AccelError: As there.
    """
    builder = _BUILDERS.get(plan.technique)
    if builder is None:
        raise PlanError(
            f"Plan {plan.name} asks for the technique {plan.technique!r}; there are: {', '.join(_BUILDERS)}."
        )
    return builder(model, plan, device, head)


def _build_mace(model: nn.Module, plan: Plan, device: str, head: str | None) -> Evaluator:
    from accel.reference import ReferenceEvaluator

    check_options(plan, {})
    return ReferenceEvaluator(_copied(model, plan), device=device, head=head)


def _build_swap(model: nn.Module, plan: Plan, device: str, head: str | None) -> Evaluator:
    from accel.reference import ReferenceEvaluator
    from accel.swap import accelerate

    check_options(plan, {})
    swapped = _copied(model, plan)
    accelerate(swapped)
    return ReferenceEvaluator(swapped, device=device, head=head)


def _build_evaluator(model: nn.Module, plan: Plan, device: str, head: str | None) -> Evaluator:
    try:
        from accel.evaluator import CompiledEvaluator
    except ImportError as error:
        raise MissingBackend(
            f"Plan {plan.name} needs {error.name}, which is not installed: pip install mace-workbench[accel]."
        ) from error
    check_options(plan, {"threads": int, "radial_error": float})
    if device != "cpu":
        raise PlanError(f"Plan {plan.name} runs on the CPU only, not on {device}: use plan swap there.")
    dtype: Literal["float64", "float32"] = "float32" if plan.dtype == "float32" else "float64"
    options: Mapping[str, Any] = {"threads": torch.get_num_threads(), **plan.options}
    return CompiledEvaluator(model, dtype=dtype, head=head, **options)


def _build_auto(model: nn.Module, plan: Plan, device: str, head: str | None) -> Evaluator:
    return build_evaluator(model, resolve_plan(model, plan, device), device, head=head)


def _copied(model: nn.Module, plan: Plan) -> nn.Module:
    """A copy in the plan's precision: the caller's model stays as and where it was handed over."""
    return copy.deepcopy(model).to(getattr(torch, plan.dtype))


def _build_compile(model: nn.Module, plan: Plan, device: str, head: str | None) -> Evaluator:
    from accel.vendors.torch_compile import compiled_evaluator

    check_options(plan, {"backend": str, "many_threads": bool, "cuda_graphs": bool})
    options: Mapping[str, Any] = plan.options
    return compiled_evaluator(model, dtype=plan.dtype, device=device, head=head, **options)


def _build_cueq(model: nn.Module, plan: Plan, device: str, head: str | None) -> Evaluator:
    from accel.vendors.converters import cuequivariance_evaluator

    check_options(plan, {})
    return cuequivariance_evaluator(model, dtype=plan.dtype, device=device, head=head)


def _build_oeq(model: nn.Module, plan: Plan, device: str, head: str | None) -> Evaluator:
    from accel.vendors.converters import openequivariance_evaluator

    check_options(plan, {})
    return openequivariance_evaluator(model, dtype=plan.dtype, device=device, head=head)


def _build_blocks(model: nn.Module, plan: Plan, device: str, head: str | None) -> Evaluator:
    from accel.model_files import torch_device
    from accel.precision import lower_blocks
    from accel.reference import ReferenceEvaluator
    from accel.swap import accelerate

    check_options(plan, {**dict.fromkeys(BLOCKS, str), "layers": str, "swap": bool})
    lowered = _copied(model, plan).to(torch_device(device))
    if plan.options.get("swap", False):
        accelerate(lowered)
    precisions = {name: str(value) for name, value in plan.options.items() if name in BLOCKS}
    lower_blocks(lowered, precisions, layers=_layers(plan))
    return ReferenceEvaluator(lowered, device=device, head=head)


def _layers(plan: Plan) -> list[int]:
    text = str(plan.options.get("layers", ""))
    try:
        return [int(part) for part in text.split(",") if part]
    except ValueError:
        raise PlanError(
            f'Plan {plan.name}: the layers should be numbers from 0, such as "0,1", not {text!r}.'
        ) from None


def check_options(plan: Plan, known: Mapping[str, type]) -> None:
    """Refuse options that the technique does not have: most likely a typing mistake.

    Raises:
        PlanError: There is one.
    """
    for name, value in plan.options.items():
        if name not in known:
            there_are = f"there are: {', '.join(known)}" if known else "it has none"
            raise PlanError(
                f"Plan {plan.name}: the technique {plan.technique} has no option {name}; {there_are}."
            )
        if type(value) is not known[name]:
            wanted = known[name].__name__
            raise PlanError(f"Plan {plan.name}: the option {name} should be of type {wanted}, not {value!r}.")


_BUILDERS: Mapping[str, Callable[[nn.Module, Plan, str, str | None], Evaluator]] = MappingProxyType(
    {
        "mace": _build_mace,
        "compile": _build_compile,
        "swap": _build_swap,
        "blocks": _build_blocks,
        "cueq": _build_cueq,
        "oeq": _build_oeq,
        "evaluator": _build_evaluator,
        "auto": _build_auto,
    }
)
