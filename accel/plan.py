"""Plan: one way of computing a model, small enough to be a file that others take over.

A plan says which technique computes the model, in which precision, with which options, and by how
much its answer may differ from mace-torch in fp64. The last is part of it on purpose: a technique
without a tolerance cannot pass a gate, and nothing is timed that has not passed (`accel.bench`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from accel.errors import PlanError

if TYPE_CHECKING:
    from torch import nn

    from accel.accuracy import ErrorStats
    from accel.prediction import Evaluator

PLAN_VERSION = 1
DTYPES = ("float64", "float32")

Option: TypeAlias = bool | int | float | str
_NO_OPTIONS: Mapping[str, Option] = MappingProxyType({})
_NOWHERE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ErrorBudget:
    """How far an answer may be from mace-torch in fp64."""

    energy_mev_per_atom: float
    """Root mean square over structures."""
    force_rmse_mev_per_a: float
    """Root mean square over components."""
    force_max_mev_per_a: float
    """The largest component."""
    stress_rmse_mev_per_a3: float
    """Root mean square over components; only where stress is computed."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if type(value) not in (int, float) or not (0 < value < math.inf):
                raise PlanError(f"An error budget's {item.name} should be a number over 0, not {value!r}.")

    def exceeded_by(self, error: ErrorStats) -> str:
        """What is over the budget, as text; empty where nothing is. NaN is over every budget."""
        over = []
        for name, (words, unit) in _WORDS.items():
            found, limit = getattr(error, name), getattr(self, name)
            if found is not None and not found <= limit:
                over.append(f"{words} {found:.3g} {unit}, allowed {limit:g}")
        return "; ".join(over)


_WORDS = {
    "energy_mev_per_atom": ("energy error", "meV/atom"),
    "force_rmse_mev_per_a": ("force error (rms)", "meV/Å"),
    "force_max_mev_per_a": ("force error (largest)", "meV/Å"),
    "stress_rmse_mev_per_a3": ("stress error (rms)", "meV/Å³"),
}
ROUNDING_FP64 = ErrorBudget(1e-5, 1e-5, 1e-4, 1e-5)
"""Another order of the same sums leaves about 1e-9: what is over this is another function."""
ROUNDING_FP32 = ErrorBudget(0.1, 0.1, 1.0, 0.05)
"""Far below any model's own error; trained models show 0.002 to 0.01 meV/Å."""
MIXED_FP32 = ErrorBudget(0.005, 0.02, 0.2, 0.02)
"""For single precision with geometry, energies and forces summed in double."""
LOW_PRECISION = ErrorBudget(10.0, 100.0, 1000.0, 100.0)
"""For what has fewer than the 24 bits of fp32: wide, so that the error is measured and shown."""
USUAL_BUDGET = ErrorBudget(0.01, 0.1, 1.0, 0.1)
"""What a user may lose where none is named: a hundredth of what good models are wrong by themselves."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One way of computing a model."""

    name: str
    technique: str = "mace"
    """`mace`: mace-torch as it is; `compile`: torch.compile, on a GPU with CUDA graphs where asked for;
    `swap`: mace-torch with rewritten operations (`accel.swap`); `blocks`: chosen blocks in a precision of
    their own (`accel.precision`); `cueq`, `oeq`: cuEquivariance and OpenEquivariance (`accel.vendors`);
    `evaluator`: compiled kernels without autograd (`accel.evaluator`); `auto`: whichever of these is fastest
    here inside the tolerance (`accel.auto`)."""
    dtype: str = "float64"
    options: Mapping[str, Option] = field(default_factory=lambda: _NO_OPTIONS)
    """The technique's own, by name."""
    tolerance: ErrorBudget = ROUNDING_FP64
    tuned_on: Mapping[str, str] = field(default_factory=lambda: _NOWHERE)
    """Where it was found to be the fastest: model, device, threads, systems, versions; else empty."""

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable():
            raise PlanError(f"A plan needs a printable name, not {self.name!r}.")
        if self.dtype not in DTYPES:
            raise PlanError(
                f"Plan {self.name} asks for dtype {self.dtype!r}; there are: {', '.join(DTYPES)}."
            )

    def to_json(self) -> str:
        """This plan as indented JSON, one key a line."""
        record = {item.name: getattr(self, item.name) for item in fields(self)}
        record |= {"options": dict(self.options), "tolerance": asdict(self.tolerance)}
        record |= {"tuned_on": dict(self.tuned_on)}
        return json.dumps({"v": PLAN_VERSION, **record}, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """The plan in `text`.

        Raises:
            PlanError: It is no JSON, of a newer version, or a key or value is wrong.
        """
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PlanError(f"The plan is not valid JSON: {error}.") from error
        if not isinstance(record, dict):
            raise PlanError('The plan is not a JSON object: it should look like {"v": 1, "name": …}.')
        version = record.pop("v", PLAN_VERSION)
        if type(version) is not int or not 1 <= version <= PLAN_VERSION:
            raise PlanError(
                f"The plan is of version {version!r} and this program knows {PLAN_VERSION}: "
                "update mace-workbench, or write the plan anew."
            )
        _check_keys(record, cls, "")
        if "tolerance" in record:
            if not isinstance(record["tolerance"], dict):
                raise PlanError("The plan's tolerance should be a JSON object.")
            _check_keys(record["tolerance"], ErrorBudget, "tolerance.")
            record["tolerance"] = ErrorBudget(**record["tolerance"])
        options = record.get("options", {})
        if not isinstance(options, dict) or not all(isinstance(v, Option) for v in options.values()):
            raise PlanError("The plan's options should be a JSON object of plain values.")
        tuned_on = record.get("tuned_on", {})
        if not isinstance(tuned_on, dict) or not all(isinstance(value, str) for value in tuned_on.values()):
            raise PlanError("The plan's tuned_on should be a JSON object of texts.")
        for name in ("name", "technique", "dtype"):
            if name in record and not isinstance(record[name], str):
                raise PlanError(f"The plan's {name} should be text, not {record[name]!r}.")
        return cls(**record)


BLOCKS = ("radial", "convolution", "linears", "contraction", "readouts")
"""What `blocks` can give a precision of its own (`accel.precision`)."""


def _all_blocks(precision: str) -> Mapping[str, Option]:
    return MappingProxyType(dict.fromkeys(BLOCKS, precision))


_CUDA_GRAPHS: Mapping[str, Option] = MappingProxyType({"cuda_graphs": True})

PLANS: Mapping[str, Plan] = MappingProxyType(
    {
        plan.name: plan
        for plan in (
            Plan("reference"),
            Plan("reference-fp32", dtype="float32", tolerance=ROUNDING_FP32),
            Plan("compile", technique="compile"),
            Plan("compile-fp32", technique="compile", dtype="float32", tolerance=ROUNDING_FP32),
            Plan("swap", technique="swap"),
            Plan("swap-fp32", technique="swap", dtype="float32", tolerance=ROUNDING_FP32),
            Plan("blocks-fp32", "blocks", options=_all_blocks("float32"), tolerance=ROUNDING_FP32),
            Plan("blocks-tf32", "blocks", "float32", _all_blocks("tf32"), LOW_PRECISION),
            Plan("blocks-bf16", "blocks", "float32", _all_blocks("bfloat16"), LOW_PRECISION),
            Plan("graphs-fp32", "compile", "float32", _CUDA_GRAPHS, ROUNDING_FP32),
            Plan("cueq", technique="cueq"),
            Plan("cueq-fp32", technique="cueq", dtype="float32", tolerance=ROUNDING_FP32),
            Plan("oeq", technique="oeq"),
            Plan("oeq-fp32", technique="oeq", dtype="float32", tolerance=ROUNDING_FP32),
            Plan("exact", technique="evaluator"),
            Plan("fast", technique="evaluator", dtype="float32", tolerance=MIXED_FP32),
            Plan("auto", technique="auto", tolerance=USUAL_BUDGET),
        )
    }
)
REFERENCE = PLANS["reference"]
"""The definition of correct: mace-torch in fp64."""


def named_plan(name: str) -> Plan:
    """The plan of that name.

    Raises:
        PlanError: There is none.
    """
    try:
        return PLANS[name]
    except KeyError:
        raise PlanError(
            f"There is no plan {name!r}; there are: {', '.join(PLANS)}, or a plan's own file (NAME.json)."
        ) from None


def find_plan(name_or_path: str) -> Plan:
    """The plan of that name, or the one in the file `….json`.

    Raises:
        PlanError: There is neither, or the file holds no plan.
    """
    if not name_or_path.endswith(".json"):
        return named_plan(name_or_path)
    try:
        text = Path(name_or_path).read_bytes()
    except OSError as error:
        raise PlanError(f"The plan {name_or_path} cannot be read: {error.strerror}.") from error
    try:
        return Plan.from_json(text)
    except PlanError as error:
        raise PlanError(f"{name_or_path}: {error}") from error


def find_plans(names: Sequence[str]) -> list[Plan]:
    """The plans of those names or files, in order; `all` stands for every plan that is not `auto`.

    Raises:
        PlanError: As `find_plan`.
    """
    every = [plan for plan in PLANS.values() if plan.technique != "auto"]
    found = [plan for name in names for plan in (every if name == "all" else [find_plan(name)])]
    return list({plan.name: plan for plan in found}.values()) if "all" in names else found


def resolve_plan(model: nn.Module, plan: Plan, device: str = "cpu") -> Plan:
    """The plan that `auto` stands for with this model here; any other as it is.

    Where `auto` was never tuned for, that is done now (`accel.auto`).

    Raises:
        AccelError: Nothing can be tuned for this model.
    """
    if plan.technique != "auto":
        return plan
    from accel.auto import tuned_plan
    from accel.techniques import check_options

    check_options(plan, {})
    return tuned_plan(model, plan.tolerance, device)


def build_evaluator(
    model: nn.Module, plan: Plan, device: str = "cpu", *, head: str | None = None
) -> Evaluator:
    """The plan applied to the model. The model itself is not changed.

    Args:
        model: A mace-torch model in fp64.
        plan: What to apply.
        device: Where to compute, in torch's words: `cpu`, `cuda`, `cuda:1`.
        head: Which of several heads; by default the only one, or the one named `default`.

    Raises:
        PlanError: The plan's technique is unknown, or cannot be applied to this model.
        ModelError: The model has no such head.
        MissingBackend: A library or a device that it needs is not here.
    """
    from accel.techniques import build

    return build(model, plan, device, head)


def _check_keys(record: Mapping[str, Any], kind: type[Plan] | type[ErrorBudget], prefix: str) -> None:
    names = [item.name for item in fields(kind)]
    for key in record:
        if key not in names:
            raise PlanError(f"The plan has no key {prefix}{key}; there are: {', '.join(names)}.")
    required = names if kind is ErrorBudget else ["name"]
    missing = [name for name in required if name not in record]
    if missing:
        raise PlanError(f"The plan lacks {', '.join(prefix + name for name in missing)}.")
