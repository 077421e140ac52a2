"""How kernels are compiled, and where the compiled code is kept between runs."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba
from numba.core import config as numba_config
from numba.core.caching import _CacheLocator
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

_Function = TypeVar("_Function", bound="Callable[..., Any]")

# Sums may be reordered and products fused; NaN and infinity keep their meaning, since a NaN
# position has to be seen.
_FASTMATH = {"reassoc", "contract", "nsz"}


def kernel(function: _Function) -> _Function:
    """Compile `function`, which Python calls, without the GIL, and keep the code on disk."""
    config: Any = numba_config  # its attributes are set when numba reads the environment
    kept = config.CACHE_LOCATOR_CLASSES
    config.CACHE_LOCATOR_CLASSES = f"{__name__}.{_BySources.__name__}"
    try:
        return _compiled(function, cache=True, no_cfunc_wrapper=True)
    finally:
        config.CACHE_LOCATOR_CLASSES = kept


class Entries:
    """Calls kernels without a look at the types of their arguments, which numba takes at every call.

    The kernel of one key is always given the types that it was given first. For a hundred arrays the look
    takes 30 µs, as long as a small molecule is computed.
    """

    def __init__(self) -> None:
        self._by_key: dict[object, Callable[..., Any]] = {}

    def call(self, key: object, function: Any, *args: Any) -> Any:
        """Call a kernel."""
        entry = self._by_key.get(key)
        if entry is None:
            types = tuple(function.typeof_pyval(argument) for argument in args)
            function.compile(types)
            entry = self._by_key[key] = function.overloads[types].entry_point
        return entry(*args)


class _BySources(_CacheLocator):
    """Where numba keeps a kernel: under the content of the sources of all of them.

    By itself it looks only at the file of the function, and at where that lies. Kernels call others
    across files; and every run brings a copy of them, which would be compiled anew in each place.
    """

    def __init__(self, line: int) -> None:
        self._line = line

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _BySources:
        """Of a function; its file's name and its own are put into the name by numba."""
        return cls(py_func.__code__.co_firstlineno)

    def get_cache_path(self) -> str:
        """The folder."""
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        """What the code was made from."""
        return _digest()

    def get_disambiguator(self) -> str:
        """What tells two functions of one name in one file apart."""
        return str(self._line)


def step(function: _Function) -> _Function:
    """Compile `function` as a part of kernels: no code of its own on disk."""
    return _compiled(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inlined(function: _Function) -> _Function:
    """Compile `function` into every kernel that calls it: vectors stay in registers across the call."""
    return _compiled(function, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def generated(function: Any) -> Any:
    """A numba intrinsic, which writes its own instructions; untyped, as is all that kernels touch.

    The stack of a function with vectors begins on a cache line. Where it does not, every vector that the
    compiler puts there for a while lies across two lines, and costs about twice as much.
    """

    @wraps(function)
    def typed(*args: Any) -> Any:
        signature, generate = function(*args)

        def aligned(context: Any, builder: Any, *rest: Any) -> Any:
            builder.function.attributes.alignstack = 64
            builder.function.attributes.add("nounwind")  # attributes are written out only where there is one
            return generate(context, builder, *rest)

        return signature, aligned

    return intrinsic(prefer_literal=True)(typed)


def _compiled(function: _Function, **options: Any) -> _Function:
    return cast(
        "_Function", numba.njit(nogil=True, fastmath=_FASTMATH, error_model="numpy", **options)(function)
    )


def cache_folder() -> Path:
    """A folder that can be written, private to this user and to these sources."""
    name = f"numba-{_digest()}"
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mace-workbench"
    usual = (base, Path(tempfile.gettempdir()) / f"mace-workbench-{os.getuid()}")
    for parent in (Path(chosen), *usual) if chosen else usual:
        folder = parent / name
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        # Code that another user could have put there is never run.
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
            return folder
    return Path(tempfile.mkdtemp(prefix="mace-workbench-"))


@cache
def _digest() -> str:
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
