"""A symmetric contraction of atoms in groups of one element, on a CPU: `accel.ops.slopes` in PyTorch.

How many atoms an element has is a number that the host has to know, so this is not for devices that would
have to be waited for. Value, gradient and the gradient of the gradient (training by forces) are written
by hand, a few channels at a time; a third derivative is left to autograd.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

_CHUNK_BYTES = 1 << 20
"""Products of a few channels stay in a second-level cache."""
_PIECE_ATOMS = 512


@dataclass(frozen=True, slots=True)
class Slopes:
    """What a contraction is made of, as `accel.ops.slopes.SlopeTerms` has it, and its atoms."""

    degree: int
    products: Tensor
    slopes: Tensor
    blocks: tuple[tuple[int, int], ...]
    pieces: tuple[tuple[int, Tensor], ...]
    """The element among those present and atoms [n_atoms_in_piece], int64, of each piece."""


def atoms_by_element(element: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The elements present, int64, and the atoms of each, by `element` [n_atoms]; one at the least."""
    counts = torch.bincount(element, minlength=1).tolist()
    present = [z for z, count in enumerate(counts) if count] or [0]
    return torch.tensor(present), torch.split(
        torch.argsort(element, stable=True), [counts[z] for z in present]
    )


def pieces_by_element(element: Tensor) -> tuple[Tensor, tuple[tuple[int, Tensor], ...]]:
    """The elements present, and pieces of `Slopes`."""
    present, groups = atoms_by_element(element)
    pieces = tuple(
        (index, atoms) for index, group in enumerate(groups) for atoms in torch.split(group, _PIECE_ATOMS)
    )
    return present, pieces


def contract(x: Tensor, coefficients: Tensor, slopes: Slopes) -> Tensor:
    """The contraction [n_atoms, n_channels, n_out].

    Args:
        x: [n_atoms, n_channels, n_lm].
        coefficients: [n_elements present, n_channels, Σ slopes · products].
        slopes: What else there is to know.
    """
    out: Tensor = _Value.apply(x, coefficients, slopes)  # type: ignore[no-untyped-call]
    if coefficients.requires_grad and torch.is_grad_enabled():
        # Apart, so that autograd leaves it out where it is asked for forces alone.
        out = out + _ByCoefficients.apply(coefficients, (x,), slopes)  # type: ignore[no-untyped-call]
    return out


class _Value(torch.autograd.Function):
    """The contraction, and its gradient by features."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, coefficients: Tensor, slopes: Slopes) -> Tensor:
        """The contraction [n_atoms, n_channels, n_out]."""
        n_atoms, n_channels, n_lm = x.shape
        out = x.new_empty(n_atoms, n_channels, len(slopes.slopes) // (n_lm + 1))
        found = []
        for index, atoms in slopes.pieces:
            components = _components(x, atoms)
            slope = x.new_empty(n_channels, len(slopes.slopes), len(atoms))
            value = x.new_empty(n_channels, out.shape[2], len(atoms))
            for c in _chunks(slopes, components):
                slope[c] = _slopes(components[c], coefficients[index, c], slopes)
                by_output = torch.unflatten(slope[c], 1, (out.shape[2], n_lm + 1))
                torch.sum(by_output * components[c, None], 2, out=value[c])
            out.index_copy_(0, atoms, value.permute(2, 0, 1))
            found.append(slope)
        ctx.save_for_backward(x, coefficients, *found)
        ctx.slopes = slopes
        return out.div_(slopes.degree)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None]:
        """The gradient by `x`."""
        if not ctx.needs_input_grad[0]:
            return None, None, None
        x, coefficients, *found = ctx.saved_tensors
        n_lm = x.shape[2]
        if torch.is_grad_enabled():
            found = _Slope.apply(x, coefficients, ctx.slopes, *found)  # type: ignore[no-untyped-call]
        parts = []
        for (_, atoms), slope in zip(ctx.slopes.pieces, found, strict=True):
            by_output = torch.unflatten(slope, 1, (-1, n_lm + 1))[:, :, :n_lm]
            parts.append((by_output * gradients[0][atoms].permute(1, 2, 0)[:, :, None]).sum(1))
        place = torch.argsort(torch.cat([atoms for _, atoms in ctx.slopes.pieces]))
        return torch.cat(parts, 2).permute(2, 0, 1)[place], None, None


class _ByCoefficients(torch.autograd.Function):
    """Zero, with the contraction's gradient by coefficients."""

    @staticmethod
    def forward(ctx: Any, coefficients: Tensor, x: tuple[Tensor], slopes: Slopes) -> Tensor:
        """Zero [n_atoms, n_channels, n_out]."""
        ctx.x, ctx.slopes, ctx.n_elements = x[0], slopes, len(coefficients)
        n_atoms, n_channels, n_lm = x[0].shape
        n_out = len(slopes.slopes) // (n_lm + 1)
        return coefficients.new_zeros(()).expand(n_atoms, n_channels, n_out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The gradient by `coefficients`."""
        sums: list[Tensor | None] = [None] * ctx.n_elements
        for index, atoms in ctx.slopes.pieces:
            components = _components(ctx.x, atoms)
            by_output = (gradients[0][atoms] / ctx.slopes.degree).permute(1, 2, 0)[:, :, None]
            parts = [
                _by_coefficients(mine, (by_output[c] * mine[:, None]).flatten(1, 2), ctx.slopes)
                for c in _chunks(ctx.slopes, components)
                for mine in (components[c],)
            ]
            before, found = sums[index], torch.cat(parts)
            sums[index] = found if before is None else before + found
        return torch.stack([each for each in sums if each is not None]), None, None


class _Slope(torch.autograd.Function):
    """Slopes of each piece [n_channels, n_slopes, n_atoms_in_piece], which have been computed before."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, coefficients: Tensor, slopes: Slopes, *found: Tensor) -> Any:
        """The slopes as they are."""
        ctx.save_for_backward(x, coefficients)
        ctx.slopes = slopes
        return tuple(slope.view_as(slope) for slope in found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by `x` and `coefficients`."""
        x, coefficients = ctx.saved_tensors
        needed = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            # Views, so that the gradient by one of them does not run on through what it was made of.
            views = (x.view_as(x), coefficients.view_as(coefficients))
            out = [
                _slopes(_components(views[0], atoms), views[1][index], ctx.slopes)
                for index, atoms in ctx.slopes.pieces
            ]
            wanted = [view for view, need in zip(views, needed, strict=True) if need]
            found = iter(torch.autograd.grad(out, wanted, gradients, create_graph=True))
            return *(next(found) if need else None for need in needed), *([None] * (1 + len(gradients)))
        g_x = torch.empty_like(x) if needed[0] else None
        g_coefficients = torch.zeros_like(coefficients) if needed[1] else None
        for (index, atoms), gradient in zip(ctx.slopes.pieces, gradients, strict=True):
            components = _components(x, atoms)
            by_component = torch.empty_like(components[:, :-1]) if needed[0] else None
            for c in _chunks(ctx.slopes, components):
                if by_component is not None:
                    weights = coefficients[index, c]
                    by_component[c] = _by_components(components[c], weights, gradient[c], ctx.slopes)[:, :-1]
                if g_coefficients is not None:
                    g_coefficients[index, c] += _by_coefficients(components[c], gradient[c], ctx.slopes)
            if g_x is not None and by_component is not None:
                g_x.index_copy_(0, atoms, by_component.permute(2, 0, 1))
        return g_x, g_coefficients, *([None] * (1 + len(gradients)))


def _chunks(slopes: Slopes, components: Tensor) -> Iterator[slice]:
    """Cut the channels."""
    n_channels, _, n_atoms = components.shape
    row = max(1, slopes.products.shape[1] * n_atoms * components.element_size())
    size = max(1, _CHUNK_BYTES // row)
    for first in range(0, n_channels, size):
        yield slice(first, first + size)


def _components(x: Tensor, atoms: Tensor) -> Tensor:
    """Of a piece, with the constant 1 [n_channels, n_lm + 1, n_atoms]."""
    mine = x.index_select(0, atoms).permute(1, 2, 0)
    return torch.cat([mine, torch.ones_like(mine[:, :1])], 1)


def _slopes(components: Tensor, coefficients: Tensor, slopes: Slopes) -> Tensor:
    """[n_channels, n_slopes, n_atoms] by `coefficients` [n_channels, Σ slopes · products]."""
    product = _product(components, slopes.products)
    parts = [
        torch.bmm(matrix, product[:, columns])
        for matrix, _, columns in _matrices(coefficients, slopes.blocks)
    ]
    return torch.cat(parts, 1).index_select(1, slopes.slopes)


def _by_components(components: Tensor, coefficients: Tensor, gradient: Tensor, slopes: Slopes) -> Tensor:
    """The gradient of `_slopes` by its first argument."""
    gradient = gradient.index_select(1, torch.argsort(slopes.slopes))
    by_product = torch.cat(
        [
            torch.bmm(matrix.transpose(1, 2), gradient[:, rows])
            for matrix, rows, _ in _matrices(coefficients, slopes.blocks)
        ],
        1,
    )
    out = torch.zeros_like(components)
    for i, factor in enumerate(slopes.products):
        others = [other for j, other in enumerate(slopes.products) if j != i]
        out.index_add_(1, factor, by_product * _product(components, others) if others else by_product)
    return out


def _by_coefficients(components: Tensor, gradient: Tensor, slopes: Slopes) -> Tensor:
    """The gradient of `_slopes` by its second argument, of a piece or some of its channels."""
    product = _product(components, slopes.products)
    gradient = gradient.index_select(1, torch.argsort(slopes.slopes))
    parts = [
        torch.bmm(gradient[:, rows], product[:, columns].transpose(1, 2)).flatten(1)
        for rows, columns, _ in _places(slopes.blocks)
    ]
    return torch.cat(parts, 1)


def _product(components: Tensor, factors: Any) -> Tensor:
    """[n_channels, n_products, n_atoms]."""
    product = components.index_select(1, factors[0])
    for factor in factors[1:]:
        other = components.index_select(1, factor)
        product = product * other if torch.is_grad_enabled() else product.mul_(other)
    return product


def _matrices(
    coefficients: Tensor, blocks: tuple[tuple[int, int], ...]
) -> Iterator[tuple[Tensor, slice, slice]]:
    """Of each block the matrix [n_channels, slopes, products], and which slopes and products they are."""
    for (n_slopes, n_products), (rows, columns, entries) in zip(blocks, _places(blocks), strict=True):
        yield torch.unflatten(coefficients[:, entries], 1, (n_slopes, n_products)), rows, columns


def _places(blocks: tuple[tuple[int, int], ...]) -> Iterator[tuple[slice, slice, slice]]:
    """Of each block its slopes, its products, and its coefficients."""
    row, column, start = 0, 0, 0
    for n_slopes, n_products in blocks:
        ends = row + n_slopes, column + n_products, start + n_slopes * n_products
        yield slice(row, ends[0]), slice(column, ends[1]), slice(start, ends[2])
        row, column, start = ends
