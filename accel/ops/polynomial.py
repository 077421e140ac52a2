"""The symmetric contraction as a sparse polynomial, which is what makes it cheap.

mace-torch contracts dense tensors U[M, i1, …, iν, k] with weights and with ν copies of the features
(Batatia et al., NeurIPS 2022, eqs. 10 and 11). The features commute, so only the sum of U over the
permutations of (i1, …, iν) matters, and of the (l_max + 1)^2ν entries a few hundred monomials survive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

_NEGLIGIBLE = 1e-12
"""Clebsch-Gordan sums below this fraction of the largest are rounding noise, not coefficients."""


@dataclass(frozen=True, slots=True)
class SparsePolynomial:
    """out[M, c] = Σ_t [out_t = M] coefficients[e, t, c] · Π x[factors_t, c] for an atom of element e."""

    n_lm: int
    """Components of the input; the index `n_lm` in `factors` stands for the constant 1."""
    n_out: int
    """Components of the output, all output irreps in order."""
    degree: int
    """Factors a monomial has, the constant included."""
    factors: NDArray[np.int64]
    """[n_terms, degree], ascending in every row."""
    out: NDArray[np.int64]
    """[n_terms], the output component that a term adds to."""
    coefficients: NDArray[np.float64]
    """[n_elements, n_terms, n_channels]."""


def symmetric_terms(coupling: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Monomials that survive when a coupling tensor is summed over permutations of its factors.

    Args:
        coupling: [n_out, n_lm, …, n_lm, n_paths], ν axes of n_lm.

    Returns:
        Rows (out, i1 ≤ … ≤ iν) [n_terms, 1 + ν], and their weights on the paths [n_terms, n_paths].
    """
    n_paths = coupling.shape[-1]
    where = np.argwhere(np.abs(coupling).max(axis=-1) > 0)
    if len(where) == 0:
        return np.zeros((0, coupling.ndim - 1), dtype=np.int64), np.zeros((0, n_paths))
    values = coupling[tuple(where.T)]
    keys = np.concatenate([where[:, :1], np.sort(where[:, 1:], axis=1)], axis=1)
    rows, inverse = np.unique(keys, axis=0, return_inverse=True)
    sums = np.zeros((len(rows), n_paths))
    np.add.at(sums, inverse.reshape(-1), values)
    kept = np.abs(sums).max(axis=1) > _NEGLIGIBLE * np.abs(values).max()
    return rows[kept].astype(np.int64), sums[kept]


def weights_by_order(contraction: Any) -> list[Tensor]:
    """Weights of a `SymmetricContraction`, output by output, from the linear terms up."""
    return [
        part.weights_max if order == part.correlation else part.weights[part.correlation - 1 - order]
        for part in contraction.contractions
        for order in range(1, part.correlation + 1)
    ]


def terms_by_order(
    contraction: Any,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """Terms of a `SymmetricContraction`, in the order of `weights_by_order`.

    Yields:
        Factors [n_terms, degree] padded with `n_lm`, outputs [n_terms], weights on paths [n_terms, n_paths].
    """
    n_lm = sum(irrep.ir.dim for irrep in contraction.irreps_in)
    degree = max(part.correlation for part in contraction.contractions)
    offset = 0
    for part, irrep in zip(contraction.contractions, contraction.irreps_out, strict=True):
        dim = irrep.ir.dim
        for order in range(1, part.correlation + 1):
            coupling = part.U_tensors(order).detach().double().cpu().numpy()
            # Scalars come without the axis of the output component.
            coupling = coupling.reshape((dim,) + (n_lm,) * order + (coupling.shape[-1],))
            rows, on_paths = symmetric_terms(coupling)
            factors = np.full((len(rows), degree), n_lm, dtype=np.int64)
            factors[:, :order] = rows[:, 1:]
            yield factors, rows[:, 0] + offset, on_paths
        offset += dim


def from_symmetric_contraction(contraction: Any) -> SparsePolynomial:
    """Read mace-torch's `SymmetricContraction` into a sparse polynomial, weights as they are now."""
    terms = list(terms_by_order(contraction))
    factors = np.concatenate([each for each, _, _ in terms])
    outs = np.concatenate([each for _, each, _ in terms])
    coefficients = [
        np.einsum("tk,ekc->etc", on_paths, weight.detach().double().cpu().numpy())
        for (_, _, on_paths), weight in zip(terms, weights_by_order(contraction), strict=True)
    ]
    # Neighbours share their leading product.
    order = np.lexsort((outs, *factors.T[::-1]))
    return SparsePolynomial(
        n_lm=sum(irrep.ir.dim for irrep in contraction.irreps_in),
        n_out=sum(irrep.ir.dim for irrep in contraction.irreps_out),
        degree=factors.shape[1],
        factors=factors[order],
        out=outs[order],
        coefficients=np.concatenate(coefficients, axis=1)[:, order],
    )
