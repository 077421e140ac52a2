"""The border to mace-torch: its import, its global state, and a model's make-up as plain JSON.

mace-torch has manners that must not leak into a measurement or a program that prints JSON: it has to be
imported before e3nn (which cannot be imported alone on torch ≥ 2.6), prints to stdout when imported,
warns by the dozen when a model is built, and reads torch's global default dtype. All of it is dealt with
here, so everything in `accel` that needs mace-torch imports this module first.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps down what mace-torch and e3nn are known to print and warn of; everything else passes."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.filterwarnings(
            "ignore", "Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", UserWarning
        )
        warnings.filterwarnings("ignore", "The TorchScript type system doesn't support", UserWarning)
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.filterwarnings("ignore", "To copy construct from a tensor", UserWarning)
        yield


with quiet():
    from mace import tools as mace_tools  # first: it allows the pickle that e3nn reads when it is imported

    # isort: split
    from e3nn import o3
    from mace import data as mace_data
    from mace import modules
    from mace.modules.symmetric_contraction import EmptyParam
    from mace.tools.cg import U_matrix_real
    from mace.tools.scripts_utils import extract_config_mace_model

__all__ = [
    "build_model",
    "default_dtype",
    "has_reduced_couplings",
    "mace_data",
    "mace_tools",
    "model_config",
    "model_dtype",
    "modules",
    "o3",
    "quiet",
]

_IRREPS = ("hidden_irreps", "MLP_irreps", "edge_irreps")
_ARRAYS = ("atomic_energies", "atomic_inter_scale", "atomic_inter_shift")
_CLASSES: Mapping[str, Mapping[str, Any]] = {
    "interaction_cls": modules.interaction_classes,
    "interaction_cls_first": modules.interaction_classes,
    "readout_cls": modules.readout_classes,
    "gate": modules.gate_dict,
}
_PLAIN = (bool, int, float, str, type(None))


def _copy_empty(parameter: Any, memo: dict[int, Any]) -> Any:
    """mace-torch's stand-in for weights without couplings inherits a copy that fails."""
    return memo.setdefault(id(parameter), EmptyParam(parameter.data.clone()))


EmptyParam.__deepcopy__ = _copy_empty  # type: ignore[method-assign]


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Sets torch's default dtype, by which mace-torch builds models and graphs, for this block only."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def model_dtype(model: torch.nn.Module) -> torch.dtype:
    """The dtype that a model's weights have."""
    return next(model.parameters()).dtype


def has_reduced_couplings(model: Any) -> bool:
    """Whether cuEquivariance reduced the couplings of the symmetric contractions when `model` was built.

    What the model says of itself is only that this was wanted, also where cuEquivariance was not installed.
    """
    if not getattr(model, "use_reduced_cg", False):
        return False
    contraction = model.products[0].symmetric_contractions
    part = contraction.contractions[0]
    there = part.U_tensors(part.correlation).detach().double().cpu()
    plain = U_matrix_real(
        irreps_in=part.coupling_irreps,
        irreps_out=o3.Irreps(str(contraction.irreps_out[0].ir)),
        correlation=part.correlation,
        use_cueq_cg=False,
        dtype=torch.float64,
    )[-1]
    return there.shape != plain.shape or not torch.allclose(there, plain, atol=1e-6)


def model_config(model: torch.nn.Module) -> dict[str, Any]:
    """What `build_model` needs to make a model of the same form, as values that JSON can carry.

    Raises:
        ValueError: The model is not a ScaleShiftMACE, or is made of parts that have no name.
    """
    if type(model).__name__ != "ScaleShiftMACE":
        raise ValueError(f"it is a {type(model).__name__} and not a ScaleShiftMACE")
    config = dict(extract_config_mace_model(model))
    config["use_reduced_cg"] = has_reduced_couplings(model)
    config["atomic_numbers"] = [int(z) for z in config["atomic_numbers"]]
    for key in _IRREPS:
        config[key] = None if config[key] is None else str(config[key])
    for key in _ARRAYS:
        config[key] = np.asarray(config[key], dtype=np.float64).tolist()
    for key, known in _CLASSES.items():
        names = [name for name, value in known.items() if value is config[key]]
        if not names:
            raise ValueError(f"its {key} is {config[key]!r}, which mace-torch has no name for")
        config[key] = names[0]
    return {key: _plain(key, value) for key, value in config.items()}


def build_model(config: Mapping[str, Any], dtype: torch.dtype) -> torch.nn.Module:
    """A ScaleShiftMACE with random weights, made as `config` says.

    Raises:
        ValueError: The config describes no model.
    """
    try:
        # mace-torch's own default depends on whether cuEquivariance is installed.
        arguments = {"use_reduced_cg": False, **config}
        for key in _IRREPS:
            arguments[key] = None if config[key] is None else o3.Irreps(config[key])
        for key in _ARRAYS:
            arguments[key] = np.asarray(config[key], dtype=np.float64)
        for key, known in _CLASSES.items():
            arguments[key] = known[config[key]]
        with quiet(), default_dtype(dtype):
            model: torch.nn.Module = modules.ScaleShiftMACE(**arguments)
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        AssertionError,
        RuntimeError,
    ) as error:
        raise ValueError(f"its config describes no model ({type(error).__name__}: {error})") from error
    return model


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(key, item) for item in value]
    if not isinstance(value, _PLAIN):
        raise ValueError(f"its {key} is {value!r}, which cannot be written as JSON")
    return value
