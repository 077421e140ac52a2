"""Team: threads that work beside the one that calls them, several times within a millisecond.

A thread that sleeps takes a tenth of a millisecond to wake, and is often put on the processor of the one
that woke it. So between two pieces of work each stays awake for a moment, outside of Python's lock.
"""

from __future__ import annotations

import weakref
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils as _cgutils
from numba.core import types as _types
from numba.core.registry import cpu_target

from accel.evaluator.compilation import generated, kernel
from accel.provenance import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Work = Callable[..., Any]

cgutils: Any = _cgutils  # untyped
types: Any = _types
_LOOKS = 20_000
"""How often a thread looks before it goes to sleep: for about a millisecond."""


class Team:
    """The calling thread and others; not to be called by several at once."""

    def __init__(self, threads: int) -> None:
        patient = threads <= usable_cores()
        self._helpers = [_Helper(_LOOKS if patient else 0) for _ in range(threads - 1)]
        for helper in self._helpers:
            Thread(target=helper.serve, name="accel-helper", daemon=True).start()
            weakref.finalize(self, helper.ask, None, ())

    def over(self, work: Work, shares: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call `work` with each share at the same time; what it returned, in order."""
        mine, *others = shares
        helpers = self._helpers[: len(others)]
        for helper, share in zip(helpers, others, strict=True):
            helper.wait()  # where an interrupt has left it at work
            helper.ask(work, share)
        try:
            found = [work(*mine)]
        finally:
            for helper in helpers:
                helper.wait()
        return [*found, *(helper.answer() for helper in helpers)]


class _Signal:
    """Tells one thread that another has got somewhere."""

    def __init__(self, looks: int) -> None:
        self._looks = looks
        self._told = np.zeros(16, dtype=np.int64)  # two cache lines of its own
        self._lock = Lock()
        self._lock.acquire()

    def tell(self) -> None:
        """Wake whoever waits, or will."""
        self._told[0] = 1
        self._lock.release()

    def wait(self) -> None:
        """Until it was told; each time once."""
        if self._looks:
            _look(self._told, self._looks)
        self._lock.acquire()
        self._told[0] = 0


class _Helper:
    """One more thread."""

    def __init__(self, looks: int) -> None:
        self._asked, self._done = _Signal(looks), _Signal(looks)
        self._work: Work | None = None
        self._share: tuple[Any, ...] = ()
        self._is_at_work = False
        self._found: Any = None
        self._error: BaseException | None = None

    def serve(self) -> None:
        """Do what is asked for, until that is nothing."""
        while True:
            self._asked.wait()
            work, self._work = self._work, None
            if work is None:
                return
            self._found = self._error = None
            try:
                self._found = work(*self._share)
            except BaseException as error:  # noqa: BLE001  # raised where the answer is taken
                self._error = error
            del work
            self._done.tell()

    def ask(self, work: Work | None, share: tuple[Any, ...]) -> None:
        """Have it do something; `wait` for it before anything else is asked."""
        self._work, self._share, self._is_at_work = work, share, True
        self._asked.tell()

    def wait(self) -> None:
        """Until it is done."""
        if self._is_at_work:
            self._done.wait()
            self._is_at_work = False

    def answer(self) -> Any:
        """What the work returned, or raise what it raised."""
        error, self._error = self._error, None  # whose frames would keep alive what the work was done for
        if error is not None:
            raise error
        return self._found


@kernel
def _look(told: NDArray[np.int64], looks: int) -> None:
    """Return as soon as it was told, or after so many looks."""
    while looks > 0 and not _look_once(told):
        looks -= 1


@generated
def _look_once(_: Any, told: Any) -> Any:
    """The first number, as other threads see it, after a pause."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if str(cpu_target.target_context.codegen().magic_tuple()[0]).startswith("x86_64"):
            pause = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause"
            )
            builder.call(pause, [])
        array = context.make_array(told)(context, builder, args[0])
        return builder.load_atomic(array.data, "acquire", 8)

    return types.int64(told), generate
