"""Matrix products small enough to stay in cache, compiled with the kernels that use them.

A BLAS would bring its own threads into each of ours; blocks of atoms are too small to need one.
"""

from __future__ import annotations

from typing import Any

from accel.evaluator.compilation import kernel

ROWS = 4
"""Rows are computed this many at a time: buffers hold a multiple of it."""

_DEPTH = 32
"""Inner products are summed in runs of this many, so that the rows of `b` they touch stay in L1."""


@kernel
def matmul(a: Any, b: Any, out: Any, rows: int, accumulate: bool) -> None:
    """`out[:rows] = a[:rows] @ b`, or `+=`; rows are rounded up to a multiple of four."""
    depth = b.shape[0]
    width = b.shape[1]
    whole = depth - depth % 4
    if not accumulate:
        for i in range(rows):
            for j in range(width):
                out[i, j] = 0.0
    for k_run in range(0, whole, _DEPTH):
        k_end = min(k_run + _DEPTH, whole)
        for i in range(0, rows, 4):
            for k in range(k_run, k_end, 4):
                a00, a01, a02, a03 = a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]
                a10, a11, a12, a13 = a[i + 1, k], a[i + 1, k + 1], a[i + 1, k + 2], a[i + 1, k + 3]
                a20, a21, a22, a23 = a[i + 2, k], a[i + 2, k + 1], a[i + 2, k + 2], a[i + 2, k + 3]
                a30, a31, a32, a33 = a[i + 3, k], a[i + 3, k + 1], a[i + 3, k + 2], a[i + 3, k + 3]
                for j in range(width):
                    b0 = b[k, j]
                    b1 = b[k + 1, j]
                    b2 = b[k + 2, j]
                    b3 = b[k + 3, j]
                    out[i, j] += a00 * b0 + a01 * b1 + a02 * b2 + a03 * b3
                    out[i + 1, j] += a10 * b0 + a11 * b1 + a12 * b2 + a13 * b3
                    out[i + 2, j] += a20 * b0 + a21 * b1 + a22 * b2 + a23 * b3
                    out[i + 3, j] += a30 * b0 + a31 * b1 + a32 * b2 + a33 * b3
    for k in range(whole, depth):
        for i in range(rows):
            a0 = a[i, k]
            for j in range(width):
                out[i, j] += a0 * b[k, j]
