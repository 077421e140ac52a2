"""Spans: when each module of a model begins and ends, on the way forward and on the way back.

How the way back is observed is described in `accel.profile`; here are the hooks and the nodes for it.
"""

from __future__ import annotations

import inspect
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from accel.errors import PlanError

_OPAQUE = (torch.jit.ScriptModule, torch.fx.GraphModule)
"""Generated code: its parts have no meaning of their own, so they are no steps."""
_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
"""Never called themselves."""


@dataclass(frozen=True, slots=True)
class TensorLayout:
    """One tensor that goes into or comes out of a step."""

    name: str
    """The argument's name, for outputs their place in the result; a gradient has that of its tensor."""
    shape: tuple[int, ...]
    dtype: str
    strides: tuple[int, ...]
    """In elements."""
    contiguous: bool
    device: str


@dataclass
class Spent:
    """Time in one step during one evaluation, in ms."""

    calls: int = 0
    total: float = 0.0
    own: float = 0.0
    """Without the steps inside it."""


@dataclass
class Layouts:
    """The tensors of a step's first call."""

    inputs: tuple[TensorLayout, ...] = ()
    outputs: tuple[TensorLayout, ...] = ()
    gradients_in: tuple[TensorLayout, ...] = ()
    """What its backward pass begins with: gradients of its outputs."""
    gradients_out: tuple[TensorLayout, ...] = ()
    """What its backward pass hands on: gradients of its inputs."""


_Mark: TypeAlias = tuple[str, bool, Any]
"""Which step, whether it begins, and when."""
_Reached: TypeAlias = Callable[[Sequence[Tensor | None]], None]
"""Called with the gradients that have come back."""


@dataclass
class Spans:
    """What was observed during one evaluation."""

    forward: list[_Mark] = field(default_factory=list)
    backward: list[_Mark] = field(default_factory=list)
    layouts: dict[str, Layouts] = field(default_factory=dict)
    on_gpu: bool = False

    def spent(self) -> tuple[dict[str, Spent], dict[str, Spent]]:
        """Time by step, forward and backward, in the order in which steps began."""
        if self.on_gpu:
            torch.cuda.synchronize()
        return _fold(self.forward), _fold(self.backward)

    def mark(self, marks: list[_Mark], path: str, begins: bool) -> None:
        """Note that a step begins or ends now; on a GPU, when its queue gets here."""
        if self.on_gpu:
            event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            marks.append((path, begins, event))
        else:
            marks.append((path, begins, time.perf_counter()))


def named_steps(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a model that are steps, by path; the model itself has the path ``""``."""
    stack, seen = [("", model)], set()
    while stack:
        path, module = stack.pop()
        if module in seen:  # one module in two places counts where it is found first
            continue
        seen.add(module)
        if not isinstance(module, _CONTAINERS):
            yield path, module
        inside = [
            (f"{path}.{name}" if path else name, child)
            for name, child in module.named_children()
            if not isinstance(child, _OPAQUE)
        ]
        stack += reversed(inside)


@contextmanager
def observed(model: nn.Module, *, on_gpu: bool = False, layouts: bool = False) -> Iterator[Spans]:
    """Observe the one evaluation made in this context; its tensors too where `layouts` is set."""
    spans = Spans(on_gpu=on_gpu)
    handles = []
    for path, module in named_steps(model):
        hooks = _Hooks(spans, path, layouts)
        handles.append(module.register_forward_pre_hook(hooks.before, with_kwargs=True))
        handles.append(module.register_forward_hook(hooks.after, with_kwargs=True))
    try:
        yield spans
    finally:
        for handle in handles:
            handle.remove()


class _Hooks:
    """What happens before and after one step."""

    def __init__(self, spans: Spans, path: str, layouts: bool) -> None:
        self._spans = spans
        self._path = path
        self._layouts = layouts
        self._differentiable: list[bool] = []

    def before(self, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        named = {**dict(zip(_argument_names(module, len(args)), args, strict=True)), **kwargs}
        if self._layouts and self._path not in self._spans.layouts:
            self._spans.layouts[self._path] = Layouts(inputs=_described(named))
        # The input's node is reached last on the way back.
        (args, kwargs), found = _passed((args, kwargs), self._on_the_way_back(named, begins=False))
        self._differentiable.append(found)
        self._spans.mark(self._spans.forward, self._path, True)
        return args, kwargs

    def after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        self._spans.mark(self._spans.forward, self._path, False)
        if self._layouts and not self._spans.layouts[self._path].outputs:
            self._spans.layouts[self._path].outputs = _described(output)
        if self._differentiable.pop():
            output, _ = _passed(output, self._on_the_way_back(output, begins=True))
        return output

    def _on_the_way_back(self, value: Any, *, begins: bool) -> _Reached:
        """What happens where the gradients of the tensors in `value` have come back."""
        names = [name for name, tensor in _named(value) if tensor.requires_grad] if self._layouts else []

        def reached(gradients: Sequence[Tensor | None]) -> None:
            self._spans.mark(self._spans.backward, self._path, begins)
            if self._layouts:
                found = _described(dict(zip(names, gradients, strict=True)))
                # The way back meets a step's calls from the last to the first, which stays.
                setattr(self._spans.layouts[self._path], "gradients_in" if begins else "gradients_out", found)

        return reached


class _Boundary(torch.autograd.Function):
    """Hands tensors on as they are, and says when all their gradients have come back."""

    @staticmethod
    def forward(ctx: Any, reached: _Reached, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.reached = reached
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        ctx.reached(gradients)
        return None, *gradients


def _passed(value: Any, reached: _Reached) -> tuple[Any, bool]:
    """`value` with its differentiable tensors passed through one boundary; whether there were any."""
    found = [tensor for _, tensor in _named(value) if tensor.requires_grad]
    if not found:
        return value, False
    passed = iter(_Boundary.apply(reached, *found))  # type: ignore[no-untyped-call]  # torch has no type for it
    return _replaced(value, lambda _: next(passed)), True


def _replaced(value: Any, new: Callable[[Tensor], Tensor]) -> Any:
    """`value` with each differentiable tensor in it replaced, in a fixed order."""
    if isinstance(value, Tensor):
        return new(value) if value.requires_grad else value
    if isinstance(value, dict):
        return {key: _replaced(item, new) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_replaced(item, new) for item in value))
    if isinstance(value, tuple | list):
        return type(value)(_replaced(item, new) for item in value)
    return value


def _fold(marks: list[_Mark]) -> dict[str, Spent]:
    """Nested spans as time by step."""
    spent: defaultdict[str, Spent] = defaultdict(Spent)
    stack: list[tuple[str, Any, float]] = []  # step, begin, time in the steps inside it
    for path, begins, when in marks:
        if begins:
            spent[path]  # in the order of their beginning
            stack.append((path, when, 0.0))
            continue
        if not stack or stack[-1][0] != path:
            raise PlanError(
                "The steps of this model do not run one within the other, so it cannot be profiled."
            )
        _, began, inside = stack.pop()
        ms = _ms_between(began, when)
        found = spent[path]
        found.calls += 1
        found.total += ms
        found.own += ms - inside
        if stack:
            above, its_begin, its_inside = stack[-1]
            stack[-1] = (above, its_begin, its_inside + ms)
    return dict(spent)


def _ms_between(began: Any, ended: Any) -> float:
    return float(began.elapsed_time(ended)) if hasattr(began, "elapsed_time") else (ended - began) * 1e3


def _argument_names(module: nn.Module, n: int) -> list[str]:
    """Of the first `n` arguments that are given by their place."""
    names = list(inspect.signature(module.forward).parameters)[:n]
    return names + [str(index) for index in range(len(names), n)]


def _described(value: Any) -> tuple[TensorLayout, ...]:
    """The tensors in `value`, each named by its place."""
    return tuple(
        TensorLayout(
            name=name,
            shape=tuple(tensor.shape),
            dtype=str(tensor.dtype).removeprefix("torch."),
            strides=tuple(tensor.stride()),
            contiguous=tensor.is_contiguous(),
            device=str(tensor.device),
        )
        for name, tensor in _named(value)
    )


def _named(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in `value`, in the order of `_replaced`, and where each stands."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _named(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from _named(item, f"{name}.{index}" if name else str(index))
