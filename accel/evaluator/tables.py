"""The arrays that kernels read, built from an extracted model for the elements present."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from accel.evaluator.density import Density, density_of
from accel.evaluator.readout import GATES, Readout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from accel.evaluator.extraction import Extracted, Layer, Matrices
    from accel.evaluator.gated import Gated
    from accel.evaluator.radial import RadialTables
    from accel.ops.polynomial import SparsePolynomial


class Convolution(NamedTuple):
    """Which entries of an edge's matrix a row of the message takes; rows by l, then m, then path."""

    row_path: Any
    """[n_rows], int64."""
    row_first: Any
    """[n_rows + 1], int64; entries of a row."""
    entry_in: Any
    """[n_entries], int64; component of the sender."""
    entry_first: Any
    """[n_entries + 1], int64; couplings of an entry."""
    coupling_lm: Any
    """[n_couplings], int64; component of the harmonics."""
    coupling: Any
    """[n_couplings]."""


class Polynomial(NamedTuple):
    """Terms of the contraction, grouped by their two leading factors.

    A term has three factors. Terms of fourth order take a product of two components as their third:
    the features carry such products as rows after the one of ones.
    """

    product_a: Any
    """[n_products], int64; may be empty."""
    product_b: Any

    group_a: Any
    group_b: Any
    group_first: Any
    """[n_groups + 1], int64; terms of a group."""
    term_d: Any
    term_out: Any


class LayerArrays(NamedTuple):
    """One layer as kernels read it. `_t` marks the transpose that the reverse pass multiplies by."""

    conv: Convolution
    table: Any
    """[n_data · n_knots, n_paths · n_edge_channels], for one pair of elements after the other."""
    density: Density
    gated: Gated | None
    """In fp64."""
    l_paths: Any
    """[n_l], int64; paths that end in l."""
    linear: Any
    """[1 or n_elements, Σ_l n_paths · n_edge_channels, n_channels]."""
    linear_t: Any
    """[1 or n_elements, n_channels · Σ_l n_paths · n_edge_channels], by l."""
    poly: Polynomial
    coefficients: Any
    """[n_elements, n_terms, n_channels]."""
    product: Any
    """[n_l_out, n_channels, n_channels]."""
    product_t: Any
    residual: Any
    """[n_elements, n_l_residual, n_channels, n_channels]; n_l_residual may be 0."""
    residual_t: Any
    up: Any
    """[n_l_in, n_channels, n_edge_channels], of this layer."""
    up_t: Any
    readout: Any
    """[n_channels, n_hidden]; n_hidden is 0 without readout."""
    readout_middle: Any
    """[n_hidden + 1, n_hidden], the last row a bias; empty without a second hidden layer."""
    readout_second: Any
    """[n_hidden]; empty where the readout is linear."""
    readout_bias: float
    gate: int
    """Which of `readout.GATES`."""
    gate_scale: float


def layer_arrays(
    extracted: Extracted, index: int, elements: NDArray[np.int64], dtype: Any, tables: RadialTables
) -> LayerArrays:
    """Arrays of one layer, in the working precision.

    Args:
        extracted: The model.
        index: Which layer.
        elements: Indices into the model's of those that are present.
        dtype: Working precision.
        tables: Of this layer.
    """
    layer = extracted.layers[index]
    n_l = 1 + max(path.l_out for path in layer.paths)
    linear = _linear(layer, elements)
    residual = (
        np.array([[layer.residual[e][ell] for ell in range(len(layer.residual[0]))] for e in elements])
        if (layer.residual)
        else np.zeros((len(elements), 0, 1, 1))
    )
    readout = layer.readout or Readout(np.zeros((extracted.n_channels, 0)))
    l_paths = np.array([sum(p.l_out == ell for p in layer.paths) for ell in range(n_l)], dtype=np.int64)
    channels = layer.up[0].shape[1]
    bounds = np.concatenate([[0], np.cumsum(l_paths * channels)])
    transposed = np.stack(
        [np.concatenate([m[bounds[i] : bounds[i + 1]].T.reshape(-1) for i in range(n_l)]) for m in linear]
    )
    poly, coefficients = _polynomial(layer.polynomial, elements)

    def cast(array: Any) -> Any:
        return np.ascontiguousarray(array, dtype=dtype)

    return LayerArrays(
        conv=_convolution(layer, dtype),
        table=cast(_in_row_order(tables.weights, layer, channels)),
        density=density_of(tables.density, layer.density or (1.0, 0.0), dtype),
        gated=layer.gated,
        l_paths=l_paths,
        linear=cast(linear),
        linear_t=cast(transposed),
        poly=poly,
        coefficients=cast(coefficients),
        product=cast(np.stack(layer.product)),
        product_t=cast(np.stack([m.T for m in layer.product])),
        residual=cast(residual),
        residual_t=cast(np.swapaxes(residual, 2, 3)),
        up=cast(np.stack(layer.up)),
        up_t=cast(np.stack([m.T for m in layer.up])),
        readout=cast(readout.first),
        readout_middle=cast(np.zeros((0, 0)) if readout.middle is None else readout.middle),
        readout_second=cast(np.zeros(0) if readout.second is None else readout.second),
        readout_bias=readout.bias,
        gate=GATES.index(readout.gate),
        gate_scale=readout.gate_scale,
    )


def _in_row_order(table: NDArray[np.float64], layer: Layer, channels: int) -> NDArray[np.float64]:
    """Knot data as rows; paths are sorted by l_out already, as rows are."""
    if table.shape[3] != len(layer.paths) * channels:
        raise AssertionError("a path has as many radial weights as channels")
    return table.reshape(-1, table.shape[3])


def _linear(layer: Layer, elements: NDArray[np.int64]) -> NDArray[np.float64]:
    """The message's linear layer, with the product by the receiver's element folded in."""
    if layer.message_skip is None:
        return np.concatenate(layer.linear)[None]

    def folded(skip: Matrices) -> NDArray[np.float64]:
        return np.concatenate([m @ s for m, s in zip(layer.linear, skip, strict=True)])

    return np.stack([folded(layer.message_skip[e]) for e in elements])


def _convolution(layer: Layer, dtype: Any) -> Convolution:
    """Rows, entries and couplings of a layer's paths."""
    row_path, row_first, entry_in, entry_first = [], [0], [], [0]
    coupling_lm: list[int] = []
    coupling: list[float] = []
    numbered = list(enumerate(layer.paths))
    for l_out in range(1 + max(p.l_out for p in layer.paths)):
        for m_out in range(2 * l_out + 1):
            for number, path in numbered:
                if path.l_out != l_out:
                    continue
                row_path.append(number)
                for m_in in range(2 * path.l_in + 1):
                    column = path.coupling[m_in, :, m_out]
                    (nonzero,) = np.nonzero(np.abs(column) > 1e-12)
                    if len(nonzero) == 0:
                        continue
                    entry_in.append(path.l_in**2 + m_in)
                    coupling_lm.extend(path.l_edge**2 + nonzero)
                    coupling.extend(column[nonzero])
                    entry_first.append(len(coupling))
                row_first.append(len(entry_in))
    return Convolution(
        row_path=np.array(row_path, dtype=np.int64),
        row_first=np.array(row_first, dtype=np.int64),
        entry_in=np.array(entry_in, dtype=np.int64),
        entry_first=np.array(entry_first, dtype=np.int64),
        coupling_lm=np.array(coupling_lm, dtype=np.int64),
        coupling=np.array(coupling, dtype=dtype),
    )


def _polynomial(
    poly: SparsePolynomial, elements: NDArray[np.int64]
) -> tuple[Polynomial, NDArray[np.float64]]:
    """Groups and terms, every term padded with ones to four factors, the last two as one row."""
    ones = poly.n_lm
    factors = np.full((len(poly.factors), 4), ones, dtype=np.int64)
    factors[:, : poly.degree] = poly.factors
    starts = [0] + [t for t in range(1, len(factors)) if tuple(factors[t, :2]) != tuple(factors[t - 1, :2])]
    real = factors[:, 3] < ones
    products, number = np.unique(factors[real, 2:], axis=0, return_inverse=True)
    third = factors[:, 2].copy()
    third[real] = ones + 1 + number.reshape(-1)
    return (
        Polynomial(
            product_a=products[:, 0].copy(),
            product_b=products[:, 1].copy(),
            group_a=factors[starts, 0].copy(),
            group_b=factors[starts, 1].copy(),
            group_first=np.array([*starts, len(factors)], dtype=np.int64),
            term_d=third,
            term_out=poly.out.copy(),
        ),
        poly.coefficients[elements if poly.coefficients.shape[0] > 1 else np.zeros_like(elements)],
    )
