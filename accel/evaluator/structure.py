"""What the evaluator keeps for a set of atoms as long as their elements stay what they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from accel.evaluator.compilation import Entries
from accel.evaluator.lanes import aligned, padded
from accel.evaluator.packing import PackedLayer, on_cache_lines
from accel.evaluator.passes import Nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from accel.evaluator.extraction import Extracted
    from accel.evaluator.pairs import PairArrays


@dataclass(slots=True)
class Structure:
    """What stays as long as the atoms' elements do."""

    numbers: NDArray[np.int64]
    order: NDArray[np.int64]
    """Our atom i is the caller's atom order[i]: atoms of one element stand in a row."""
    blocks: NDArray[np.int64]
    """[n_blocks, 3]: element, first atom, end."""
    layers: tuple[PackedLayer, ...]
    nodes: tuple[Nodes, ...]
    g_up: tuple[NDArray[Any], ...]
    """By layer: [n_threads, …] gradient by what its senders carry, each thread its own."""
    element: NDArray[np.int64]
    """[n_atoms], in our order: index among the elements present."""
    pairs: PairArrays
    atomic_energies_ev: NDArray[np.float64]
    """[n_atoms]."""
    entries: Entries = field(default_factory=Entries)


def make_nodes(
    extracted: Extracted,
    layers: tuple[PackedLayer, ...],
    present: NDArray[np.int64],
    element: NDArray[np.int64],
    dtype: np.dtype[Any],
    threads: int,
) -> tuple[tuple[Nodes, ...], tuple[NDArray[Any], ...]]:
    """What every layer keeps for these atoms, and its `Structure.g_up`.

    In the first layer, an atom sends what its element does.
    """
    n_atoms = len(element)
    embedding = extracted.embedding[present]
    up = _padded_rows(embedding @ extracted.layers[0].up[0], dtype)
    before = aligned(0, dtype)
    if layers[0].n_residual:
        before = on_cache_lines(_padded_rows(embedding, dtype)[element])
    place, n_before, g_before = element, 1, aligned(0, dtype)
    nodes, g_up = [], []
    for index, layer in enumerate(layers):
        kept = n_atoms if index < len(layers) - 1 else 0
        features = [aligned(kept * layer.n_out * layer.channels, dtype) for _ in range(2)]
        message = aligned(kept * layer.n_kept * layer.channels, dtype)
        nodes.append(Nodes(place, on_cache_lines(up), before, n_before, g_before, message, *features))
        n_own, n_sent = (threads, up.size) if index else (1, 0)
        g_up.append(aligned(n_own * n_sent, dtype).reshape(n_own, n_sent))
        if kept:
            before, g_before, n_before = features[0], features[1], layer.n_out
            following = layers[index + 1]
            place = np.arange(n_atoms)
            up = np.zeros((n_atoms, following.n_in * following.edge_channels), dtype=dtype)
    return tuple(nodes), tuple(g_up)


def _padded_rows(rows: NDArray[np.float64], dtype: Any) -> NDArray[Any]:
    """Rows with zeros behind them, up to whole vectors."""
    out = np.zeros((len(rows), padded(rows.shape[1], dtype)), dtype=dtype)
    out[:, : rows.shape[1]] = rows
    return out
