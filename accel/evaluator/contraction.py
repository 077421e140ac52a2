"""The symmetric contraction of a block of atoms and its gradient, as a sparse polynomial.

Terms that share an output and their two leading factors form a group. The features carry one more
row, the constant 1, so that linear, quadratic and cubic terms are all products of three, and rows that
are products of two, which a term of fourth order takes as its third factor. One vector
of channels at a time, for all atoms of a block: its coefficients then stay in cache.
"""

from __future__ import annotations

from typing import Any

from accel.evaluator.block import places_to_l3
from accel.evaluator.common_contraction import (
    contract_scalars,
    contract_vectors,
    reverse_scalars,
    reverse_vectors,
)
from accel.evaluator.compilation import inlined, step
from accel.evaluator.lanes import fma, lanes_of, load, nothing, spread, store


@inlined
def _take(layer: Any, x: Any, j: int, atoms: int, i: int, n_l: int, channels: int, out: Any) -> None:
    """One vector of every component of atom `i`; below them a row of ones, and products of rows."""
    lanes = lanes_of(x)
    for ell in range(n_l):
        row = (atoms * ell * ell + i * (2 * ell + 1)) * channels + j
        for m in range(2 * ell + 1):
            store(out, (ell * ell + m) * lanes, load(x, row + m * channels))
    ones = n_l * n_l
    store(out, ones * lanes, spread(x.dtype.type(1)))
    for p in range(len(layer.product_a)):
        product = load(out, layer.product_a[p] * lanes) * load(out, layer.product_b[p] * lanes)
        store(out, (ones + 1 + p) * lanes, product)


@step
def contract(layer: Any, element: int, atoms: int, x: Any, scratch: Any, out: Any) -> None:
    """`out[M] = Σ coefficients · x_a x_b x_d`, channel by channel.

    Args:
        layer: `packing.PackedLayer`.
        element: Of the block.
        atoms: In the block.
        x: The block's messages by l.
        scratch: A vector for every component, for ones and for products.
        out: The block's outputs by l.
    """
    if layer.common:
        _contract_common(layer, element, atoms, x, out)
        return
    lanes = lanes_of(x)
    channels = layer.channels
    n_l = len(layer.l_paths)
    n_terms = len(layer.term_d)
    for j in range(0, channels, lanes):
        of = (element * channels + j) * n_terms
        for i in range(atoms):
            _take(layer, x, j, atoms, i, n_l, channels, scratch)
            ell = 0
            for m in range(layer.n_out):
                while m >= (ell + 1) * (ell + 1):
                    ell += 1
                total = nothing(x)
                for g in range(layer.out_first[m], layer.out_first[m + 1]):
                    inner = nothing(x)
                    for t in range(layer.group_first[g], layer.group_first[g + 1]):
                        inner = fma(
                            load(layer.coefficients, of + t * lanes),
                            load(scratch, layer.term_d[t] * lanes),
                            inner,
                        )
                    pair = load(scratch, layer.group_a[g] * lanes) * load(scratch, layer.group_b[g] * lanes)
                    total = fma(inner, pair, total)
                row = atoms * ell * ell + i * (2 * ell + 1) + m - ell * ell
                store(out, row * channels + j, total)


@step
def _contract_common(layer: Any, element: int, atoms: int, x: Any, out: Any) -> None:
    """`contract` of a polynomial that is written out."""
    lanes = lanes_of(x)
    channels = layer.channels
    for j in range(0, channels, lanes // 2):
        of = (element * channels + j - j % lanes) * len(layer.term_d) + j % lanes
        for i in range(atoms):
            places = places_to_l3(atoms, i, channels, j)
            if layer.common == 1:
                contract_scalars(layer.coefficients, of, x, places, out, places[:2], channels)
            else:
                contract_vectors(layer.coefficients, of, x, places, out, places[:2], channels)


@step
def _reverse_common(layer: Any, element: int, atoms: int, x: Any, g_out: Any, g_x: Any) -> None:
    """`contract_reverse` of a polynomial that is written out."""
    lanes = lanes_of(x)
    channels = layer.channels
    for j in range(0, channels, lanes // 2):
        of = (element * channels + j - j % lanes) * len(layer.term_d) + j % lanes
        for i in range(atoms):
            places = places_to_l3(atoms, i, channels, j)
            if layer.common == 1:
                reverse_scalars(layer.coefficients, of, x, places, g_out, places[:2], g_x, channels)
            else:
                reverse_vectors(layer.coefficients, of, x, places, g_out, places[:2], g_x, channels)


@step
def contract_reverse(
    layer: Any,
    element: int,
    atoms: int,
    x: Any,
    g_out: Any,
    scratch: Any,
    g_scratch: Any,
    g_x: Any,
) -> None:
    """Gradient of Σ_M g_out[M] · out[M] by `x`, into `g_x`, as `contract` holds its arrays."""
    if layer.common:
        _reverse_common(layer, element, atoms, x, g_out, g_x)
        return
    lanes = lanes_of(x)
    channels = layer.channels
    n_l = len(layer.l_paths)
    n_terms = len(layer.term_d)
    for j in range(0, channels, lanes):
        of = (element * channels + j) * n_terms
        for i in range(atoms):
            _take(layer, x, j, atoms, i, n_l, channels, scratch)
            n_products = len(layer.product_a)
            for lm in range(n_l * n_l + 1 + n_products):
                store(g_scratch, lm * lanes, nothing(x))
            ell = 0
            for m in range(layer.n_out):
                while m >= (ell + 1) * (ell + 1):
                    ell += 1
                row = atoms * ell * ell + i * (2 * ell + 1) + m - ell * ell
                _reverse_output(layer, m, of, load(g_out, row * channels + j), scratch, g_scratch)
            for p in range(n_products):
                a = layer.product_a[p] * lanes
                b = layer.product_b[p] * lanes
                g_product = load(g_scratch, (n_l * n_l + 1 + p) * lanes)
                store(g_scratch, a, fma(g_product, load(scratch, b), load(g_scratch, a)))
                store(g_scratch, b, fma(g_product, load(scratch, a), load(g_scratch, b)))
            for ell in range(n_l):
                row = (atoms * ell * ell + i * (2 * ell + 1)) * channels + j
                for m in range(2 * ell + 1):
                    store(g_x, row + m * channels, load(g_scratch, (ell * ell + m) * lanes))


@inlined
def _reverse_output(layer: Any, m: int, of: int, g_out: Any, x: Any, g_x: Any) -> None:
    """Add the gradient through output `m` to `g_x`."""
    lanes = lanes_of(x)
    for g in range(layer.out_first[m], layer.out_first[m + 1]):
        a = layer.group_a[g] * lanes
        b = layer.group_b[g] * lanes
        by_third = g_out * load(x, a) * load(x, b)
        inner = nothing(x)
        for t in range(layer.group_first[g], layer.group_first[g + 1]):
            d = layer.term_d[t] * lanes
            factor = load(layer.coefficients, of + t * lanes)
            inner = fma(factor, load(x, d), inner)
            store(g_x, d, fma(factor, by_third, load(g_x, d)))
        by_pair = g_out * inner
        store(g_x, a, fma(by_pair, load(x, b), load(g_x, a)))
        store(g_x, b, fma(by_pair, load(x, a), load(g_x, b)))
