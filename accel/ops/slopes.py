"""The symmetric contraction through its slopes: a matrix product for each element and channel.

With the constant 1 as one more component, x̃ = (x, 1), an output P of correlation ν is homogeneous of degree
ν, and by Euler's theorem ν P = Σ_q x̃_q ∂P/∂x̃_q. Its slopes are products of ν - 1 components times
coefficients that an element and a channel share over all atoms, which is a matrix product. So value and
gradient cost one such product, and the reverse pass is left with a sum over outputs.

Components of the harmonics change sign under reflections, so the products of a slope are few and the
matrix falls apart into blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Terms = Sequence[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]


@dataclass(frozen=True, slots=True)
class SlopeTerms:
    """Which products of components each slope of a polynomial is made of."""

    degree: int
    """ν."""
    products: NDArray[np.int64]
    """[max(ν - 1, 1), n_products]: components multiplied, the last index standing for the constant 1."""
    slopes: NDArray[np.int64]
    """[n_out · (n_lm + 1)], where the slope of output o by component q is found, by o and then q."""
    blocks: tuple[tuple[int, int], ...]
    """Of each block of the matrix, slopes and products; they follow each other in both."""
    coupling: NDArray[np.float64]
    """[n_paths, Σ slopes · products], from weights to blocks."""


def slope_terms(terms: Terms, n_lm: int, n_out: int) -> SlopeTerms:
    """Slopes of a polynomial whose terms are those of `terms_by_order`."""
    degree = terms[0][0].shape[1]
    offsets = np.cumsum([0, *(on_paths.shape[1] for _, _, on_paths in terms)])
    found: dict[tuple[tuple[int, ...], int], tuple[int, NDArray[np.float64]]] = {}
    for offset, (factors, outs, on_paths) in zip(offsets, terms, strict=False):
        for factor, out, weights in zip(factors.tolist(), outs.tolist(), on_paths, strict=True):
            for q in set(factor):
                rest = list(factor)
                rest.remove(q)
                # Correlation 1 has slopes that are constants, which are products of one factor here.
                key = (tuple(rest) or (n_lm,), out * (n_lm + 1) + q)
                found[key] = (int(offset), factor.count(q) * weights)
    products = sorted({product for product, _ in found} | {(n_lm,) * max(degree - 1, 1)})
    number = {product: index for index, product in enumerate(products)}
    n_slopes = n_out * (n_lm + 1)
    rows = np.array([slope for _, slope in found], dtype=np.int64)
    columns = np.array([number[product] for product, _ in found], dtype=np.int64)
    slope_block, product_block = _blocks(rows, columns, n_slopes, len(products))
    by_slope, by_product = np.argsort(slope_block, kind="stable"), np.argsort(product_block, kind="stable")
    n_blocks = int(product_block.max()) + 1
    blocks = tuple((int((slope_block == b).sum()), int((product_block == b).sum())) for b in range(n_blocks))
    starts = np.cumsum([0, *(s * p for s, p in blocks)])
    slope_place, product_place = np.argsort(by_slope), np.argsort(by_product)
    first_slope, first_product = (np.cumsum([0, *each])[:-1] for each in zip(*blocks, strict=True))
    coupling = np.zeros((int(offsets[-1]), int(starts[-1])))
    for (row, column), (offset, weights) in zip(zip(rows, columns, strict=True), found.values(), strict=True):
        b = slope_block[row]
        inside = (slope_place[row] - first_slope[b]) * blocks[b][1] + product_place[column] - first_product[b]
        coupling[offset : offset + len(weights), starts[b] + inside] = weights
    return SlopeTerms(degree, np.array(products).T[:, by_product].copy(), slope_place, blocks, coupling)


def _blocks(
    rows: NDArray[np.int64], columns: NDArray[np.int64], n_rows: int, n_columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The block of each row and of each column of a sparse matrix; every block has columns."""
    graph = coo_array((np.ones(len(rows)), (rows, n_rows + columns)), shape=(n_rows + n_columns,) * 2)
    _, label = connected_components(graph, directed=False)
    # A slope without any product goes where it does no harm.
    label[:n_rows][~np.isin(label[:n_rows], label[n_rows:])] = label[n_rows]
    # So does a product without any slope.
    label[n_rows:][~np.isin(label[n_rows:], label[:n_rows])] = label[0]
    _, label = np.unique(label, return_inverse=True)
    return label[:n_rows], label[n_rows:]
