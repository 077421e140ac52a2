"""How atoms are numbered and cut into blocks."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from accel.evaluator.block import BLOCK

if TYPE_CHECKING:
    from numpy.typing import NDArray


def order_of(
    element: NDArray[np.int64], positions: NDArray[np.float64], cutoff_a: float
) -> NDArray[np.int64]:
    """An order in which atoms of one element stand in a row, and near ones near: they share neighbours."""
    columns = np.floor(positions / cutoff_a)
    return np.lexsort((positions[:, 2], columns[:, 1], columns[:, 0], element))


def blocks_of(element: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cut atoms, sorted by element, into blocks of one element: [n_blocks, 3] element, first atom, end."""
    blocks: list[tuple[int, int, int]] = []
    for e in np.unique(element):
        (atoms,) = np.nonzero(element == e)
        blocks.extend((e, a, min(a + BLOCK, atoms[-1] + 1)) for a in range(atoms[0], atoms[-1] + 1, BLOCK))
    return np.array(blocks, dtype=np.int64).reshape(-1, 3)


def shares_of(cost: NDArray[Any], threads: int) -> list[tuple[int, int, int]]:
    """Cut a row of pieces of work into one run for each thread, as equal as can be: start, stop, thread."""
    done = np.cumsum(cost)
    ends = np.searchsorted(done, done[-1] * np.arange(1, threads) / threads - 0.5 * cost.mean()) + 1
    bounds = [0, *np.maximum.accumulate(ends).clip(max=len(cost)).tolist(), len(cost)]
    return [(a, b, t) for t, (a, b) in enumerate(pairwise(bounds)) if b > a]
