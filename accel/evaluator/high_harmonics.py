"""Real spherical harmonics from l = 4 on, and their gradient, by recursion.

Y_lm = N_lm · P_l^(m)(y) · Re or Im (z + i x)^m on the unit sphere, P^(m) the m-th derivative of a
Legendre polynomial: e3nn's polar axis is y, its order is sines (m < 0) before cosines. Below l = 4
`harmonics` has them written out, which is faster.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from accel.evaluator.compilation import kernel

FIRST = 4
MAX_ELL = 11
"""What e3nn has."""

_NORM = np.zeros((MAX_ELL + 1, MAX_ELL + 1))
"""[l, m], so that Σ_m Y_lm² = 2 l + 1."""
for _l in range(MAX_ELL + 1):
    for _m in range(_l + 1):
        _ratio = math.factorial(_l - _m) / math.factorial(_l + _m)
        _NORM[_l, _m] = math.sqrt((2 * _l + 1) * _ratio * (2 if _m else 1))


@kernel
def high_harmonics(x: float, y: float, z: float, max_ell: int, out: Any, edge: int) -> None:
    """Write Y_lm(x, y, z), from l = 4 on, into `out[edge]`."""
    cosine, sine = 1.0, 0.0
    diagonal = 1.0
    for m in range(max_ell + 1):
        before, legendre = 0.0, diagonal
        for ell in range(m, max_ell + 1):
            if ell >= FIRST:
                scaled = _NORM[ell, m] * legendre
                middle = ell * ell + ell
                out[edge, middle + m] = scaled * cosine
                if m > 0:
                    out[edge, middle - m] = scaled * sine
            above = ((2 * ell + 1) * y * legendre - (ell + m) * before) / (ell + 1 - m)
            before, legendre = legendre, above
        cosine, sine = z * cosine - x * sine, z * sine + x * cosine
        diagonal *= 2 * m + 1


@kernel
def high_gradient(x: float, y: float, z: float, max_ell: int, g: Any) -> tuple[float, float, float]:
    """Σ_lm g_lm ∇Y_lm from l = 4 on; the part along (x, y, z) has no meaning."""
    gx = 0.0
    gy = 0.0
    gz = 0.0
    cosine, sine = 1.0, 0.0
    cosine_before, sine_before = 0.0, 0.0
    diagonal = 1.0
    for m in range(max_ell + 1):
        before, legendre = 0.0, diagonal
        slope_before, slope = 0.0, 0.0
        for ell in range(m, max_ell + 1):
            if ell >= FIRST:
                middle = ell * ell + ell
                by_cosine = _NORM[ell, m] * g[middle + m]
                by_sine = _NORM[ell, m] * g[middle - m] if m > 0 else 0.0
                gx += m * legendre * (by_sine * cosine_before - by_cosine * sine_before)
                gy += slope * (by_cosine * cosine + by_sine * sine)
                gz += m * legendre * (by_cosine * cosine_before + by_sine * sine_before)
            above = ((2 * ell + 1) * y * legendre - (ell + m) * before) / (ell + 1 - m)
            slope_above = ((2 * ell + 1) * (legendre + y * slope) - (ell + m) * slope_before) / (ell + 1 - m)
            before, legendre = legendre, above
            slope_before, slope = slope, slope_above
        cosine_before, sine_before = cosine, sine
        cosine, sine = z * cosine - x * sine, z * sine + x * cosine
        diagonal *= 2 * m + 1
    return gx, gy, gz
