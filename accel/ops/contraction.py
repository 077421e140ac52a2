"""mace-torch's symmetric contraction as a sparse polynomial in plain PyTorch.

Runs on any device, in any floating dtype, and under double backward: it is made of products, sums
and index operations alone. Weights are combined with the couplings at every call, so training sees
them; the couplings are constants, read once. On a CPU atoms are taken in groups of one element
(`accel.ops.contraction_by_element`), for which another device would have to be waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from accel.mace_torch import quiet
from accel.ops.contraction_by_element import Slopes, contract, pieces_by_element
from accel.ops.polynomial import terms_by_order, weights_by_order
from accel.ops.slopes import slope_terms

with quiet():
    from mace.modules.symmetric_contraction import SymmetricContraction

if TYPE_CHECKING:
    from torch import Tensor


class SparseSymmetricContraction(SymmetricContraction):
    """A `SymmetricContraction` that evaluates the monomials which survive symmetrisation.

    Made from a module in place (`adopt`), so parameters and state dict are the module's own.
    """

    sparse_factors: Tensor
    """[degree, n_monomials]: components multiplied, the last index standing for the constant 1."""
    sparse_monomial: Tensor
    """[n_terms]."""
    sparse_out: Tensor
    """[n_terms], output component."""
    sparse_outputs: int
    slope_products: Tensor
    slope_slopes: Tensor
    slope_coupling: Tensor
    slope_degree: int
    slope_blocks: tuple[tuple[int, int], ...]
    """These as in `accel.ops.slopes.SlopeTerms`."""

    @staticmethod
    def covers(module: Any) -> bool:
        """Whether `module` is mace-torch's own contraction, neither another library's nor swapped."""
        return type(module) is SymmetricContraction

    @classmethod
    def adopt(cls, module: Any) -> None:
        """Turn `module`, a mace-torch `SymmetricContraction`, into one of these."""
        terms = list(terms_by_order(module))
        factors = np.concatenate([each for each, _, _ in terms])
        monomials, number = np.unique(factors, axis=0, return_inverse=True)
        like = weights_by_order(module)[0]
        module.__class__ = cls
        module.sparse_outputs = sum(irrep.ir.dim for irrep in module.irreps_out)

        def keep(name: str, value: Any, dtype: torch.dtype) -> None:
            # Not persistent: the state dict stays as mace-torch wrote it.
            buffer = torch.as_tensor(value, dtype=dtype, device=like.device)
            module.register_buffer(name, buffer, persistent=False)

        keep("sparse_factors", monomials.T.copy(), torch.int64)
        keep("sparse_monomial", number.reshape(-1), torch.int64)
        keep("sparse_out", np.concatenate([each for _, each, _ in terms]), torch.int64)
        for i, (_, _, on_paths) in enumerate(terms):
            keep(f"sparse_coupling_{i}", on_paths, like.dtype)
        n_lm = sum(irrep.ir.dim for irrep in module.irreps_in)
        slopes = slope_terms(terms, n_lm, module.sparse_outputs)
        keep("slope_products", slopes.products, torch.int64)
        keep("slope_slopes", slopes.slopes, torch.int64)
        keep("slope_coupling", slopes.coupling, like.dtype)
        module.slope_degree, module.slope_blocks = slopes.degree, slopes.blocks

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The contraction.

        Args:
            x: [n_atoms, n_channels, n_lm].
            y: [n_atoms, n_elements], one-hot.

        Returns:
            [n_atoms, Σ n_channels · (2 l_out + 1)], irreps one after the other.
        """
        element = y.argmax(dim=1)
        out = self._by_element(x, element) if x.device.type == "cpu" else self._by_terms(x, element)
        parts = torch.split(out, [irrep.ir.dim for irrep in self.irreps_out], dim=2)
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def _by_element(self, x: Tensor, element: Tensor) -> Tensor:
        """[n_atoms, n_channels, n_out], by matrix products for the elements present."""
        present, pieces = pieces_by_element(element)
        weights = torch.cat(weights_by_order(self), dim=1)[present]
        coefficients = torch.matmul(weights.transpose(1, 2), self.slope_coupling)
        return contract(
            x,
            coefficients,
            Slopes(self.slope_degree, self.slope_products, self.slope_slopes, self.slope_blocks, pieces),
        )

    def _by_terms(self, x: Tensor, element: Tensor) -> Tensor:
        """The same, term by term."""
        coefficients = torch.cat(
            [
                torch.einsum("tk,ekc->tec", getattr(self, f"sparse_coupling_{i}"), weight)
                for i, weight in enumerate(weights_by_order(self))
            ]
        )
        by_component = torch.cat([x.permute(2, 0, 1), torch.ones_like(x[:, :, 0])[None]])
        terms = (self.sparse_factors, self.sparse_monomial, self.sparse_out, self.sparse_outputs)
        out: Tensor = _Contraction.apply(by_component, coefficients, element, *terms)  # type: ignore[no-untyped-call]
        return out.permute(1, 2, 0)


class _Contraction(torch.autograd.Function):
    """The sum over terms with a gradient by hand, a few atoms at a time.

    Left to autograd, every product of factors would be written out for all atoms and kept. Under
    double backward the sum is computed again as plain operations, which autograd then follows.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, coefficients: Tensor, element: Tensor, *terms: Any) -> Tensor:
        """Evaluate the sum.

        Args:
            ctx: autograd's.
            x: [n_lm + 1, n_atoms, n_channels].
            coefficients: [n_terms, n_elements, n_channels].
            element: [n_atoms], int64.
            terms: Factors, monomial and output of each term, and the number of outputs.

        Returns:
            [n_outputs, n_atoms, n_channels].
        """
        ctx.save_for_backward(x, coefficients, element, *terms[:3])
        ctx.n_outputs = terms[3]
        parts = [
            _sum_of_terms(x[:, s], coefficients, element[s], *terms) for s in _chunks(x, len(coefficients))
        ]
        return torch.cat(parts, dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by `x` and `coefficients`."""
        (gradient,) = gradients
        x, coefficients, element, *terms = ctx.saved_tensors
        if torch.is_grad_enabled():
            # Views, so that the gradient by one of them does not run on through what it was made of.
            views = (x.view_as(x), coefficients.view_as(coefficients))
            out = _sum_of_terms(*views, element, terms[0], terms[1], terms[2], ctx.n_outputs)
            wanted = [t for t, need in zip(views, ctx.needs_input_grad, strict=False) if need]
            found = iter(torch.autograd.grad(out, wanted, gradient, create_graph=True))
            return tuple(next(found) if need else None for need in ctx.needs_input_grad)
        g_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        g_coefficients = torch.zeros_like(coefficients) if ctx.needs_input_grad[1] else None
        for s in _chunks(x, len(coefficients)):
            _reverse(x[:, s], coefficients, element[s], terms, gradient[:, s], g_x, g_coefficients, s)
        return g_x, g_coefficients, *([None] * 5)


_CHUNK_BYTES = 1 << 19
"""Products of a chunk of atoms fit in a second-level cache together with what they are made of."""


def _chunks(x: Tensor, n_terms: int) -> list[slice]:
    """Cut the atoms into chunks; on other devices than a CPU they stay together."""
    n_atoms, n_channels = x.shape[1:]
    size = max(1, n_atoms)
    if x.device.type == "cpu":
        size = max(1, _CHUNK_BYTES // max(1, n_terms * n_channels * x.element_size()))
    return [slice(a, min(a + size, n_atoms)) for a in range(0, max(1, n_atoms), size)]


def _sum_of_terms(
    x: Tensor,
    coefficients: Tensor,
    element: Tensor,
    factors: Tensor,
    monomial: Tensor,
    out: Tensor,
    n_out: int,
) -> Tensor:
    """[n_out, n_atoms, n_channels] in operations that autograd knows."""
    product = x[factors[0]]
    for factor in factors[1:]:
        product = product * x[factor]
    terms = coefficients[:, element] * product[monomial]
    return x.new_zeros(n_out, *x.shape[1:]).index_add(0, out, terms)


def _reverse(
    x: Tensor,
    coefficients: Tensor,
    element: Tensor,
    terms: list[Tensor],
    gradient: Tensor,
    g_x: Tensor | None,
    g_coefficients: Tensor | None,
    atoms: slice,
) -> None:
    """Gradients of a chunk: into `g_x[:, atoms]`, and added to `g_coefficients`."""
    factors, monomial, out = terms
    values = [x[factor] for factor in factors]
    by_term = gradient[out]
    if g_coefficients is not None:
        product = torch.stack(values).prod(0) if len(values) > 1 else values[0]
        g_coefficients.index_add_(1, element, by_term * product[monomial])
    if g_x is None:
        return
    weighted = torch.zeros_like(values[0]).index_add_(0, monomial, by_term.mul_(coefficients[:, element]))
    chunk = torch.zeros_like(x)
    for i, factor in enumerate(factors):
        others = weighted
        for j, value in enumerate(values):
            if j != i:
                others = others * value
        chunk.index_add_(0, factor, others)
    g_x[:, atoms] = chunk
