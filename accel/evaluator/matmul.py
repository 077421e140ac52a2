"""Matrix products of a block's rows with packed panels, at the rate of a BLAS.

A tile of rows and one panel's columns is summed up in registers. A BLAS would bring its own threads
into each of ours, and would not take panels that are packed once for good.
"""

from __future__ import annotations

from typing import Any

from accel.evaluator.compilation import inlined, kernel
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
    start: Any,
    a: Any,
    a_at: int,
    depth: int,
    panel: Any,
    at: int,
    out: Any,
    out_at: int,
    stride: int,
    add: Any,
) -> None:
    """As many rows as `start` has, of one panel's columns."""
    lanes = lanes_of(a)
    rows = start
    for k in range(depth):
        rows = add_outer(rows, a, a_at + k, depth, load(panel, at + k * lanes))
    if add:
        rows = add_rows(rows, load_rows(start, out, out_at, stride))
    store_rows(rows, out, out_at, stride)


@kernel
def matmul(
    a: Any,
    a_at: int,
    rows: int,
    depth: int,
    panels: Any,
    at: int,
    out: Any,
    out_at: int,
    columns: int,
    add: bool,
) -> None:
    """`out = a @ b`, or `+=`.

    Args:
        a: Holds [rows, depth] from `a_at` on.
        a_at: Where.
        rows: Rows of `a` and `out`.
        depth: Columns of `a`.
        panels: Holds b [depth, columns] from `at` on, in panels (`packing`).
        at: Where.
        out: Holds [rows, columns] from `out_at` on; apart from `a`.
        out_at: Where.
        columns: Of b and `out`, whole vectors.
        add: Add to what `out` holds.
    """
    for j in range(0, columns, lanes_of(a)):
        panel = at + j * depth
        i = 0
        while i + TILE_ROWS <= rows:
            _tile(
                zeros(TILE_ROWS, a), a, a_at + i * depth, depth, panels, panel,
                out, out_at + i * columns + j, columns, add,
            )  # fmt: skip
            i += TILE_ROWS
        while i + 4 <= rows:
            _tile(
                zeros(4, a), a, a_at + i * depth, depth, panels, panel,
                out, out_at + i * columns + j, columns, add,
            )  # fmt: skip
            i += 4
        while i < rows:
            _tile(
                zeros(1, a), a, a_at + i * depth, depth, panels, panel,
                out, out_at + i * columns + j, columns, add,
            )  # fmt: skip
            i += 1


@kernel
def matmul_by_l(
    a: Any,
    a_at: int,
    atoms: int,
    depth: int,
    panels: Any,
    at: int,
    n_l: int,
    out: Any,
    out_at: int,
    columns: int,
    add: bool,
) -> None:
    """`out[l] = a[l] @ b[l]` for l = 0 … `n_l` - 1, of arrays that hold a block's atoms by l."""
    for ell in range(n_l):
        before = atoms * ell * ell
        matmul(
            a, a_at + before * depth, atoms * (2 * ell + 1), depth, panels, at + ell * depth * columns,
            out, out_at + before * columns, columns, add,
        )  # fmt: skip
