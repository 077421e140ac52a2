"""Sums of messages over edges, a few pieces of edges at a time, with the reverse pass by hand.

A message is a radial weight times a sender's feature times the edge's matrix of harmonics, and radial
weights are a small array times a matrix. All of it is made anew for some edges, used while it is in cache
and forgotten: an array with a row for each edge and a column for each path and channel is never written.
Value, gradient and the gradient of the gradient (training by forces) are by hand; a third derivative is
left to autograd.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from accel.ops.slots import PIECE, Slots

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK_BYTES = 1 << 19
"""Radial weights of a chunk stay in a second-level cache, with as much again that is made of them."""


@dataclass(frozen=True, slots=True)
class Group:
    """The paths of the product that take one input: one matrix for an edge, zero where paths do not meet."""

    first_path: int
    n_paths: int
    first_in: int
    n_in: int
    first_out: int
    n_out: int
    """Components of all its paths together."""
    coupling: Tensor
    """[n_harmonics, n_paths · n_in · n_out]."""

    def weights(self, values: Tensor) -> Tensor:
        """Its part of [n_slots, n_paths, n_channels], as [n_slots, n_paths, 1, n_channels]."""
        return values[:, self.first_path : self.first_path + self.n_paths, None]

    def sent(self, values: Tensor) -> Tensor:
        """Its part of [n_slots, n_components, n_channels], as [n_slots, 1, n_in, n_channels]."""
        return values[:, None, self.first_in : self.first_in + self.n_in]

    def summed(self, values: Tensor) -> Tensor:
        """Its part of [n_pieces, Σ n_out, n_channels]."""
        return values[:, self.first_out : self.first_out + self.n_out]

    def matrices(self, y: Tensor) -> Tensor:
        """Of each piece, from harmonics by slots [n_pieces, PIECE · n_paths · n_in, n_out]."""
        return (y @ self.coupling).view(-1, PIECE * self.n_paths * self.n_in, self.n_out)


@dataclass(frozen=True, slots=True)
class Edges:
    """What is constant: which edges there are, and the product's couplings."""

    sender: Tensor
    """[n_edges], int64."""
    slots: Slots
    groups: tuple[Group, ...]

    @property
    def n_out(self) -> int:
        """Components of all groups."""
        return sum(group.n_out for group in self.groups)


def sum_over_edges(x: Tensor, y: Tensor, radial: Tensor, matrix: Tensor | None, edges: Edges) -> Tensor:
    """Messages summed over receivers [n_atoms, Σ n_out, n_channels].

    Args:
        x: [n_atoms, n_components, n_channels], features.
        y: [n_edges, n_harmonics].
        radial: [n_edges, n_paths · n_channels], by the groups' paths, or with a matrix [n_edges, n].
        matrix: [n, n_paths · n_channels], by which `radial` is multiplied.
        edges: What else there is to know.
    """
    out: Tensor = _Sum.apply(x, y, radial, matrix, edges)  # type: ignore[no-untyped-call]
    if matrix is not None and matrix.requires_grad and torch.is_grad_enabled():
        # Apart, so that autograd leaves it out where it is asked for forces alone.
        out = out + _ByMatrix.apply(matrix, (x, y, radial), edges)  # type: ignore[no-untyped-call]
    return out


class _Sum(torch.autograd.Function):
    """The sum, and its gradient by all but the matrix."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, radial: Tensor, matrix: Tensor | None, edges: Edges
    ) -> Tensor:
        """The sum."""
        ctx.save_for_backward(x, y, radial, matrix)
        ctx.edges = edges
        out = x.new_zeros(len(x), edges.n_out, x.shape[2])
        for chunk in _chunks(x, edges):
            out.index_add_(0, chunk.receiver, _summed(x, y, radial, matrix, chunk))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by `x`, `y` and `radial`."""
        reverse: Any = _Reverse.apply if torch.is_grad_enabled() else _reverse
        found = reverse(*ctx.saved_tensors, *gradients, ctx.edges, ctx.needs_input_grad[:3])
        return *found, None, None


class _ByMatrix(torch.autograd.Function):
    """Zero, with the sum's gradient by the matrix."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, given: tuple[Tensor, Tensor, Tensor], edges: Edges) -> Tensor:
        """Zero [n_atoms, Σ n_out, n_channels]."""
        ctx.given, ctx.edges, ctx.shape = given, edges, matrix.shape
        x = given[0]
        return matrix.new_zeros(()).expand(len(x), edges.n_out, x.shape[2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The gradient by the matrix."""
        x, y, radial = ctx.given
        out = x.new_zeros(ctx.shape)
        for chunk in _chunks(x, ctx.edges):
            sent, harmonics = chunk.sent(x), chunk.harmonics(y)
            gradient = gradients[0].index_select(0, chunk.receiver)
            by_group = [
                (_by_messages(group, group.matrices(harmonics), gradient) * group.sent(sent)).sum(2)
                for group in ctx.edges.groups
            ]
            out = out + chunk.radial(radial).T @ torch.cat(by_group, 1).flatten(1)
        return out, None, None


class _Reverse(torch.autograd.Function):
    """`_reverse`, and its gradient."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        """Gradients by `x`, `y` and `radial`."""
        ctx.save_for_backward(*given[:5])
        ctx.edges, ctx.needed = given[5:]
        ctx.set_materialize_grads(False)
        return _reverse(*given)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients by `x`, `y`, `radial`, `matrix` and the sum's gradient."""
        if torch.is_grad_enabled():
            found = _second_in_plain_operations(ctx.saved_tensors, gradients, ctx.edges, ctx.needs_input_grad)
        else:
            x, y, radial, matrix, gradient = ctx.saved_tensors
            found = _second(x, y, radial, matrix, gradient, gradients, ctx.edges)
        return *found, None, None


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some pieces of the edges."""

    edges: Edges
    receiver: Tensor
    """[n_pieces], int64."""
    edge: Tensor
    """[n_slots], int64."""
    filled: Tensor
    """[n_slots, 1], bool."""

    def sent(self, x: Tensor) -> Tensor:
        """Features of the senders [n_slots, n_components, n_channels]."""
        return x.index_select(0, self.edges.sender.index_select(0, self.edge))

    def harmonics(self, y: Tensor) -> Tensor:
        """By slots, zero in empty ones [n_slots, n_harmonics]."""
        return y.index_select(0, self.edge) * self.filled

    def radial(self, radial: Tensor) -> Tensor:
        """By slots."""
        return radial.index_select(0, self.edge)

    def weights(self, radial: Tensor, matrix: Tensor | None, n_channels: int) -> Tensor:
        """Radial weights [n_slots, n_paths, n_channels]."""
        mine = self.radial(radial)
        weights = mine if matrix is None else mine @ matrix
        return weights.view(len(mine), weights.shape[1] // n_channels, n_channels)


def _chunks(x: Tensor, edges: Edges) -> Iterator[_Chunk]:
    """Cut the pieces into chunks; on other devices than a CPU they stay together."""
    slots = edges.slots
    n_pieces = len(slots.receiver)
    size = max(1, n_pieces)
    if x.device.type == "cpu":
        n_rows = PIECE * sum(group.n_paths * group.n_in for group in edges.groups)
        size = max(1, _CHUNK_BYTES // (n_rows * x.shape[2] * x.element_size()))
    for first in range(0, n_pieces, size):
        pieces = slice(first, min(first + size, n_pieces))
        mine = slice(pieces.start * PIECE, pieces.stop * PIECE)
        yield _Chunk(edges, slots.receiver[pieces], slots.edge[mine], slots.filled[mine, None])


def _times(matrices: Tensor, messages: Tensor) -> Tensor:
    """Messages [n_slots, n_paths, n_in, n_channels] summed in pieces [n_pieces, n_out, n_channels]."""
    return torch.bmm(matrices.transpose(1, 2), messages.view(*matrices.shape[:2], messages.shape[3]))


def _by_messages(group: Group, matrices: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of `_times` by messages."""
    found = torch.bmm(matrices, group.summed(gradient))
    return found.view(-1, group.n_paths, group.n_in, gradient.shape[2])


def _by_harmonics(group: Group, messages: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of `_times` by harmonics [n_slots, n_harmonics]."""
    by_piece = messages.view(len(gradient), -1, messages.shape[3])
    found = torch.bmm(by_piece, group.summed(gradient).transpose(1, 2))
    return found.view(len(messages), -1) @ group.coupling.T


def _summed(x: Tensor, y: Tensor, radial: Tensor, matrix: Tensor | None, chunk: _Chunk) -> Tensor:
    """Messages of a chunk, summed in pieces [n_pieces, Σ n_out, n_channels]."""
    sent, harmonics = chunk.sent(x), chunk.harmonics(y)
    weights = chunk.weights(radial, matrix, x.shape[2])
    groups = chunk.edges.groups
    return torch.cat(
        [_times(each.matrices(harmonics), each.weights(weights) * each.sent(sent)) for each in groups], 1
    )


def _reverse(
    x: Tensor,
    y: Tensor,
    radial: Tensor,
    matrix: Tensor | None,
    gradient: Tensor,
    edges: Edges,
    needed: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients by `x`, `y` and `radial`, those that are needed."""
    g_x = torch.zeros_like(x) if needed[0] else None
    g_y, g_radial = [], []
    for chunk in _chunks(x, edges):
        sent, harmonics = chunk.sent(x), chunk.harmonics(y)
        weights = chunk.weights(radial, matrix, x.shape[2])
        mine = gradient.index_select(0, chunk.receiver)
        g_weights, g_sent, g_harmonics = [], [], []
        for group in edges.groups:
            r, s = group.weights(weights), group.sent(sent)
            by_messages = _by_messages(group, group.matrices(harmonics), mine)
            if needed[1]:
                g_harmonics.append(_by_harmonics(group, r * s, mine))
            if needed[0]:
                g_sent.append(torch.linalg.vecdot(by_messages, r, dim=1))
            g_weights.append((by_messages * s).sum(2) if group.n_in > 1 else by_messages.mul_(s)[:, :, 0])
        if g_x is not None:
            g_x.index_add_(0, edges.sender.index_select(0, chunk.edge), torch.cat(g_sent, 1))
        if needed[1]:
            g_y.append(sum(g_harmonics[1:], g_harmonics[0]))
        if needed[2]:
            flat = torch.cat(g_weights, 1).flatten(1)
            g_radial.append(flat if matrix is None else flat @ matrix.T)
    return g_x, _by_edge(g_y, edges), _by_edge(g_radial, edges)


def _by_edge(parts: list[Tensor], edges: Edges) -> Tensor | None:
    """Gradients by slots, chunk after chunk, as those of edges."""
    if not parts:
        return None
    return torch.cat(parts).index_select(0, edges.slots.of_edge)


def _second(
    x: Tensor,
    y: Tensor,
    radial: Tensor,
    matrix: Tensor | None,
    gradient: Tensor,
    along: tuple[Tensor | None, ...],
    edges: Edges,
) -> tuple[Tensor | None, ...]:
    """Gradients by all of `_reverse`'s arguments of Σ along · what it returns.

    That is the sum's slope when x, y and radial weights move `along`, times `gradient`: with matrices L
    and L', radial weights R and R', senders s and s' it is L' R s + L (R' s + R s').
    """
    x_along, y_along, radial_along = (
        torch.zeros_like(value) if each is None else each
        for each, value in zip(along, (x, y, radial), strict=True)
    )
    g_x, g_gradient = torch.zeros_like(x), torch.zeros_like(gradient)
    g_matrix = None if matrix is None else torch.zeros_like(matrix)
    g_y, g_radial = [], []
    for chunk in _chunks(x, edges):
        sent, sent_along = chunk.sent(x), chunk.sent(x_along)
        harmonics, harmonics_along = chunk.harmonics(y), chunk.harmonics(y_along)
        weights = chunk.weights(radial, matrix, x.shape[2])
        weights_along = chunk.weights(radial_along, matrix, x.shape[2])
        mine = gradient.index_select(0, chunk.receiver)
        g_weights, g_weights_along, g_sent, g_harmonics, slopes = [], [], [], [], []
        for group in edges.groups:
            s, s_along = group.sent(sent), group.sent(sent_along)
            r, r_along = group.weights(weights), group.weights(weights_along)
            matrices, matrices_along = group.matrices(harmonics), group.matrices(harmonics_along)
            messages_along = torch.addcmul(r_along * s, r, s_along)
            slopes.append(_times(matrices_along, r * s) + _times(matrices, messages_along))
            by_messages = _by_messages(group, matrices_along, mine)
            by_messages_along = _by_messages(group, matrices, mine)
            g_harmonics.append(_by_harmonics(group, messages_along, mine))
            g_sent.append(torch.addcmul(by_messages * r, by_messages_along, r_along).sum(1))
            g_weights.append(torch.addcmul(by_messages * s, by_messages_along, s_along).sum(2))
            g_weights_along.append((by_messages_along * s).sum(2))
        g_gradient.index_add_(0, chunk.receiver, torch.cat(slopes, 1))
        g_x.index_add_(0, edges.sender.index_select(0, chunk.edge), torch.cat(g_sent, 1))
        g_y.append(sum(g_harmonics[1:], g_harmonics[0]))
        flat = torch.cat(g_weights, 1).flatten(1)
        g_radial.append(flat if matrix is None else flat @ matrix.T)
        if g_matrix is not None:
            g_matrix.addmm_(chunk.radial(radial).T, flat)
            g_matrix.addmm_(chunk.radial(radial_along).T, torch.cat(g_weights_along, 1).flatten(1))
    return g_x, _by_edge(g_y, edges), _by_edge(g_radial, edges), g_matrix, g_gradient


def _second_in_plain_operations(
    given: tuple[Any, ...],
    along: tuple[Tensor | None, ...],
    edges: Edges,
    needed: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """The same in operations that autograd follows."""
    # Views, so that the gradient by one of them does not run on through what it was made of.
    views: list[Any] = [None if value is None else value.view_as(value) for value in given]
    x, y, radial, matrix, gradient = views
    slots = edges.slots
    every = _Chunk(edges, slots.receiver, slots.edge, slots.filled[:, None])
    out = torch.zeros_like(gradient).index_add(0, slots.receiver, _summed(x, y, radial, matrix, every))
    pairs = [(view, each) for view, each in zip((x, y, radial), along, strict=True) if each is not None]
    first = torch.autograd.grad(out, [view for view, _ in pairs], gradient, create_graph=True)
    wanted = [view for view, need in zip(views, needed, strict=False) if need]
    found = iter(
        torch.autograd.grad(
            first, wanted, [each for _, each in pairs], create_graph=True, materialize_grads=True
        )
    )
    return tuple(next(found) if need else None for need in needed[:5])
