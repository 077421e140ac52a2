"""Real spherical harmonics in e3nn's order and `component` normalisation, and their gradient.

Written for unit vectors (x, y, z), a vector of edges at a time; e3nn's polar axis is y. In arrays of
harmonics a component is a row over edges.
"""

from __future__ import annotations

import math
from typing import Any

from accel.evaluator.compilation import inlined
from accel.evaluator.high_harmonics import high_gradient, high_harmonics
from accel.evaluator.lanes import load_double, spread, store

_S3 = math.sqrt(3.0)
_S15 = math.sqrt(15.0)
_S5 = math.sqrt(5.0)
_H15 = 0.5 * math.sqrt(15.0)
_A = math.sqrt(7.0) * math.sqrt(5.0 / 8.0)
_B = math.sqrt(7.0) * math.sqrt(15.0)
_C = math.sqrt(7.0) * math.sqrt(3.0 / 8.0)
_D = 0.5 * math.sqrt(7.0)
_E = 0.5 * _B


@inlined
def harmonics(x: Any, y: Any, z: Any, max_ell: int, out: Any, at: int, n: int) -> None:
    """Write Y_lm(x, y, z) into column `at` of `out` [n_lm, n], in order of l and then m."""
    store(out, at, spread(1.0))
    if max_ell >= 1:
        store(out, at + n, _S3 * x)
        store(out, at + 2 * n, _S3 * y)
        store(out, at + 3 * n, _S3 * z)
    if max_ell >= 2:
        store(out, at + 4 * n, _S15 * x * z)
        store(out, at + 5 * n, _S15 * x * y)
        store(out, at + 6 * n, _S5 * (y * y - 0.5 * (x * x + z * z)))
        store(out, at + 7 * n, _S15 * y * z)
        store(out, at + 8 * n, _H15 * (z * z - x * x))
    if max_ell >= 3:
        store(out, at + 9 * n, _A * (3.0 * z * z - x * x) * x)
        store(out, at + 10 * n, _B * x * y * z)
        store(out, at + 11 * n, _C * (4.0 * y * y - x * x - z * z) * x)
        store(out, at + 12 * n, _D * y * (2.0 * y * y - 3.0 * x * x - 3.0 * z * z))
        store(out, at + 13 * n, _C * (4.0 * y * y - x * x - z * z) * z)
        store(out, at + 14 * n, _E * (z * z - x * x) * y)
        store(out, at + 15 * n, _A * (z * z - 3.0 * x * x) * z)
    if max_ell >= 4:
        high_harmonics(x, y, z, max_ell, out, at, n)


@inlined
def harmonics_gradient(x: Any, y: Any, z: Any, max_ell: int, g: Any, at: int, n: int) -> tuple[Any, Any, Any]:
    """Σ_lm g_lm ∇Y_lm of column `at` of `g` [n_lm, n], but for what is along (x, y, z).

    The caller projects out the part along (x, y, z) and divides by the distance.
    """
    zero = 0.0 * x
    gx = zero
    gy = zero
    gz = zero
    if max_ell >= 1:
        gx = gx + _S3 * load_double(g, at + n)
        gy = gy + _S3 * load_double(g, at + 2 * n)
        gz = gz + _S3 * load_double(g, at + 3 * n)
    if max_ell >= 2:
        g4 = _S15 * load_double(g, at + 4 * n)
        g5 = _S15 * load_double(g, at + 5 * n)
        g6 = _S5 * load_double(g, at + 6 * n)
        g7 = _S15 * load_double(g, at + 7 * n)
        g8 = (2.0 * _H15) * load_double(g, at + 8 * n)
        gx = gx + z * g4 + y * g5 - x * g6 - x * g8
        gy = gy + x * g5 + z * g7 + 2.0 * y * g6
        gz = gz + x * g4 + y * g7 - z * g6 + z * g8
    if max_ell >= 3:
        xx = x * x
        yy = y * y
        zz = z * z
        g9 = (3.0 * _A) * load_double(g, at + 9 * n)
        g10 = _B * load_double(g, at + 10 * n)
        g11 = _C * load_double(g, at + 11 * n)
        g12 = (3.0 * _D) * load_double(g, at + 12 * n)
        g13 = _C * load_double(g, at + 13 * n)
        g14 = _E * load_double(g, at + 14 * n)
        g15 = (3.0 * _A) * load_double(g, at + 15 * n)
        gx = gx + (zz - xx) * g9 + y * z * g10 + (4.0 * yy - 3.0 * xx - zz) * g11
        gx = gx - 2.0 * x * (y * g12 + z * g13 + y * g14 + z * g15)
        gy = gy + x * z * g10 + 8.0 * y * (x * g11 + z * g13) + (2.0 * yy - xx - zz) * g12
        gy = gy + (zz - xx) * g14
        gz = gz + 2.0 * z * (x * g9 - x * g11 - y * g12 + y * g14) + x * y * g10
        gz = gz + (4.0 * yy - xx - 3.0 * zz) * g13 + (zz - xx) * g15
    if max_ell >= 4:
        hx, hy, hz = high_gradient(x, y, z, max_ell, g, at, n)
        gx = gx + hx
        gy = gy + hy
        gz = gz + hz
    return gx, gy, gz
