"""Profile: where the time of one evaluation goes, and what tensors every step of the model works on.

A step is a module that mace-torch calls: an interaction, its tensor product, one linear in it. Steps nest;
`self` time is that of a step without the steps inside it, so self times add up to the whole.

*Forward.* A hook before and one after each step takes the time.

*Backward.* Autograd runs its nodes in the reverse of the order in which they were made, always taking
the newest that is ready. Before a step all its differentiable inputs pass through one node that does
nothing, after it all its outputs pass through another. What runs between those two nodes on the way back
is therefore the backward pass of that step and of nothing else. A step through which no gradient goes to
the positions (an embedding of elements) has no backward time.

The nodes and hooks take time of their own, 10 to 20 µs each, and fall into the self time of the enclosing
step. The same evaluation is timed without them too, in turn, and the difference is reported.
Kernels are those of inference: gradients of the weights are not computed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from ase import Atoms
from torch import Tensor, nn

from accel.bench import LEAST_WARM_UPS, MOST_WARM_UPS, settled
from accel.errors import ModelError, ParityError, PlanError
from accel.reference import to_graph
from accel.spans import Layouts, Spent, TensorLayout, named_steps, observed

ROOT = "model"
"""The step that is the whole model; its self time is what mace-torch does outside of any module."""
_SAME_FORCES = 1e-5
"""Relative to the largest force: hooks add no arithmetic, so only the order of sums may differ."""


@dataclass(frozen=True, slots=True)
class Step:
    """One module of the model, as it was called."""

    path: str
    """As in the model's state dict: `interactions.0.conv_tp`."""
    kind: str
    """The module's class."""
    depth: int
    """How many steps are around it."""
    irreps: str
    """What representations go in and come out; empty where the module does not say."""
    n_parameters: int
    calls: int
    """In one evaluation."""
    forward_ms: float
    forward_self_ms: float
    backward_ms: float | None
    """None where no gradient goes through it."""
    backward_self_ms: float | None
    inputs: tuple[TensorLayout, ...]
    """Of its first call."""
    outputs: tuple[TensorLayout, ...]
    gradients_in: tuple[TensorLayout, ...]
    """What its backward pass begins with: gradients of its outputs."""
    gradients_out: tuple[TensorLayout, ...]
    """What its backward pass hands on: gradients of its inputs."""


@dataclass(frozen=True, slots=True)
class ProfileResult:
    """All steps of one model on one structure; times are medians over the repeats."""

    n_atoms: int
    n_edges: int
    dtype: str
    device: str
    repeats: int
    steps: tuple[Step, ...]
    """In the order in which they are called first."""
    graph_ms: float
    """Neighbour list and graph, before the model."""
    forward_ms: float
    backward_ms: float
    """Of the evaluation that was observed, hooks included."""
    plain_forward_ms: float
    plain_backward_ms: float
    """Of the same evaluation without hooks."""
    unaccounted: float
    """The part of the observed time that is in no step, not even in the model as a whole."""

    @property
    def overhead(self) -> float:
        """What observing added, as a part of the plain time."""
        return (self.forward_ms + self.backward_ms) / (self.plain_forward_ms + self.plain_backward_ms) - 1


Advance: TypeAlias = Callable[[int, int], object]


def profile_model(
    model: nn.Module, atoms: Atoms, *, repeats: int = 10, advance: Advance = lambda done, total: None
) -> ProfileResult:
    """Time of every step of `model` for energy and forces of `atoms`, in the model's dtype on its device.

    Args:
        model: Any mace-torch model that is made of Python modules.
        atoms: What is evaluated.
        repeats: Evaluations of which the median is taken; as many are made without hooks.
        advance: Called after each of them with how many are done and how many there will be.

    Raises:
        ModelError: The model is TorchScript as a whole, which has no modules to observe.
        StructureError: The model cannot take these atoms.
        ParityError: Observing changed the forces.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError(
            "The model is TorchScript, whose steps cannot be seen: profile the .model that it was made of."
        )
    if repeats < 1:
        raise PlanError(f"A profile needs at least one evaluation, not {repeats}.")
    graph_ms = []
    for _ in range(LEAST_WARM_UPS):
        began = time.perf_counter()
        graph = to_graph(atoms, model)
        graph_ms.append((time.perf_counter() - began) * 1e3)
    on_gpu = graph["positions"].is_cuda
    with observed(model, on_gpu=on_gpu, layouts=True) as spans:
        watched = _evaluate(model, graph)
    _check_forces(watched.forces, _evaluate(model, graph).forces)
    layouts = spans.layouts
    _warm_up(model, graph)
    plain_runs, watched_runs, spent = [], [], []
    for index in range(repeats):
        plain_runs.append(_evaluate(model, graph))
        with observed(model, on_gpu=on_gpu) as spans:
            watched_runs.append(_evaluate(model, graph))
        spent.append(spans.spent())
        advance(index + 1, repeats)
    return ProfileResult(
        n_atoms=len(atoms),
        n_edges=int(graph["edge_index"].shape[1]),
        dtype=str(graph["positions"].dtype).removeprefix("torch."),
        device=str(graph["positions"].device),
        repeats=repeats,
        unaccounted=statistics.median(map(_unaccounted, watched_runs, spent)),
        steps=tuple(_steps(model, spent, layouts)),
        graph_ms=statistics.median(graph_ms),
        forward_ms=statistics.median(run.forward_ms for run in watched_runs),
        backward_ms=statistics.median(run.backward_ms for run in watched_runs),
        plain_forward_ms=statistics.median(run.forward_ms for run in plain_runs),
        plain_backward_ms=statistics.median(run.backward_ms for run in plain_runs),
    )


def _steps(
    model: nn.Module, runs: Sequence[tuple[dict[str, Spent], dict[str, Spent]]], layouts: dict[str, Layouts]
) -> list[Step]:
    """What was spent in each step, as medians over the runs."""
    modules = dict(named_steps(model))
    forward_runs, backward_runs = [run[0] for run in runs], [run[1] for run in runs]
    steps = []
    for path, first in forward_runs[0].items():
        module, differentiable = modules[path], path in backward_runs[0]
        above = {path.rsplit(".", n)[0] for n in range(1, path.count(".") + 1)} & set(forward_runs[0])
        steps.append(
            Step(
                path=path or ROOT,
                kind=type(module).__name__,
                depth=len(above) + (1 if path else 0),
                irreps=_irreps(module),
                n_parameters=sum(parameter.numel() for parameter in module.parameters()),
                calls=first.calls,
                forward_ms=statistics.median(run[path].total for run in forward_runs),
                forward_self_ms=statistics.median(run[path].own for run in forward_runs),
                backward_ms=statistics.median(run[path].total for run in backward_runs)
                if differentiable
                else None,
                backward_self_ms=statistics.median(run[path].own for run in backward_runs)
                if differentiable
                else None,
                inputs=layouts[path].inputs,
                outputs=layouts[path].outputs,
                gradients_in=layouts[path].gradients_in,
                gradients_out=layouts[path].gradients_out,
            )
        )
    return steps


def _unaccounted(run: _Evaluation, spent: tuple[dict[str, Spent], dict[str, Spent]]) -> float:
    found = sum(step.own for direction in spent for step in direction.values())
    return 1 - found / (run.forward_ms + run.backward_ms)


def _irreps(module: nn.Module) -> str:
    """What a module says of the representations that it takes and gives."""
    taken = [
        str(getattr(module, name))
        for name in ("irreps_in", "irreps_in1", "irreps_in2")
        if hasattr(module, name)
    ]
    given = str(getattr(module, "irreps_out", ""))
    return f"{' ⊗ '.join(taken)} → {given}" if taken and given else ""


@dataclass(frozen=True, slots=True)
class _Evaluation:
    forces: Tensor
    forward_ms: float
    backward_ms: float


def _evaluate(model: nn.Module, graph: dict[str, Tensor]) -> _Evaluation:
    """Energy and forces in two steps, as mace-torch does them in one."""
    synchronise: Callable[[], object] = torch.cuda.synchronize if graph["positions"].is_cuda else lambda: None
    graph = dict(graph)
    positions = graph["positions"] = graph["positions"].detach().requires_grad_(True)
    synchronise()
    began = time.perf_counter()
    energy = model(graph, compute_force=False)["energy"]
    synchronise()
    between = time.perf_counter()
    (gradient,) = torch.autograd.grad(energy.sum(), positions)
    synchronise()
    ended = time.perf_counter()
    return _Evaluation(-gradient, (between - began) * 1e3, (ended - between) * 1e3)


def _warm_up(model: nn.Module, graph: dict[str, Tensor]) -> None:
    times: list[float] = []
    while not settled(times) and len(times) < MOST_WARM_UPS:
        evaluation = _evaluate(model, graph)
        times.append(evaluation.forward_ms + evaluation.backward_ms)


def _check_forces(observed: Tensor, plain: Tensor) -> None:
    difference, scale = float((observed - plain).abs().max()), float(plain.abs().max())
    if not difference <= _SAME_FORCES * max(scale, 1.0):
        raise ParityError(
            f"Observing the model changed its forces by {difference:.3g} eV/Å: the profile means nothing."
        )
