"""Models read for the compiled evaluator, kept between runs: what takes seconds is done once.

A model is known by its content: weights, buffers, the make-up of its modules, the head, the error that
its tables may have, the code that reads it and the versions of the libraries that it is read with. A
second file holds the radial tables of the pairs of elements that occur, because there may be thousands
of pairs in a model. Kernels are kept by numba beside them (`evaluator.compilation`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import types
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from accel import array_cache
from accel.array_cache import ArrayCache, Entry
from accel.evaluator.extraction import Extracted, Layer, double_copy, extract
from accel.evaluator.extraction import Path as ConvolutionPath
from accel.evaluator.gated import Gated
from accel.evaluator.pairs import Repulsion
from accel.evaluator.radial import RadialTables, intervals_for, radial_tables
from accel.evaluator.readout import Readout
from accel.mace_torch import o3
from accel.ops.polynomial import SparsePolynomial
from accel.provenance import versions
from accel.reference import head_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from accel.evaluator.radial import Pair

log = logging.getLogger(__name__)

_RECORDS = {
    kind.__name__: kind
    for kind in (Extracted, Layer, ConvolutionPath, Readout, Repulsion, Gated, SparsePolynomial)
}
"""What an entry may be made of, besides arrays, numbers, texts and tuples."""


class PreparedModel:
    """A model as arrays, and its radial tables.

    Args:
        model: A mace-torch model; it is read, not changed.
        head: Which of several heads; by default the only one, or the one named `default`.
        radial_error: Largest error of a tabulated derivative, as a fraction of the largest slope.
        n_data: Value and derivatives that are tabulated at a knot.

    Raises:
        PlanError: The model has a part that the compiled evaluator does not cover.
        ModelError: The model has no such head.
    """

    def __init__(self, model: Any, *, head: str | None = None, radial_error: float, n_data: int = 3) -> None:
        self._model = model
        self._n_data = n_data
        self._cache = ArrayCache(array_cache.cache_home() / "prepared")
        number = head_number(model, head)
        self._key = _digest(model_digest(model), str(number), repr((radial_error, n_data)), reading_digest())
        kept = self._cache.load(self._key)
        found = None if kept is None else _from_entry(kept)
        if found is None:
            found = (extract(self._module, number), intervals_for(self._module, radial_error, n_data))
            self._cache.store(self._key, _to_entry(*found))
        self.extracted, self.n_intervals = found

    @cached_property
    def _module(self) -> Any:
        """Only where something has to be read from it: a copy takes as long as all the rest."""
        return double_copy(self._model)

    def tables(self, pairs: Sequence[Pair]) -> tuple[RadialTables, ...]:
        """Radial tables of every layer, for these pairs of elements."""
        key = _digest(self._key, repr(list(pairs)))
        layers = self.extracted.layers
        kept = self._cache.load(key)
        wanted = {f"{name}{i}" for i in range(len(layers)) for name in ("weights", "density")}
        wanted -= {f"density{i}" for i, layer in enumerate(layers) if layer.density is None}
        if kept is not None and kept.arrays.keys() == wanted:
            found = kept.arrays
            return tuple(
                RadialTables(found[f"weights{i}"], found.get(f"density{i}")) for i in range(len(layers))
            )
        tables = tuple(
            radial_tables(self._module, i, self.n_intervals, pairs, self._n_data) for i in range(len(layers))
        )
        named = {
            f"{name}{i}": part for i, table in enumerate(tables) for name, part in table._asdict().items()
        }
        self._cache.store(key, Entry(None, {name: part for name, part in named.items() if part is not None}))
        return tables


def model_digest(model: Any) -> str:
    """A hash of all that decides about a model's answers."""
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        digest.update(f"{name}:{type(module).__module__}.{type(module).__qualname__};".encode())
        for attribute, value in sorted(vars(module).items()):
            if not attribute.startswith("_"):
                digest.update(f"{attribute}=".encode())
                digest.update(_described(value))
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name}:{tensor.dtype}{tuple(tensor.shape)};".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _described(value: Any) -> bytes:
    """A plain attribute of a module; what is not plain is in the module's class, or a module itself."""
    if isinstance(value, torch.Tensor):
        return _bytes(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tobytes()
    if isinstance(value, bool | int | float | str | type(None) | o3.Irreps | o3.Irrep | torch.dtype):
        return repr(value).encode()
    if isinstance(value, dict):
        return b"".join(_described(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple):
        return b"(" + b",".join(_described(part) for part in value) + b")"
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType):
        return value.__qualname__.encode()
    return type(value).__qualname__.encode()


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@cache
def reading_digest() -> str:
    """A hash of the code that reads models, and of the libraries that it reads them with."""
    here = Path(__file__).parent
    sources = [*sorted(here.glob("*.py")), *sorted((here.parent / "ops").glob("*.py"))]
    return _digest(*(source.read_text(encoding="utf-8") for source in sources), repr(versions()))


def _digest(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()[:40]


def _to_entry(extracted: Extracted, n_intervals: int) -> Entry:
    arrays: dict[str, NDArray[Any]] = {}
    return Entry({"n_intervals": n_intervals, "model": _flat(extracted, arrays)}, arrays)


def _from_entry(entry: Entry) -> tuple[Extracted, int] | None:
    try:
        model = _whole(entry.header["model"], entry.arrays)
        return cast("Extracted", model), int(entry.header["n_intervals"])
    except (KeyError, TypeError, ValueError) as error:
        log.warning("A prepared model is not what this version writes, and is made anew: %s.", error)
        return None


def _flat(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """`value` as JSON, with its arrays put aside and named."""
    if isinstance(value, np.ndarray):
        arrays[f"a{len(arrays)}"] = value
        return {"array": f"a{len(arrays) - 1}"}
    if isinstance(value, tuple):
        return {"tuple": [_flat(part, arrays) for part in value]}
    if dataclasses.is_dataclass(value):
        parts = {item.name: _flat(getattr(value, item.name), arrays) for item in dataclasses.fields(value)}
        return {"record": type(value).__name__, "parts": parts}
    return {"plain": value}


def _whole(record: Any, arrays: Any) -> Any:
    """The inverse of `_flat`."""
    if "array" in record:
        return arrays[record["array"]]
    if "tuple" in record:
        return tuple(_whole(part, arrays) for part in record["tuple"])
    if "record" in record:
        parts = {name: _whole(part, arrays) for name, part in record["parts"].items()}
        return _RECORDS[record["record"]](**parts)
    return record["plain"]
