"""Models on disk: opened, and written without pickle.

A model is a folder: `config.json` says how to build it, `weights.safetensors` holds what building does not
give. Neither can run code. mace-torch's own `.model` files are pickles, which can, and are opened only
where the user allows it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from accel.errors import MissingBackend, ModelError
from accel.mace_torch import build_model, model_config, model_dtype, modules, quiet

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
WEIGHTS_FILE = "weights.safetensors"
CONFIG_FILE = "config.json"
CARD_FILE = "card.json"
SHIPPED_MODELS = Path(__file__).parent / "shipped" / "models"
_DTYPES: Mapping[str, torch.dtype] = {"float64": torch.float64, "float32": torch.float32}
_PICKLE_ERRORS = (
    OSError, EOFError, pickle.UnpicklingError, RuntimeError, ImportError, AttributeError, LookupError,
    TypeError, ValueError,
)  # fmt: skip
"""What torch.load is known to raise on bytes that are no model, or one of another mace-torch."""


def shipped_models() -> tuple[str, ...]:
    """Names of the models that travel with the program."""
    return tuple(sorted(path.parent.name for path in SHIPPED_MODELS.glob(f"*/{CONFIG_FILE}")))


def model_card(name: str) -> Mapping[str, Any]:
    """What a shipped model was trained on, how, and its errors.

    Raises:
        ModelError: No shipped model has this name.
    """
    if name not in shipped_models():
        raise ModelError(f"No model named {name} is shipped; there are: {', '.join(shipped_models())}.")
    card: Mapping[str, Any] = json.loads((SHIPPED_MODELS / name / CARD_FILE).read_text(encoding="utf-8"))
    return card


def load_model(
    name_or_path: str, *, dtype: str = "float64", device: str = "cpu", allow_pickle: bool = False
) -> torch.nn.Module:
    """A mace-torch model in `dtype` on `device`, its weights frozen (training thaws them).

    Args:
        name_or_path: A shipped model's name, a folder that `save_model` wrote, or a `.model` file.
        dtype: `float64` or `float32`; what is stored is cast to it.
        device: As torch names it.
        allow_pickle: Whether a `.model` file, which can run any code, may be opened.

    Raises:
        ModelError: The model is missing, broken, of another kind, or a pickle that was not allowed.
        MissingBackend: torch does not have the device here.
    """
    if dtype not in _DTYPES:
        raise ModelError(f"A model cannot be loaded as {dtype}; choose from: {', '.join(_DTYPES)}.")
    target = torch_device(device)
    path = SHIPPED_MODELS / name_or_path if name_or_path in shipped_models() else Path(name_or_path)
    if path.is_dir():
        model = _load_folder(path)
    elif path.is_file():
        model = _load_pickle(path, allow_pickle=allow_pickle)
    else:
        raise ModelError(
            f"There is no model {name_or_path}: give a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, "
            f"a .model file, or one of the shipped: {', '.join(shipped_models())}."
        )
    return model.to(device=target, dtype=_DTYPES[dtype]).requires_grad_(False).eval()


def save_model(model: torch.nn.Module, folder: Path) -> None:
    """Write `model` to `folder` without pickle; reading it back gives the same numbers.

    Only what a newly built model lacks is stored. The coupling coefficients, which are most of the
    bytes, are built again on reading, and a checksum makes sure that they are the same ones.

    Args:
        model: A mace-torch ScaleShiftMACE.
        folder: Made where it is missing; a model that is already there is replaced.

    Raises:
        ModelError: The model is of a kind that cannot be described without pickle.
        OSError: The folder cannot be written.
    """
    try:
        config = model_config(model)
        fresh = build_model(config, model_dtype(model)).state_dict()
    except ValueError as error:
        raise ModelError(f"The model cannot be stored without pickle: {error}.") from error
    trainable = {name for name, _ in model.named_parameters()}
    stored, rebuilt = {}, {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        if name not in trainable and name in fresh and torch.equal(fresh[name], tensor):
            rebuilt[name] = _checksum(tensor)
        else:
            stored[name] = tensor
    content = safetensors.torch.save(stored)
    record = {
        "format": FORMAT_VERSION,
        "dtype": str(model_dtype(model)).removeprefix("torch."),
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "config": config,
        "rebuilt": rebuilt,
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / WEIGHTS_FILE, content)
    _write(folder / CONFIG_FILE, (json.dumps(record, indent=1) + "\n").encode())


def torch_device(name: str) -> torch.device:
    """The device of this name.

    Raises:
        MissingBackend: torch does not know it, or does not have it here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise MissingBackend(f"torch cannot use the device {name} here ({reason}); use cpu.") from error
    return device


def _load_folder(folder: Path) -> torch.nn.Module:
    try:
        record = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        content = (folder / WEIGHTS_FILE).read_bytes()
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).name
        raise ModelError(f"{folder} is no model: it has no {missing}.") from error
    except OSError as error:
        raise ModelError(f"The model in {folder} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ModelError(f"The model in {folder} is broken: its {CONFIG_FILE} is not JSON.") from error
    try:
        return _assemble(record, content)
    except ValueError as error:
        raise ModelError(f"The model in {folder} cannot be used: {error}.") from error


def _assemble(record: Any, content: bytes) -> torch.nn.Module:
    """The model that a config's `record` and the bytes of its weights describe.

    Raises:
        ValueError: They do not describe one, or not the same one.
    """
    if not isinstance(record, dict) or not isinstance(record.get("format"), int):
        raise ValueError(f"its {CONFIG_FILE} was not written by this program")
    if record["format"] > FORMAT_VERSION:
        raise ValueError(
            f"it is of format {record['format']}, newer than this program; update mace-workbench"
        )
    config, rebuilt = record.get("config"), record.get("rebuilt")
    dtype = _DTYPES.get(str(record.get("dtype")))
    if not isinstance(config, dict) or not isinstance(rebuilt, dict) or dtype is None:
        raise ValueError(f"its {CONFIG_FILE} is incomplete")
    if hashlib.sha256(content).hexdigest() != record.get("weights_sha256"):
        raise ValueError(f"its {WEIGHTS_FILE} is damaged, or belongs to another {CONFIG_FILE}; copy it again")
    try:
        state = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise ValueError(f"its {WEIGHTS_FILE} is no safetensors file") from error
    return _filled(build_model(config, dtype), state, rebuilt)


def _filled(
    model: torch.nn.Module, state: dict[str, torch.Tensor], rebuilt: Mapping[str, Any]
) -> torch.nn.Module:
    """`model` with the weights of `state`, what it was `rebuilt` with checked.

    Raises:
        ValueError: They do not fit, are no numbers, or were fitted to other coupling coefficients.
    """
    built = {name: tensor for name, tensor in model.state_dict().items() if name in rebuilt}
    try:
        model.load_state_dict({**built, **state})
    except RuntimeError as error:
        raise ValueError("its weights do not fit its config") from error
    for name, tensor in built.items():
        if not _same(_checksum(tensor), rebuilt[name]):
            raise ValueError(f"mace-torch builds another {name} here than the one it was saved with")
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"its {name} is not finite")
    return model


def _load_pickle(path: Path, *, allow_pickle: bool) -> torch.nn.Module:
    if not allow_pickle:
        raise ModelError(
            f"{path} is a pickle, which can run any code when it is opened, and was not: if you trust where "
            "it comes from, allow it (--allow-pickle, or allow_pickle in the spec)."
        )
    if path.stat().st_size == 0:
        raise ModelError(f"{path} is empty: copy the model again.")
    log.warning("Opening %s, a pickle: it can run any code that its author put into it.", path)
    try:
        with quiet():
            model = torch.load(path, map_location="cpu", weights_only=False)
    except _PICKLE_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        raise ModelError(
            f"{path} cannot be opened as a mace-torch model ({type(error).__name__}: {reason.rstrip('.')}): "
            "copy it again, or save it anew with the mace-torch that is installed here."
        ) from error
    if not isinstance(model, modules.MACE):
        raise ModelError(
            f"{path} holds a {type(model).__name__}, not a mace-torch model with energies and forces."
        )
    return model


def _checksum(tensor: torch.Tensor) -> float:
    """A number that two tensors share only where they agree, order and signs included."""
    flat = tensor.detach().cpu().to(torch.float64).flatten()
    return float((flat * torch.cos(torch.arange(len(flat), dtype=torch.float64))).sum())


def _same(built: float, saved: Any) -> bool:
    return isinstance(saved, int | float) and abs(built - saved) <= 1e-6 * max(1.0, abs(saved))


def _write(path: Path, content: bytes) -> None:
    """Puts all of `content` into the file, or leaves it as it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
