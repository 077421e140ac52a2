"""Matrix products of a block's rows with packed panels, at the rate of a BLAS.

A tile of rows and one panel's columns is summed up in registers. A BLAS would bring its own threads
into each of ours, and would not take panels that are packed once for good.
"""

from __future__ import annotations

from typing import Any

from accel.evaluator.compilation import inlined, step
from accel.evaluator.lanes import (
    TILE_ROWS,
    add_outer,
    add_rows,
    lanes_of,
    load,
    load_rows,
    store_rows,
    zeros,
)


@inlined
def _tile(
    start: Any, a: Any, a_at: int, depth: int, b: Any, b_at: int, out: Any, at: int, stride: int, add: Any
) -> None:
    """As many rows as `start` has, of one panel's columns."""
    lanes = lanes_of(a)
    rows = start
    for k in range(depth):
        rows = add_outer(rows, a, a_at + k, depth, load(b, b_at + k * lanes))
    if add:
        rows = add_rows(rows, load_rows(start, out, at, stride))
    store_rows(rows, out, at, stride)


@step
def matmul(a: Any, rows: int, depth: int, b: Any, out: Any, columns: int, add: bool) -> None:
    """`out = a @ b`, or `+=`.

    Args:
        a: Begins with [rows, depth].
        rows: Rows of `a` and `out`.
        depth: Columns of `a`.
        b: Begins with [depth, columns], in panels (`packing`).
        out: Begins with [rows, columns]; apart from `a`.
        columns: Of b and `out`, whole vectors.
        add: Add to what `out` holds.
    """
    for j in range(0, columns, lanes_of(a)):
        i = 0
        while i + TILE_ROWS <= rows:
            _tile(zeros(TILE_ROWS, a), a, i * depth, depth, b, j * depth, out, i * columns + j, columns, add)
            i += TILE_ROWS
        while i + 4 <= rows:
            _tile(zeros(4, a), a, i * depth, depth, b, j * depth, out, i * columns + j, columns, add)
            i += 4
        while i < rows:
            _tile(zeros(1, a), a, i * depth, depth, b, j * depth, out, i * columns + j, columns, add)
            i += 1


@step
def matmul_by_l(a: Any, atoms: int, depth: int, b: Any, n_l: int, out: Any, columns: int, add: bool) -> None:
    """`out[l] = a[l] @ b[l]` for l = 0 … `n_l` - 1, of arrays that hold a block's atoms by l."""
    for ell in range(n_l):
        before = atoms * ell * ell
        matmul(
            a[before * depth :], atoms * (2 * ell + 1), depth, b[ell * depth * columns :],
            out[before * columns :], columns, add,
        )  # fmt: skip
