"""What one edge does to a vector of channels, written out: radial weights, messages of scalars, and back.

`lanes` holds the vectors themselves. Arrays that belong to edges are cut into chunks of `EDGES`, inside
of which a quantity is a row (`column`): so the distance from one row to the next is a number in the
instruction, and one address serves all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir

from accel.evaluator.compilation import generated, inlined
from accel.evaluator.lanes import (
    broadcast,
    fused,
    lanes_type,
    load_at,
    merged,
    place_in,
    store_at,
    types,
)

EDGES = 32
"""Edges of a chunk: whole vectors in both precisions."""
KNOT_DATA = {"float64": 4, "float32": 3}
"""Value and derivatives of a radial function that are kept at a knot."""
ROWS = 16
"""Components of the message up to l = 3."""


def hermite_basis(n_data: int) -> Any:
    """[2 n_data, 2 n_data]: coefficients of t⁰, t¹, …, for each datum of the knot before and the one behind.

    The polynomial that has the given value and derivatives at t = 0 and t = 1.
    """
    size = 2 * n_data
    conditions = np.zeros((size, size))
    for k in range(n_data):
        conditions[k, k] = math.factorial(k)
        for j in range(k, size):
            conditions[n_data + k, j] = math.factorial(j) // math.factorial(j - k)
    inverse = np.linalg.inv(conditions).T
    return np.round(inverse * 12) / 12  # as they are for up to four data


@inlined
def column(e: int, rows: int) -> int:
    """Where edge `e` stands in the first row of an array of so many rows."""
    return (e >> 5) * (rows << 5) + (e & 31)


@generated
def data_of(_: Any, array: Any) -> Any:
    """Numbers kept at a knot, known when the kernel is compiled."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.intp, KNOT_DATA[str(array.dtype)])

    return types.intp(array), generate


@generated
def store_knot_weights(_: Any, t: Any, out: Any, offset: Any) -> Any:
    """Weights of the data of two knots at fraction `t`: for the value, then for its derivative by t."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        basis = hermite_basis(KNOT_DATA[str(out.dtype)])
        slopes = basis[:, 1:] * np.arange(1, basis.shape[1])
        narrow = ir.VectorType(context.get_value_type(out.dtype), t.count)

        def constant(number: float) -> Any:
            return broadcast(builder, ir.Constant(ir.DoubleType(), float(number)), t.count)

        for row, coefficients in enumerate([*basis, *slopes]):
            value = constant(coefficients[-1])
            for number in coefficients[-2::-1]:
                value = fused(builder, value, args[0], constant(number))
            if narrow != value.type:
                value = builder.fptrunc(value, narrow)
            at = builder.add(args[2], context.get_constant(types.intp, row * EDGES))
            store_at(builder, place_in(context, builder, out, args[1], at), value, out.dtype)
        return context.get_dummy_value()

    return types.void(t, out, types.intp), generate


class _Edge:
    """Writes the instructions of one edge and one vector of channels."""

    def __init__(self, context: Any, builder: Any, dtype: Any) -> None:
        self.context, self.builder, self.dtype = context, builder, dtype
        self.lanes = lanes_type(dtype)
        self.vector = context.get_value_type(self.lanes)

    def at(self, base: Any, steps: int) -> Any:
        """The place so many numbers behind `base`."""
        return self.builder.gep(base, [self.context.get_constant(types.intp, steps)])

    def load(self, base: Any, steps: int) -> Any:
        return load_at(self.builder, self.at(base, steps), self.vector, self.dtype)

    def spread(self, base: Any, steps: int) -> Any:
        return broadcast(self.builder, self.builder.load(self.at(base, steps)), self.lanes.count)

    def radial(self, knots: tuple[Any, Any], weights: Any, path: int, sums: int) -> list[Any]:
        """A path's radial weight, and with two `sums` its slope too, from one reading of the table."""
        n_data = KNOT_DATA[str(self.dtype)]
        out: list[Any] = [None] * sums
        for k in range(2 * n_data):
            steps = (path * n_data + k % n_data) * self.lanes.count
            datum = self.load(knots[k // n_data], steps)
            for s in range(sums):
                factor = self.spread(weights, (2 * n_data * s + k) * EDGES)
                out[s] = self.product(factor, datum, out[s])
        return out

    def product(self, a: Any, b: Any, c: Any = None) -> Any:
        """`a * b + c`."""
        return self.builder.fmul(a, b) if c is None else fused(self.builder, a, b, c)

    def store_folded(self, place: Any, a: Any, b: Any) -> None:
        """Write `a * b`, its upper half added to its lower one."""
        half = self.lanes.count // 2
        total = None
        for start in (0, half):
            index = ir.Constant(ir.VectorType(ir.IntType(32), half), list(range(start, start + half)))
            left, right = (self.builder.shuffle_vector(x, x, index) for x in (a, b))
            total = self.product(left, right, total)
        store_at(self.builder, place, total, self.dtype)


@generated
def interpolated(_: Any, table: Any, at: Any, onward: Any, weights: Any, w: Any) -> Any:
    """One vector of a radial weight: the data at `at` and, `onward` of it, those of the next knot."""
    result = lanes_type(table.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        edge = _Edge(context, builder, table.dtype)
        before = place_in(context, builder, table, args[0], args[1])
        knots = (before, builder.gep(before, [args[2]]))
        return edge.radial(knots, place_in(context, builder, weights, args[3], args[4]), 0, 1)[0]

    return result(table, types.intp, types.intp, weights, types.intp), generate


@generated
def add_scalar_message(
    _: Any, rows: Any, table: Any, at: Any, onward: Any, weights: Any, w: Any, matrix: Any, m: Any, sent: Any
) -> Any:  # fmt: skip
    """Add an edge's message to nine `rows`, of l = 0, 1, 2, or to seven, of l = 3; the sender is a scalar.

    `at` is where the interval begins in the table, of path l = 0; in `matrix` every path has one row more
    than components.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        edge = _Edge(context, builder, table.dtype)
        out = args[0]
        before = place_in(context, builder, table, args[1], args[2])
        knots = (before, builder.gep(before, [args[3]]))
        by_datum = place_in(context, builder, weights, args[4], args[5])
        entries = place_in(context, builder, matrix, args[6], args[7])
        row, ell = 0, 0 if len(rows) == 9 else 3
        while row < len(rows):
            value = builder.fmul(edge.radial(knots, by_datum, ell, 1)[0], args[8])
            for component in range(2 * ell + 1):
                factor = edge.spread(entries, (ell * ell + ell + component) * EDGES)
                out = builder.insert_value(
                    out, edge.product(factor, value, builder.extract_value(out, row)), row
                )
                row += 1
            ell += 1
        return out

    arguments = (rows, table, types.intp, types.intp, weights, types.intp, matrix, types.intp, sent)
    return rows(*arguments), generate


@generated
def reverse_scalar_message(
    _: Any, table: Any, at: Any, onward: Any, weights: Any, w: Any, matrix: Any, m: Any, sent: Any, rows: Any,
    places: Any, stride: Any, partial: Any, to: Any,
) -> Any:  # fmt: skip
    """Reverse one vector of an edge's message of a scalar sender, all l up to 3.

    Args:
        table: With `at` and `onward` as above.
        at: See there.
        onward: See there.
        weights: Of the knot data, from `w` on.
        w: See there.
        matrix: Of the edge, from `m` on.
        m: See there.
        sent: What the sender carries.
        rows: Gradient by the receiver's sums.
        places: Four offsets: where the components of each l begin in `rows`.
        stride: From one component to the next.
        partial: From `to` on, `ROWS` sums over channels are written, each as half a `Lanes` of numbers that
            are still to be added (`add_sums`): the gradient by the place in the table, then that by the
            entries of the matrix from l = 1 on. Written one after the other they take no registers, and the
            compiler, which must not read past a write, reads no path before it is needed.
        to: See there.

    Returns:
        The gradient by what the sender carries.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        edge = _Edge(context, builder, table.dtype)
        before = place_in(context, builder, table, args[0], args[1])
        knots = (before, builder.gep(before, [args[2]]))
        by_datum = place_in(context, builder, weights, args[3], args[4])
        entries = place_in(context, builder, matrix, args[5], args[6])
        sums = place_in(context, builder, partial, args[11], args[12])
        by_sent = by_place = None
        # Before the first sums are written the compiler may read as early as it likes. Were it the path with
        # the fewest of them, it would read so much that registers overflow, and lose half of the speed.
        for ell in (1, 2, 3, 0):
            value, slope = edge.radial(knots, by_datum, ell, 2)
            carried = builder.fmul(value, args[7])
            total = None
            place = place_in(context, builder, rows, args[8], builder.extract_value(args[9], ell))
            for component in range(2 * ell + 1):
                g_row = load_at(builder, place, edge.vector, table.dtype)
                place = builder.gep(place, [args[10]])
                row = ell * ell + component
                total = edge.product(edge.spread(entries, (row + ell) * EDGES), g_row, total)
                if ell:
                    edge.store_folded(edge.at(sums, row * edge.lanes.count // 2), carried, g_row)
            by_sent = edge.product(value, total, by_sent)
            by_place = edge.product(slope, total, by_place)
        edge.store_folded(sums, by_place, args[7])
        return by_sent

    arguments = (
        table, types.intp, types.intp, weights, types.intp, matrix, types.intp, sent, rows, places,
        types.intp, partial, types.intp,
    )  # fmt: skip
    return sent(*arguments), generate


@generated
def add_sums(_: Any, partial: Any, row: Any, out: Any, offset: Any) -> Any:
    """Finish the sums in row `row` of as many edges as a half of `Lanes` has numbers: add them at `offset`.

    Vectors are added to each other in pairs, so that a sum costs about three instructions.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        count = lanes_type(partial.dtype).count // 2
        vector = ir.VectorType(context.get_value_type(partial.dtype), count)
        start = builder.mul(args[1], context.get_constant(types.intp, count))
        place = place_in(context, builder, partial, args[0], start)
        vectors = [
            load_at(
                builder,
                builder.gep(place, [context.get_constant(types.intp, e * ROWS * count)]),
                vector,
                partial.dtype,
            )
            for e in range(count)
        ]
        step = 1
        while len(vectors) > 1:
            vectors = [merged(builder, a, b, step) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
            step *= 2
        target = place_in(context, builder, out, args[2], args[3])
        total = builder.fadd(load_at(builder, target, vector, out.dtype), vectors[0])
        store_at(builder, target, total, out.dtype)
        return context.get_dummy_value()

    return types.void(partial, types.intp, out, types.intp), generate
