"""Edges in equal pieces by what they arrive at, so that a sum over edges is a batched matrix product.

A receiver's edges fill pieces of `PIECE` slots; the last of them has slots without an edge. What an
edge carries is copied into its slot, and a piece summed by a matrix product, whose result alone is
added to the atom: an eighth of the additions by index is left, and no message is ever written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

PIECE = 8
"""Slots in a piece. More of them make larger products, and more slots that stay empty."""


class Slots(NamedTuple):
    """Which edge is in which slot."""

    of_edge: Tensor
    """[n_edges], int64."""
    edge: Tensor
    """[n_slots], int64; any edge where the slot is empty."""
    filled: Tensor
    """[n_slots], bool."""
    receiver: Tensor
    """[n_slots / PIECE], int64; any atom where all slots of the piece are empty."""


def arrange(receiver: Tensor, n_atoms: int) -> Slots:
    """Slots for edges that arrive at `receiver` [n_edges].

    Only on a CPU are there as few pieces as can be: to know how many that are, another device would
    have to be waited for.
    """
    n_edges = len(receiver)
    order = torch.argsort(receiver, stable=True)
    ordered = receiver[order]
    count = receiver.new_zeros(n_atoms).index_add_(0, receiver, torch.ones_like(receiver))
    pieces = (count + (PIECE - 1)) // PIECE
    rank = torch.arange(n_edges, device=receiver.device) - (count.cumsum(0) - count)[ordered]
    slot = (pieces.cumsum(0) - pieces)[ordered] * PIECE + rank
    on_cpu = receiver.device.type == "cpu"
    n_pieces = int(pieces.sum()) if on_cpu else min(n_edges, n_edges // PIECE + n_atoms)
    edge = receiver.new_zeros(n_pieces * PIECE).index_copy_(0, slot, order)
    filled = torch.zeros(n_pieces * PIECE, dtype=torch.bool, device=receiver.device)
    filled = filled.index_fill_(0, slot, True)
    by_piece = receiver.new_zeros(n_pieces).index_copy_(0, slot // PIECE, ordered)
    return Slots(torch.empty_like(order).index_copy_(0, order, slot), edge, filled, by_piece)
