"""cuEquivariance and OpenEquivariance, put into a model by mace-torch's own converters.

Both libraries replace the tensor products of a model, so the model is built anew with theirs and takes
its weights over; mace-torch knows how. What its converters (0.3.16) leave to the caller is dealt with here:

- They set torch's default dtype and leave it set.
- They fuse cuEquivariance's convolution only for a device whose name is exactly `cuda`: on `cuda:1` the
  slower way would run, without a word. So they are told `cuda`, with the wanted GPU as the current one.
- They skip weights whose shapes disagree, without a word. So weights that did not arrive are refused.
- A model says that its couplings are reduced whenever it was asked for, also where cuEquivariance, which
  reduces them, was not there when it was built. What it really has is told to the converter.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from accel.errors import MissingBackend, PlanError
from accel.mace_torch import default_dtype, has_reduced_couplings, model_dtype, quiet
from accel.model_files import torch_device
from accel.reference import ReferenceEvaluator

_CONVERSION_ERRORS = (
    AttributeError, ImportError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
"""What the converters are known to raise on models that the libraries do not cover."""


def cuequivariance_evaluator(
    model: torch.nn.Module, *, dtype: str, device: str, head: str | None = None
) -> ReferenceEvaluator:
    """The model on cuEquivariance: with NVIDIA's kernels on a GPU, in plain torch on the CPU.

    Raises:
        MissingBackend: cuEquivariance, its kernels or the device are not here.
        PlanError: The converter cannot take this model.
    """
    target = torch_device(device)
    _require("cuequivariance_torch", "cuequivariance-torch", "cueq")
    if target.type == "cuda":
        _require("cuequivariance_ops_torch", "its CUDA kernels (cuequivariance-ops-torch-cu12)", "cuda")
    with quiet():
        from mace.cli.convert_e3nn_cueq import run
    source = copy.deepcopy(model).to(target, getattr(torch, dtype))
    part: Any = source
    part.use_reduced_cg = has_reduced_couplings(source)
    return ReferenceEvaluator(_converted(run, source, "cuEquivariance"), device=device, head=head)


def openequivariance_evaluator(
    model: torch.nn.Module, *, dtype: str, device: str, head: str | None = None
) -> ReferenceEvaluator:
    """The model on OpenEquivariance, whose kernels are compiled for the GPU at first use.

    Raises:
        MissingBackend: The device is no GPU, or OpenEquivariance is not installed.
        PlanError: The converter cannot take this model.
    """
    target = torch_device(device)
    if target.type != "cuda":
        raise MissingBackend(
            f"OpenEquivariance has kernels for CUDA and ROCm only, not for {device}: run this on a GPU "
            "(--device cuda), with pip install mace-workbench[oeq]."
        )
    _require("openequivariance", "OpenEquivariance", "oeq")
    with quiet():
        from mace.cli.convert_e3nn_oeq import run
    source = copy.deepcopy(model).to(target, getattr(torch, dtype))
    return ReferenceEvaluator(_converted(run, source, "OpenEquivariance"), device=device, head=head)


def _converted(run: Any, source: torch.nn.Module, library: str) -> torch.nn.Module:
    device = next(source.parameters()).device
    try:
        with quiet(), warnings.catch_warnings(), default_dtype(model_dtype(source)), _current(device):
            # Without kernels, which is what is wanted on the CPU and checked for on a GPU.
            warnings.filterwarnings("ignore", "cuequivariance_ops_torch is not available", UserWarning)
            converted: torch.nn.Module = run(source, device=device.type, return_model=True)
    except _CONVERSION_ERRORS as error:
        reason = (str(error).splitlines() or [""])[0].rstrip(".")
        raise PlanError(
            f"mace-torch cannot put this {type(source).__name__} on {library} "
            f"({type(error).__name__}: {reason}): use another plan."
        ) from error
    _check_weights(source, converted, library)
    return converted.requires_grad_(False).eval()


def _check_weights(source: torch.nn.Module, converted: torch.nn.Module, library: str) -> None:
    """Refuse a conversion that left a weight behind; contractions are of another form, and compared later."""
    arrived = dict(converted.named_parameters())
    for name, weight in source.named_parameters():
        if "symmetric_contractions" in name:
            continue
        if name not in arrived or not torch.equal(arrived[name].flatten(), weight.flatten()):
            raise PlanError(
                f"mace-torch's converter for {library} lost the weights {name}: use another plan."
            )


@contextlib.contextmanager
def _current(device: torch.device) -> Iterator[None]:
    """Make `device` the GPU that `cuda` stands for."""
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        yield


def _require(module: str, words: str, extra: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise MissingBackend(
            f"This plan needs {words}, which cannot be imported here ({error}): "
            f"pip install mace-workbench[{extra}]."
        ) from error
