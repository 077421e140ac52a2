"""Spans: when each module of a model begins and ends, on the way forward and on the way back.

How the way back is observed is described in `accel.profile`; here are the hooks and the nodes for it.
"""

from __future__ import annotations

import inspect
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
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
    """The argument's name; for outputs their place in the result."""
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


_Mark: TypeAlias = tuple[str, bool, Any]
"""Which step, whether it begins, and when."""


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
        if self._layouts and self._path not in self._spans.layouts:
            named = {**dict(zip(_argument_names(module), args, strict=False)), **kwargs}
            self._spans.layouts[self._path] = Layouts(inputs=tuple(_described(named)))
        # The input's node is reached last on the way back.
        (args, kwargs), found = _passed((args, kwargs), self._marker(begins=False))
        self._differentiable.append(found)
        self._spans.mark(self._spans.forward, self._path, True)
        return args, kwargs

    def after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        self._spans.mark(self._spans.forward, self._path, False)
        if self._layouts and not self._spans.layouts[self._path].outputs:
            self._spans.layouts[self._path].outputs = tuple(_described(output))
        if self._differentiable.pop():
            output, _ = _passed(output, self._marker(begins=True))
        return output

    def _marker(self, *, begins: bool) -> Callable[[], None]:
        return lambda: self._spans.mark(self._spans.backward, self._path, begins)


class _Boundary(torch.autograd.Function):
    """Hands tensors on as they are, and says when all their gradients have come back."""

    @staticmethod
    def forward(ctx: Any, marker: Callable[[], None], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.marker = marker
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        ctx.marker()
        return None, *gradients


def _passed(value: Any, marker: Callable[[], None]) -> tuple[Any, bool]:
    """`value` with its differentiable tensors passed through one boundary; whether there were any."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    _replaced(value, note)
    if not found:
        return value, False
    passed = iter(_Boundary.apply(marker, *found))  # type: ignore[no-untyped-call]  # torch has no type for it
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


def _argument_names(module: nn.Module) -> list[str]:
    return list(inspect.signature(module.forward).parameters)


def _described(value: Any, name: str = "") -> Iterator[TensorLayout]:
    """The tensors in `value`, each named by its place."""
    if isinstance(value, Tensor):
        yield TensorLayout(
            name=name,
            shape=tuple(value.shape),
            dtype=str(value.dtype).removeprefix("torch."),
            strides=tuple(value.stride()),
            contiguous=value.is_contiguous(),
            device=str(value.device),
        )
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _described(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from _described(item, f"{name}.{index}" if name else str(index))
