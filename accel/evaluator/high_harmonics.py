"""Real spherical harmonics from l = 4 on, and their gradient, by recursion.

Y_lm = N_lm · P_l^(m)(y) · Re or Im (z + i x)^m on the unit sphere, P^(m) the m-th derivative of a
Legendre polynomial: e3nn's polar axis is y, its order is sines (m < 0) before cosines. Below l = 4
`harmonics` has them written out, which is faster.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from accel.evaluator.compilation import inlined, step
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
    zero = 0.0 * x
    cosine, sine = spread(1.0), zero
    diagonal = 1.0
    for m in range(max_ell + 1):
        before, legendre = zero, spread(diagonal)
        for ell in range(m, max_ell + 1):
            if ell >= FIRST:
                scaled = _NORM[ell, m] * legendre
                middle = ell * ell + ell
                store(out, at + (middle + m) * n, scaled * cosine)
                if m > 0:
                    store(out, at + (middle - m) * n, scaled * sine)
            before, legendre = legendre, _next(ell, m, y * legendre, before)
        cosine, sine = z * cosine - x * sine, z * sine + x * cosine
        diagonal *= 2.0 * m + 1.0


@inlined
def _next(ell: int, m: int, here: Any, before: Any) -> Any:
    """Bonnet's recursion: l + 1 from `here`, y times that of l, and from l - 1."""
    scale = 1.0 / (ell + 1 - m)
    return (2 * ell + 1) * scale * here - (ell + m) * scale * before


@step
def high_gradient(x: Any, y: Any, z: Any, max_ell: int, g: Any, at: int, n: int) -> tuple[Any, Any, Any]:
    """Σ_lm g_lm ∇Y_lm of column `at` of `g` [n_lm, n], from l = 4 on.

    The part along (x, y, z) has no meaning.
    """
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
                steep = np.float64(m) * legendre
                gx = gx + steep * (by_sine * cosine_before - by_cosine * sine_before)
                gy = gy + slope * (by_cosine * cosine + by_sine * sine)
                gz = gz + steep * (by_cosine * cosine_before + by_sine * sine_before)
            slope_before, slope = slope, _next(ell, m, legendre + y * slope, slope_before)
            before, legendre = legendre, _next(ell, m, y * legendre, before)
        cosine_before, sine_before = cosine, sine
        cosine, sine = z * cosine - x * sine, z * sine + x * cosine
        diagonal *= 2.0 * m + 1.0
    return gx, gy, gz
