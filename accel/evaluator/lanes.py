"""Vectors as wide as two registers, held in registers by name: what the compiler cannot be talked into.

A loop over channels that numba compiles is turned into vector code only where the compiler can prove
that arrays do not overlap, at half the width of AVX-512, and never keeps a row of sums in registers
across a loop over edges. So the kernels say it themselves. A `Lanes` is a run of consecutive numbers;
`rows` are a tuple of them. Two registers in one `Lanes` halve the loads of whatever is spread over
them.

Offsets count numbers in flat, C-ordered arrays. Nothing is checked: the caller keeps inside.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils as _cgutils
from numba.core import types as _types
from numba.core.registry import cpu_target
from numba.extending import models, overload, register_model

from accel.evaluator.compilation import generated, inlined

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Their signatures are untyped.
cgutils: Any = _cgutils
types: Any = _types

_FLAGS = ("reassoc", "contract", "nsz")
_WIDE = "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2]
_REGISTERS = 2
_BYTES = (64 if _WIDE else 32) * _REGISTERS
TILE_ROWS = 12 if _WIDE else 4
"""Rows of `Lanes` that registers hold beside what a matrix product needs."""


def width(dtype: Any) -> int:
    """Numbers in a `Lanes` of `dtype`."""
    return _BYTES // int(np.dtype(dtype).itemsize)


def padded(n: int, dtype: Any) -> int:
    """`n` rounded up to whole `Lanes`."""
    return -(-n // width(dtype)) * width(dtype)


def aligned(n: int, dtype: Any) -> NDArray[Any]:
    """`n` zeros that begin on a cache line, so that no load crosses one."""
    size = n * int(np.dtype(dtype).itemsize)
    memory = np.zeros(size + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype)


class Lanes(types.Type):  # type: ignore[misc]
    """The numba type of a vector."""

    def __init__(self, dtype: Any, count: int) -> None:
        self.dtype = dtype
        self.count = count
        super().__init__(name=f"Lanes({dtype}, {count})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Lanes) -> None:
        element = manager.lookup(fe_type.dtype).get_value_type()
        super().__init__(manager, fe_type, ir.VectorType(element, fe_type.count))  # type: ignore[no-untyped-call]


def lanes_type(dtype: Any) -> Lanes:
    """The type of a vector of `dtype`."""
    return Lanes(dtype, _BYTES * 8 // dtype.bitwidth)


def place_in(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    """The address of a number of an array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [offset])


def load_at(builder: Any, place: Any, vector: Any, dtype: Any) -> Any:
    """The vector at an address."""
    return builder.load(builder.bitcast(place, vector.as_pointer()), align=dtype.bitwidth // 8)


def store_at(builder: Any, place: Any, value: Any, dtype: Any) -> None:
    """Write a vector at an address."""
    builder.store(value, builder.bitcast(place, value.type.as_pointer()), align=dtype.bitwidth // 8)


def broadcast(builder: Any, scalar: Any, count: int) -> Any:
    """`count` times the same number."""
    nothing = ir.Constant(ir.VectorType(scalar.type, count), ir.Undefined)
    first = builder.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), count), None))


def fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """`a * b + c`."""
    vector = a.type
    suffix = "f32" if isinstance(vector.element, ir.FloatType) else "f64"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{vector.count}{suffix}"
    )
    return builder.call(function, [a, b, c])


def _row_places(context: Any, builder: Any, array_type: Any, args: Any, n: int) -> list[Any]:
    """Places of `n` rows of an array; `args` are array, first offset, stride."""
    array, offset, stride = args
    places = []
    for _ in range(n):
        places.append(place_in(context, builder, array_type, array, offset))
        offset = builder.add(offset, stride)
    return places


@generated
def lanes_of(_: Any, array: Any) -> Any:
    """Numbers in a `Lanes` of the array's type, known when the kernel is compiled."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.intp, lanes_type(array.dtype).count)

    return types.intp(array), generate


@generated
def load(_: Any, array: Any, offset: Any) -> Any:
    """The vector at `offset`."""
    result = lanes_type(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = place_in(context, builder, array, *args)
        return load_at(builder, place, context.get_value_type(result), array.dtype)

    return result(array, types.intp), generate


@generated
def load_double(_: Any, array: Any, offset: Any) -> Any:
    """As many numbers as a vector of fp64 holds, widened to it."""
    result = lanes_type(types.float64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = context.get_value_type(result)
        vector = ir.VectorType(context.get_value_type(array.dtype), result.count)
        value = load_at(builder, place_in(context, builder, array, *args), vector, array.dtype)
        return value if vector == wide else builder.fpext(value, wide)

    return result(array, types.intp), generate


@generated
def store(_: Any, array: Any, offset: Any, vector: Any) -> Any:
    """Write a vector at `offset`, rounded to the array's type where that is narrower."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = args[2]
        if vector.dtype != array.dtype:
            narrow = ir.VectorType(context.get_value_type(array.dtype), vector.count)
            value = builder.fptrunc(value, narrow)
        store_at(builder, place_in(context, builder, array, args[0], args[1]), value, array.dtype)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@generated
def spread(_: Any, scalar: Any) -> Any:
    """A vector of one number."""
    result = lanes_type(scalar)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return broadcast(builder, args[0], result.count)

    return result(scalar), generate


@generated
def fma(_: Any, a: Any, b: Any, c: Any) -> Any:
    """`a * b + c`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return fused(builder, *args)

    return a(a, b, c), generate


def _binary(name: str) -> Any:
    @generated
    def apply(_: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, name)(*args, flags=_FLAGS)

        return a(a, b), generate

    def typed(a: Any, b: Any) -> Any:
        if isinstance(a, Lanes) and isinstance(b, Lanes):
            return lambda a, b: apply(a, b)
        if isinstance(a, types.Float) and isinstance(b, Lanes):
            return lambda a, b: apply(spread(a), b)
        return None

    return typed


for _operator, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    overload(_operator, strict=False)(_binary(_name))


@generated
def zeros(_: Any, n: Any, array: Any) -> Any:
    """`n` rows of zeros in the array's type; `n` is a literal."""
    result = types.UniTuple(lanes_type(array.dtype), n.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(result), None)

    return result(n, array), generate


@generated
def load_rows(_: Any, like: Any, array: Any, offset: Any, stride: Any) -> Any:
    """As many rows as `like` has, from `offset` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows = args[0]
        vector = context.get_value_type(like.dtype)
        for i, place in enumerate(_row_places(context, builder, array, args[1:], len(like))):
            rows = builder.insert_value(rows, load_at(builder, place, vector, array.dtype), i)
        return rows

    return like(like, array, types.intp, types.intp), generate


@generated
def store_rows(_: Any, rows: Any, array: Any, offset: Any, stride: Any) -> Any:
    """Write rows from `offset` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for i, place in enumerate(_row_places(context, builder, array, args[1:], len(rows))):
            store_at(builder, place, builder.extract_value(args[0], i), array.dtype)
        return context.get_dummy_value()

    return types.void(rows, array, types.intp, types.intp), generate


@generated
def add_outer(_: Any, rows: Any, array: Any, offset: Any, stride: Any, vector: Any) -> Any:
    """`rows[i] + array[offset + i * stride] * vector`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out = args[0]
        for i, place in enumerate(_row_places(context, builder, array, args[1:4], len(rows))):
            factor = broadcast(builder, builder.load(place), vector.count)
            out = builder.insert_value(out, fused(builder, factor, args[4], builder.extract_value(out, i)), i)
        return out

    return rows(rows, array, types.intp, types.intp, vector), generate


@generated
def weighted_sum(_: Any, rows: Any, array: Any, offset: Any, stride: Any) -> Any:
    """`Σ_i array[offset + i * stride] * rows[i]`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        total = None
        for i, place in enumerate(_row_places(context, builder, array, args[1:], len(rows))):
            factor = broadcast(builder, builder.load(place), rows.dtype.count)
            row = builder.extract_value(args[0], i)
            total = builder.fmul(factor, row) if total is None else fused(builder, factor, row, total)
        return total

    return rows.dtype(rows, array, types.intp, types.intp), generate


@generated
def add_scaled(_: Any, rows: Any, others: Any, vector: Any) -> Any:
    """`rows[i] + others[i] * vector`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out = args[0]
        for i in range(len(rows)):
            row, other = builder.extract_value(out, i), builder.extract_value(args[1], i)
            out = builder.insert_value(out, fused(builder, other, args[2], row), i)
        return out

    return rows(rows, others, vector), generate


@generated
def add_rows(_: Any, rows: Any, others: Any) -> Any:
    """`rows[i] + others[i]`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out = args[0]
        for i in range(len(rows)):
            row, other = builder.extract_value(out, i), builder.extract_value(args[1], i)
            out = builder.insert_value(out, builder.fadd(row, other, flags=_FLAGS), i)
        return out

    return rows(rows, others), generate


def halves(builder: Any, a: Any, b: Any) -> Any:
    """Sums of neighbouring numbers, of `a` and then of `b`."""
    n = a.type.count

    def pick(start: int) -> Any:
        places = [start + 2 * i for i in range(n)]
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), n), places))

    return builder.fadd(pick(0), pick(1), flags=_FLAGS)


def merged(builder: Any, a: Any, b: Any, step: int) -> Any:
    """Sums of numbers `step` apart: of `a` where a number's place has no bit `step`, of `b` where it has.

    Done for 1, 2, 4 … with neighbouring vectors of a row, it leaves the sum of vector i in place i. One
    of the two shuffles leaves every number in its place, which costs next to nothing.
    """
    n = a.type.count

    def pick(flip: int) -> Any:
        places = [(i ^ flip) + (n if i & step else 0) for i in range(n)]
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), n), places))

    return builder.fadd(pick(0), pick(step), flags=_FLAGS)


@generated
def store_sums(_: Any, rows: Any, last: Any, array: Any, offset: Any, stride: Any) -> Any:
    """Write the sum over each row, and over `last` behind them, at `offset + i * stride`.

    Rows are added to each other in pairs, so that n of them cost about two shuffles each, where one
    alone would cost as many as its width has powers of two.
    """
    n = len(rows) + 1

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vectors = [builder.extract_value(args[0], i) for i in range(n - 1)] + [args[1]]
        zero = ir.Constant(vectors[0].type, None)
        vectors += [zero] * ((1 << (n - 1).bit_length()) - n)
        while vectors[0].type.count > len(vectors):
            vectors = [_folded(builder, vector) for vector in vectors]
        while len(vectors) > 1:
            vectors = [halves(builder, a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
        for i, place in enumerate(_row_places(context, builder, array, args[2:], n)):
            builder.store(builder.extract_element(vectors[0], ir.Constant(ir.IntType(32), i)), place)
        return context.get_dummy_value()

    return types.void(rows, last, array, types.intp, types.intp), generate


def _folded(builder: Any, vector: Any) -> Any:
    """Its upper half added to its lower one."""
    n = vector.type.count // 2

    def pick(start: int) -> Any:
        places = list(range(start, start + n))
        return builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(ir.IntType(32), n), places))

    return builder.fadd(pick(0), pick(n), flags=_FLAGS)


@inlined
def nothing(array: Any) -> Any:
    """A vector of zeros in the array's type."""
    return zeros(1, array)[0]


@generated
def ticks(_: Any) -> Any:
    """The processor's time stamp; 0 where programs may not read it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not str(cpu_target.target_context.codegen().magic_tuple()[0]).startswith("x86_64"):
            return context.get_constant(types.int64, 0)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.IntType(64), []), "llvm.readcyclecounter"
        )
        return builder.call(function, [])

    return types.int64(), generate
