"""Real spherical harmonics from l = 4 on, and their gradient, by recursion.

Y_lm = N_lm · P_l^(m)(y) · Re or Im (z + i x)^m on the unit sphere, P^(m) the m-th derivative of a
Legendre polynomial: e3nn's polar axis is y, its order is sines (m < 0) before cosines. Below l = 4
`harmonics` has them written out, which is faster. A vector of edges at a time, as there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from accel.evaluator.compilation import step
from accel.evaluator.lanes import load_double, spread, store

FIRST = 4
MAX_ELL = 11
"""What e3nn has."""

_NORM = np.zeros((MAX_ELL + 1, MAX_ELL + 1))
"""[l, m], so that Σ_m Y_lm² = 2 l + 1."""
for _l in range(MAX_ELL + 1):
    for _m in range(_l + 1):
        _ratio = math.factorial(_l - _m) / math.factorial(_l + _m)
        _NORM[_l, _m] = math.sqrt((2 * _l + 1) * _ratio * (2 if _m else 1))


@step
def high_harmonics(x: Any, y: Any, z: Any, max_ell: int, out: Any, at: int, n: int) -> None:
    """Write Y_lm(x, y, z), from l = 4 on, into column `at` of `out` [n_lm, n]."""
    cosine, sine = spread(1.0), 0.0 * x
    diagonal = 1.0
    for m in range(max_ell + 1):
        before, legendre = 0.0 * x, spread(diagonal)
        for ell in range(m, max_ell + 1):
            if ell >= FIRST:
                scaled = _NORM[ell, m] * legendre
                middle = ell * ell + ell
                store(out, at + (middle + m) * n, scaled * cosine)
                if m > 0:
                    store(out, at + (middle - m) * n, scaled * sine)
            part = 1.0 / (ell + 1 - m)
            above = ((2 * ell + 1) * part) * (y * legendre) - ((ell + m) * part) * before
            before, legendre = legendre, above
        cosine, sine = z * cosine - x * sine, z * sine + x * cosine
        diagonal *= 2 * m + 1


@step
def high_gradient(x: Any, y: Any, z: Any, max_ell: int, g: Any, at: int, n: int) -> tuple[Any, Any, Any]:
    """Σ_lm g_lm ∇Y_lm from l = 4 on, of column `at`; the part along (x, y, z) has no meaning."""
    zero = 0.0 * x
    gx = zero
    gy = zero
    gz = zero
    cosine, sine = spread(1.0), zero
    cosine_before, sine_before = zero, zero
    diagonal = 1.0
    for m in range(max_ell + 1):
        before, legendre = zero, spread(diagonal)
        slope_before, slope = zero, zero
        for ell in range(m, max_ell + 1):
            if ell >= FIRST:
                middle = ell * ell + ell
                by_cosine = _NORM[ell, m] * load_double(g, at + (middle + m) * n)
                by_sine = zero
                if m > 0:
                    by_sine = _NORM[ell, m] * load_double(g, at + (middle - m) * n)
                turned = (1.0 * m) * legendre
                gx = gx + turned * (by_sine * cosine_before - by_cosine * sine_before)
                gy = gy + slope * (by_cosine * cosine + by_sine * sine)
                gz = gz + turned * (by_cosine * cosine_before + by_sine * sine_before)
            part = 1.0 / (ell + 1 - m)
            up, down = (2 * ell + 1) * part, (ell + m) * part
            above = up * (y * legendre) - down * before
            slope_above = up * (legendre + y * slope) - down * slope_before
            before, legendre = legendre, above
            slope_before, slope = slope, slope_above
        cosine_before, sine_before = cosine, sine
        cosine, sine = z * cosine - x * sine, z * sine + x * cosine
        diagonal *= 2 * m + 1
    return gx, gy, gz
