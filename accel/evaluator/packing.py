"""A layer's arrays as the kernels read them: padded to whole vectors, and in the order of reading.

Channels are padded with zeros, which every step leaves zeros. Matrices are cut into panels of one
vector's columns, radial tables into tiles of one path and one vector of channels: a tile of the fp32
table is small enough for the first-level cache, and a run over many edges stays inside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from accel.evaluator.common_contraction import outputs_with
from accel.evaluator.edge_lanes import KNOT_DATA
from accel.evaluator.gated import GatedArrays
from accel.evaluator.lanes import aligned, padded, width

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from accel.evaluator.density import Density
    from accel.evaluator.tables import Convolution, LayerArrays, Polynomial


class PackedLayer(NamedTuple):
    """One layer. Everything is flat; `_t` marks the transpose that the reverse pass multiplies by."""

    channels: int
    """Of the atoms' features, padded."""
    edge_channels: int
    """Of the messages, padded."""
    n_in: int
    """Components of the senders' features."""
    n_out: int
    """Components of the features that leave the layer."""
    n_kept: int
    """Rows of `channels` that an atom's messages take, with what is before gates (`gated`)."""
    density: Density
    gated: GatedArrays
    n_slots: int
    """Rows of an edge's matrix, all paths together (`path_slot`)."""
    n_knots: int
    scalar: bool
    """Whether senders are scalars and harmonics reach l = 3 (`scalar_convolution`)."""
    path: Any
    """[n_pieces], int64. Registers hold seven sums: a path to a higher l is cut into pieces of 7, 5, 3
    or 1 components of the message, each of which stands here as a path of its own."""
    path_in: Any
    """[n_pieces], int64: l of the sender."""
    path_out: Any
    """[n_pieces], int64: l of the message; paths are sorted by it."""
    path_first: Any
    """[n_pieces], int64: the first component of the message."""
    path_rows: Any
    """[n_pieces], int64: components of the message."""
    path_column: Any
    """[n_pieces], int64: which of the paths with its l_out it is."""
    path_slot: Any
    """[n_pieces], int64. For every component of the sender there are `path_rows` + 1 slots: an entry of the
    edge's matrix for every component of the message, and room for the gradient by the distance."""
    slot_first: Any
    """[n_slots + 1], int64; couplings of a slot."""
    coupling_lm: Any
    """[n_couplings], int64; component of the harmonics."""
    coupling: Any
    """[n_couplings]."""
    table: Any
    """[n_paths, vectors of channels, n_knots, n_data, width]; [vectors of channels, n_knots, n_paths, n_data,
    width] where `scalar`."""
    l_paths: Any
    """[n_l], int64: paths that end in l."""
    linear: Any
    linear_t: Any
    linear_first: Any
    """[n_l + 1], int64: where l begins in the matrices of one element."""
    linear_stride: int
    """From one element to the next in `linear` and `linear_t`; 0 where all share."""
    product_a: Any
    """[n_products], int64: rows that are products of two others follow the row of ones (`tables`)."""
    product_b: Any
    group_a: Any
    group_b: Any
    group_first: Any
    """[n_groups + 1], int64: terms that share an output and two factors."""
    common: int
    """Outputs of a polynomial that is written out (`common_contraction`); 0 for any other."""
    term_d: Any
    """[n_terms], int64: the third factor."""
    out_first: Any
    """[n_out + 1], int64: groups of an output."""
    coefficients: Any
    """[n_elements, vectors of channels, n_terms, width]."""
    n_product: int
    """Values of l, from 0 on, that the linear layer after the product keeps."""
    product: Any
    product_t: Any
    n_residual: int
    """Values of l, from 0 on, that go past the product; may be 0."""
    residual: Any
    residual_t: Any
    n_up: int
    """Values of l that the senders carry."""
    up: Any
    up_t: Any
    readout: Any
    """[n_channels, n_hidden], not padded; n_hidden is 0 without readout."""
    readout_middle: Any
    """[n_hidden + 1, n_hidden], the last row a bias; empty without a second hidden layer."""
    readout_second: Any
    """[n_hidden]; empty where the readout is linear."""
    readout_bias: float
    gate: int
    """Which of `readout.GATES`."""
    gate_scale: float

    @property
    def message_rows(self) -> int:
        """Rows of an atom's message before the linear layer, of `edge_channels` each."""
        return int(((2 * np.arange(len(self.l_paths)) + 1) * self.l_paths).sum())


def pack(layer: LayerArrays) -> PackedLayer:
    """Bring one layer into the kernels' form, in the precision it has."""
    dtype = layer.table.dtype
    edge_channels = layer.up.shape[2]
    channels = padded(layer.linear.shape[2], dtype)
    paths = layer.l_paths.astype(np.int64)
    n_data = KNOT_DATA[str(dtype)]
    scalar = layer.up.shape[0] == 1 and paths.tolist() == [1, 1, 1, 1]
    linear = _by_path(layer.linear, paths, edge_channels, padded(edge_channels, dtype))
    ends = np.cumsum(paths) * padded(edge_channels, dtype)
    firsts = np.concatenate([[0], ends])
    by_l = [linear[:, firsts[i] : firsts[i + 1]] for i in range(len(paths))]
    n_out = int(layer.poly.term_out.max()) + 1
    return PackedLayer(
        channels=channels,
        edge_channels=padded(edge_channels, dtype),
        n_in=layer.up.shape[0] ** 2,
        n_out=n_out,
        n_kept=len(paths) ** 2 + (len(paths) ** 2 + len(paths) - 1 if layer.gated else 0),
        density=layer.density,
        gated=_gated(layer, paths, channels),
        n_knots=len(layer.table) // n_data,
        scalar=scalar,
        **_paths(layer.conv, paths, dtype),
        table=_tiles(layer.table, n_data, edge_channels, scalar),
        l_paths=paths,
        linear=_panels([[m[e] for m in by_l] for e in range(len(linear))], dtype),
        linear_t=_panels([[m[e].T for m in by_l] for e in range(len(linear))], dtype),
        linear_first=(firsts * channels).astype(np.int64),
        linear_stride=int(firsts[-1]) * channels if len(linear) > 1 else 0,
        **_polynomial(layer.poly, layer.coefficients, n_out),
        n_product=len(layer.product),
        product=_panels([layer.product], dtype),
        product_t=_panels([layer.product_t], dtype),
        n_residual=layer.residual.shape[1],
        residual=_panels(layer.residual, dtype),
        residual_t=_panels(layer.residual_t, dtype),
        n_up=len(layer.up),
        up=_panels([layer.up], dtype),
        up_t=_panels([layer.up_t], dtype),
        readout=layer.readout,
        readout_middle=layer.readout_middle,
        readout_second=layer.readout_second,
        readout_bias=float(layer.readout_bias),
        gate=layer.gate,
        gate_scale=float(layer.gate_scale),
    )


def _gated(layer: LayerArrays, paths: NDArray[np.int64], channels: int) -> GatedArrays:
    """Panels of a non-linear block; every gate's channels are padded by themselves."""
    dtype = layer.table.dtype
    gated, nothing = layer.gated, np.zeros(0, dtype=dtype)
    if gated is None:
        empty: dict[str, Any] = dict.fromkeys(GatedArrays._fields, nothing)
        return GatedArrays(**empty)._replace(n_gates=0, n_own=0, scalar_scale=1.0, gate_scale=1.0)
    n_gates = len(paths) - 1

    def by_gate(matrix: NDArray[Any]) -> NDArray[Any]:
        parts = matrix.reshape(len(matrix), n_gates, -1)
        out = np.zeros((len(matrix), n_gates, channels), dtype=dtype)
        out[:, :, : parts.shape[2]] = parts
        return out.reshape(len(matrix), -1)

    edge_channels = layer.up.shape[2]
    rows = _by_path(gated.gates[None], paths[:1], edge_channels, padded(edge_channels, dtype))[0]
    gates, own_gates = by_gate(rows), by_gate(gated.own_gates)
    return GatedArrays(
        n_gates=n_gates,
        gates=_panels([[gates]], dtype),
        gates_t=_panels([[gates.T]], dtype),
        n_own=len(gated.own),
        own=_panels([gated.own], dtype),
        own_t=_panels([[m.T for m in gated.own]], dtype),
        own_gates=_panels([[own_gates]], dtype),
        own_gates_t=_panels([[own_gates.T]], dtype),
        second=_panels([gated.second], dtype),
        second_t=_panels([[m.T for m in gated.second]], dtype),
        scalar_scale=gated.scalar_scale,
        gate_scale=gated.gate_scale,
    )


def _by_path(linear: NDArray[Any], paths: NDArray[np.int64], now: int, wanted: int) -> NDArray[Any]:
    """Pad the channels of every path in the rows of `linear`."""
    n = int(paths.sum())
    rows = linear.reshape(len(linear), n, now, linear.shape[2])
    out = np.zeros((len(linear), n, wanted, linear.shape[2]), dtype=linear.dtype)
    out[:, :, :now] = rows
    return out.reshape(len(linear), n * wanted, linear.shape[2])


def _panels(matrices: Any, dtype: Any) -> NDArray[Any]:
    """Matrices by element and l, padded both ways, each as panels of one vector's columns."""
    lanes = width(dtype)
    parts = []
    for of_element in matrices:
        for matrix in of_element:
            depth, columns = padded(matrix.shape[0], dtype), padded(matrix.shape[1], dtype)
            whole = np.zeros((depth, columns), dtype=dtype)
            whole[: matrix.shape[0], : matrix.shape[1]] = matrix
            parts.append(whole.reshape(depth, columns // lanes, lanes).transpose(1, 0, 2).reshape(-1))
    return on_cache_lines(np.concatenate([*parts, np.zeros(0, dtype=dtype)]))


def on_cache_lines(array: NDArray[Any]) -> NDArray[Any]:
    """A flat copy that begins on a cache line."""
    out = aligned(array.size, array.dtype)
    out[:] = array.reshape(-1)
    return out


def _tiles(table: NDArray[Any], n_data: int, channels: int, scalar: bool) -> NDArray[Any]:
    """Knot data [n_knots · n_data, n_paths · channels] in the order of `PackedLayer.table`."""
    lanes, wide = width(table.dtype), padded(channels, table.dtype)
    n_paths = table.shape[1] // channels
    whole = np.zeros((len(table), n_paths, wide), dtype=table.dtype)
    whole[:, :, :channels] = table.reshape(len(table), n_paths, channels)
    tiles = whole.reshape(-1, n_data, n_paths, wide // lanes, lanes)
    return on_cache_lines(tiles.transpose((3, 0, 2, 1, 4) if scalar else (2, 3, 0, 1, 4)))


def _paths(conv: Convolution, paths: NDArray[np.int64], dtype: Any) -> dict[str, Any]:
    """Paths and their slots, from the rows and entries of the message."""
    n_paths = len(np.unique(conv.row_path))
    path_out = np.repeat(np.arange(len(paths)), paths)
    path_in = np.zeros(n_paths, dtype=np.int64)
    couplings: dict[tuple[int, int, int], list[tuple[int, float]]] = {}
    seen = dict.fromkeys(range(n_paths), 0)
    for row, path in enumerate(conv.row_path):
        m_out = seen[int(path)]
        seen[int(path)] += 1
        for entry in range(conv.row_first[row], conv.row_first[row + 1]):
            l_in = int(np.sqrt(conv.entry_in[entry]))
            path_in[path] = l_in
            here = range(conv.entry_first[entry], conv.entry_first[entry + 1])
            couplings[int(path), int(conv.entry_in[entry]) - l_in**2, m_out] = [
                (int(conv.coupling_lm[q]), float(conv.coupling[q])) for q in here
            ]
    column = np.concatenate([np.arange(n) for n in paths])
    slot_first, listed, pieces = [0], [], []
    for path, first, rows in _pieces(path_out):
        pieces.append((path, path_in[path], path_out[path], first, rows, column[path], len(slot_first) - 1))
        for m_in in range(2 * path_in[path] + 1):
            for m_out in range(first, first + rows):
                listed.extend(couplings.get((path, m_in, m_out), []))
                slot_first.append(len(listed))
            slot_first.append(len(listed))
    names = ("path", "path_in", "path_out", "path_first", "path_rows", "path_column", "path_slot")
    return {
        "n_slots": len(slot_first) - 1,
        **dict(zip(names, np.array(pieces, dtype=np.int64).T.copy(), strict=True)),
        "slot_first": np.array(slot_first, dtype=np.int64),
        "coupling_lm": np.array([lm for lm, _ in listed], dtype=np.int64),
        "coupling": np.array([factor for _, factor in listed], dtype=dtype),
    }


def _pieces(path_out: NDArray[Any]) -> Iterator[tuple[int, int, int]]:
    """Number, first component and number of components of every piece of every path."""
    for path, ell in enumerate(path_out):
        first = 0
        while left := 2 * int(ell) + 1 - first:
            rows = min(7, left - 1 + left % 2)
            yield path, first, rows
            first += rows


def _polynomial(poly: Polynomial, coefficients: NDArray[Any], n_out: int) -> dict[str, Any]:
    """Terms sorted by output, then by their two leading factors."""
    group = np.repeat(np.arange(len(poly.group_a)), np.diff(poly.group_first))
    a, b, d, out = poly.group_a[group], poly.group_b[group], poly.term_d, poly.term_out
    order = np.lexsort((d, b, a, out))
    keys = np.stack([out, a, b], axis=1)[order]
    new = np.concatenate([[True], np.any(keys[1:] != keys[:-1], axis=1)])
    starts = np.nonzero(new)[0]
    lanes = width(coefficients.dtype)
    n_elements, n_terms, channels = coefficients.shape
    wide = padded(channels, coefficients.dtype)
    whole = np.zeros((n_elements, n_terms, wide), dtype=coefficients.dtype)
    whole[:, :, :channels] = coefficients[:, order]
    tiles = whole.reshape(n_elements, n_terms, wide // lanes, lanes).transpose(0, 2, 1, 3)
    return {
        "product_a": poly.product_a,
        "product_b": poly.product_b,
        "group_a": keys[starts, 1].copy(),
        "group_b": keys[starts, 2].copy(),
        "group_first": np.append(starts, n_terms).astype(np.int64),
        "term_d": d[order].astype(np.int64),
        "common": outputs_with(np.stack([out, a, b, d], axis=1)[order].tolist()),
        "out_first": np.searchsorted(keys[starts, 0], np.arange(n_out + 1)).astype(np.int64),
        "coefficients": on_cache_lines(tiles),
    }
