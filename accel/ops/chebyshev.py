"""mace-torch's Chebyshev radial basis with the derivative that torch does not have.

torch evaluates Chebyshev polynomials but treats them as constants in a gradient. So forces (and
trained weights) of a mace-torch model with this basis silently lack what comes from it, and are not
the slope of its energy. By their recurrence, T_{n+1} = 2 x T_n - T_{n-1}, they are the same polynomials in
operations that torch can differentiate as often as one likes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from accel.mace_torch import quiet

with quiet():
    from mace.modules.radial import ChebychevBasis

if TYPE_CHECKING:
    from torch import Tensor


class DifferentiableChebyshev(ChebychevBasis):
    """A `ChebychevBasis` whose polynomials can be differentiated. Made from a module in place."""

    @staticmethod
    def covers(module: Any) -> bool:
        """Whether `module` is mace-torch's own basis."""
        return type(module) is ChebychevBasis

    @classmethod
    def adopt(cls, module: Any) -> None:
        """Turn `module`, for which `covers` is true, into one of these."""
        module.__class__ = cls

    def forward(self, x: Tensor) -> Tensor:
        """T_1 … T_n.

        Args:
            x: [n_edges, 1].

        Returns:
            [n_edges, num_basis].
        """
        found = [torch.ones_like(x), x]
        while len(found) <= self.num_basis:
            found.append(2.0 * x * found[-1] - found[-2])
        return torch.cat(found[1 : self.num_basis + 1], dim=-1)
