"""The symmetric contraction of one atom and its gradient, as a sparse polynomial.

Terms that share their two leading factors form a group. The features carry one more row, the
constant 1, so that linear, quadratic and cubic terms are all products of three.
"""

from __future__ import annotations

from typing import Any

from accel.evaluator.compilation import kernel


@kernel
def contract(poly: Any, coefficients: Any, x: Any, pair: Any, out: Any) -> None:
    """`out[M] = Σ coefficients · x_a x_b x_d`, channel by channel.

    Args:
        poly: Groups and terms (`passes.Polynomial`).
        coefficients: [n_terms, n_channels] of this atom's element.
        x: [n_lm + 1, n_channels], the last row ones.
        pair: [n_channels], scratch.
        out: [n_out, n_channels].
    """
    n_channels = x.shape[1]
    for m in range(out.shape[0]):
        for c in range(n_channels):
            out[m, c] = 0.0
    for g in range(len(poly.group_a)):
        a = poly.group_a[g]
        b = poly.group_b[g]
        for c in range(n_channels):
            pair[c] = x[a, c] * x[b, c]
        for t in range(poly.group_first[g], poly.group_first[g + 1]):
            d = poly.term_d[t]
            m = poly.term_out[t]
            for c in range(n_channels):
                out[m, c] += coefficients[t, c] * pair[c] * x[d, c]


@kernel
def contract_reverse(
    poly: Any, coefficients: Any, x: Any, g_out: Any, pair: Any, g_pair: Any, g_x: Any
) -> None:
    """Gradient of Σ_M g_out[M] · out[M] with respect to `x`, into `g_x` [n_lm + 1, n_channels]."""
    n_channels = x.shape[1]
    for m in range(g_x.shape[0]):
        for c in range(n_channels):
            g_x[m, c] = 0.0
    for g in range(len(poly.group_a)):
        a = poly.group_a[g]
        b = poly.group_b[g]
        for c in range(n_channels):
            pair[c] = x[a, c] * x[b, c]
            g_pair[c] = 0.0
        for t in range(poly.group_first[g], poly.group_first[g + 1]):
            d = poly.term_d[t]
            m = poly.term_out[t]
            for c in range(n_channels):
                weighted = coefficients[t, c] * g_out[m, c]
                g_pair[c] += weighted * x[d, c]
                g_x[d, c] += weighted * pair[c]
        # Two loops: in one, rows that may coincide would keep the compiler from using vectors.
        for c in range(n_channels):
            g_x[a, c] += g_pair[c] * x[b, c]
        for c in range(n_channels):
            g_x[b, c] += g_pair[c] * x[a, c]


@kernel
def multiply_rows(poly: Any, x: Any) -> None:
    """Fill the rows of `x` that are products of two others, which terms of fourth order take."""
    first = x.shape[0] - len(poly.product_a)
    for p in range(len(poly.product_a)):
        for c in range(x.shape[1]):
            x[first + p, c] = x[poly.product_a[p], c] * x[poly.product_b[p], c]


@kernel
def multiply_rows_reverse(poly: Any, x: Any, g_x: Any) -> None:
    """Hand the gradient by products of rows on to the rows."""
    first = x.shape[0] - len(poly.product_a)
    for p in range(len(poly.product_a)):
        a = poly.product_a[p]
        b = poly.product_b[p]
        for c in range(x.shape[1]):
            g_x[a, c] += g_x[first + p, c] * x[b, c]
        for c in range(x.shape[1]):
            g_x[b, c] += g_x[first + p, c] * x[a, c]
