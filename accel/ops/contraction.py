"""mace-torch's symmetric contraction as a sparse polynomial in plain PyTorch.

Runs on any device, in any floating dtype, and under double backward: it is made of products, sums
and index operations alone. Weights are combined with the couplings at every call, so training sees
them; the couplings are constants, read once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from accel.mace_torch import quiet
from accel.ops.polynomial import symmetric_terms

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
    sparse_degree: int
    sparse_outputs: int
    contractions: Any

    @staticmethod
    def covers(module: Any) -> bool:
        """Whether `module` is mace-torch's own contraction, neither another library's nor swapped."""
        return type(module) is SymmetricContraction

    @classmethod
    def adopt(cls, module: Any) -> None:
        """Turn `module`, a mace-torch `SymmetricContraction`, into one of these."""
        n_lm = sum(irrep.ir.dim for irrep in module.irreps_in)
        factors, outs, couplings = [], [], []
        degree = max(part.correlation for part in module.contractions)
        offset = 0
        for part, irrep in zip(module.contractions, module.irreps_out, strict=True):
            dim = irrep.ir.dim
            for order in range(1, part.correlation + 1):
                coupling = part.U_tensors(order).detach().double().cpu().numpy()
                coupling = coupling.reshape((dim,) + (n_lm,) * order + (coupling.shape[-1],))
                rows, on_paths = symmetric_terms(coupling)
                padded = np.full((len(rows), degree), n_lm)
                padded[:, :order] = rows[:, 1:]
                factors.append(padded)
                outs.append(rows[:, 0] + offset)
                couplings.append(on_paths)
            offset += dim
        monomials, number = np.unique(np.concatenate(factors), axis=0, return_inverse=True)
        place = {"device": module.contractions[0].weights_max.device}
        dtype = module.contractions[0].weights_max.dtype
        module.__class__ = cls
        module.sparse_degree = degree
        module.sparse_outputs = offset

        def keep(name: str, value: Any, kind: torch.dtype) -> None:
            # Not persistent: the state dict stays as mace-torch wrote it.
            module.register_buffer(name, torch.as_tensor(value, dtype=kind, **place), persistent=False)

        keep("sparse_factors", monomials.T.copy(), torch.int64)
        keep("sparse_monomial", number.reshape(-1), torch.int64)
        keep("sparse_out", np.concatenate(outs), torch.int64)
        for i, on_paths in enumerate(couplings):
            keep(f"sparse_coupling_{i}", on_paths, dtype)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The contraction.

        Args:
            x: [n_atoms, n_channels, n_lm].
            y: [n_atoms, n_elements], one-hot.

        Returns:
            [n_atoms, Σ n_channels · (2 l_out + 1)], irreps one after the other.
        """
        element = y.argmax(dim=1)
        monomials = self._monomials(x)
        coefficients = torch.cat(
            [torch.einsum("tk,ekc->tec", coupling, weight) for coupling, weight in self._weighted()]
        )
        terms = coefficients[:, element] * monomials[self.sparse_monomial]
        n_atoms, n_channels = x.shape[:2]
        out = x.new_zeros(self.sparse_outputs, n_atoms, n_channels).index_add(0, self.sparse_out, terms)
        parts, offset = [], 0
        for irrep in self.irreps_out:
            part = out[offset : offset + irrep.ir.dim]
            parts.append(part.permute(1, 2, 0).flatten(1))
            offset += irrep.ir.dim
        return torch.cat(parts, dim=1)

    def _monomials(self, x: Tensor) -> Tensor:
        """[n_monomials, n_atoms, n_channels]: products of the factors, the last component the constant 1."""
        by_component = torch.cat([x.permute(2, 0, 1), torch.ones_like(x[:, :, 0])[None]])
        product = by_component[self.sparse_factors[0]]
        for i in range(1, self.sparse_degree):
            product = product * by_component[self.sparse_factors[i]]
        return product

    def _weighted(self) -> list[tuple[Tensor, Tensor]]:
        """Couplings and the weights they belong to, in the order in which terms were read."""
        pairs: list[tuple[Tensor, Tensor]] = []
        for part in self.contractions:
            for order in range(1, part.correlation + 1):
                last = order == part.correlation
                weight = part.weights_max if last else part.weights[part.correlation - 1 - order]
                pairs.append((getattr(self, f"sparse_coupling_{len(pairs)}"), weight))
        return pairs
