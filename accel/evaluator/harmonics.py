"""Real spherical harmonics in e3nn's order and `component` normalisation, and their gradient.

Written for a unit vector (x, y, z); e3nn's polar axis is y.
"""

from __future__ import annotations

import math
from typing import Any

from accel.evaluator.compilation import kernel
from accel.evaluator.high_harmonics import high_gradient, high_harmonics

_S3 = math.sqrt(3.0)
_S15 = math.sqrt(15.0)
_S5 = math.sqrt(5.0)
_H15 = 0.5 * math.sqrt(15.0)
_A = math.sqrt(7.0) * math.sqrt(5.0 / 8.0)
_B = math.sqrt(7.0) * math.sqrt(15.0)
_C = math.sqrt(7.0) * math.sqrt(3.0 / 8.0)
_D = 0.5 * math.sqrt(7.0)
_E = 0.5 * _B


@kernel
def harmonics(x: float, y: float, z: float, max_ell: int, out: Any, edge: int) -> None:
    """Write Y_lm(x, y, z) into `out[edge]`, in order of l and then m."""
    out[edge, 0] = 1.0
    if max_ell >= 1:
        out[edge, 1] = _S3 * x
        out[edge, 2] = _S3 * y
        out[edge, 3] = _S3 * z
    if max_ell >= 2:
        out[edge, 4] = _S15 * x * z
        out[edge, 5] = _S15 * x * y
        out[edge, 6] = _S5 * (y * y - 0.5 * (x * x + z * z))
        out[edge, 7] = _S15 * y * z
        out[edge, 8] = _H15 * (z * z - x * x)
    if max_ell >= 3:
        out[edge, 9] = _A * (3.0 * z * z - x * x) * x
        out[edge, 10] = _B * x * y * z
        out[edge, 11] = _C * (4.0 * y * y - x * x - z * z) * x
        out[edge, 12] = _D * y * (2.0 * y * y - 3.0 * x * x - 3.0 * z * z)
        out[edge, 13] = _C * (4.0 * y * y - x * x - z * z) * z
        out[edge, 14] = _E * (z * z - x * x) * y
        out[edge, 15] = _A * (z * z - 3.0 * x * x) * z
    if max_ell >= 4:
        high_harmonics(x, y, z, max_ell, out, edge)


@kernel
def harmonics_gradient(x: float, y: float, z: float, max_ell: int, g: Any) -> tuple[float, float, float]:
    """Σ_lm g_lm ∇Y_lm, but for what is along (x, y, z).

    The caller projects out the part along (x, y, z) and divides by the distance.
    """
    gx = 0.0
    gy = 0.0
    gz = 0.0
    if max_ell >= 1:
        gx += _S3 * g[1]
        gy += _S3 * g[2]
        gz += _S3 * g[3]
    if max_ell >= 2:
        gx += _S15 * (z * g[4] + y * g[5]) - _S5 * x * g[6] - 2.0 * _H15 * x * g[8]
        gy += _S15 * (x * g[5] + z * g[7]) + 2.0 * _S5 * y * g[6]
        gz += _S15 * (x * g[4] + y * g[7]) - _S5 * z * g[6] + 2.0 * _H15 * z * g[8]
    if max_ell >= 3:
        xx = x * x
        yy = y * y
        zz = z * z
        gx += 3.0 * _A * (zz - xx) * g[9] + _B * y * z * g[10] + _C * (4.0 * yy - 3.0 * xx - zz) * g[11]
        gx += (
            -6.0 * _D * x * y * g[12]
            - 2.0 * _C * x * z * g[13]
            - 2.0 * _E * x * y * g[14]
            - 6.0 * _A * x * z * g[15]
        )
        gy += _B * x * z * g[10] + 8.0 * _C * x * y * g[11] + 3.0 * _D * (2.0 * yy - xx - zz) * g[12]
        gy += 8.0 * _C * y * z * g[13] + _E * (zz - xx) * g[14]
        gz += (
            6.0 * _A * x * z * g[9] + _B * x * y * g[10] - 2.0 * _C * x * z * g[11] - 6.0 * _D * y * z * g[12]
        )
        gz += (
            _C * (4.0 * yy - xx - 3.0 * zz) * g[13] + 2.0 * _E * y * z * g[14] + 3.0 * _A * (zz - xx) * g[15]
        )
    if max_ell >= 4:
        hx, hy, hz = high_gradient(x, y, z, max_ell, g)
        gx += hx
        gy += hy
        gz += hz
    return gx, gy, gz
