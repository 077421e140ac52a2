"""A radial network that hands over its last hidden layer, so that whoever uses it applies the last matrix.

Radial weights are the largest array of a MACE model: an edge has one for every path and channel, and they are
a matrix product of 64 numbers. The sum over edges makes them as it goes (`accel.ops.edge_sums`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accel.mace_torch import quiet

with quiet():
    from e3nn.nn import FullyConnectedNet

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class RadialWeights:
    """Radial weights of edges as a product of two matrices."""

    hidden: Tensor
    """[n_edges, n_hidden]."""
    matrix: Tensor
    """[n_hidden, n_paths · n_channels]."""

    def __mul__(self, cutoff: Tensor) -> RadialWeights:
        """All weights of an edge times one number [n_edges, 1]."""
        return RadialWeights(self.hidden * cutoff, self.matrix)


class FactoredNetwork(FullyConnectedNet):  # type: ignore[misc]
    """A `FullyConnectedNet` that returns `RadialWeights`.

    Made from a module in place (`adopt`), so parameters and state dict are the module's own.
    """

    factored: bool
    """Whether it does; else it returns the weights themselves, as what it is made from does."""

    @staticmethod
    def covers(module: Any) -> bool:
        """Whether `module` is such a network, linear in its last layer."""
        if type(module) is not FullyConnectedNet:
            return False
        *layers, last = module
        return last.act is None and all(layer.act is not None for layer in layers)

    @classmethod
    def adopt(cls, module: Any) -> None:
        """Turn `module`, for which `covers` is true, into one of these."""
        module.__class__ = cls
        module.factored = True

    def forward(self, x: Tensor) -> Any:
        """Radial weights, of features of edges [n_edges, n_features]."""
        # What an activation is multiplied by goes into the next layer's weights.
        scale = 1.0
        *layers, last = self
        for layer in layers:
            x = layer.act.f(x @ (layer.weight * (scale / (layer.h_in * layer.var_in) ** 0.5)))
            scale = (1.0 if layer.act._is_id else layer.act.cst) * layer.var_out**0.5
        matrix = last.weight * (scale / (last.h_in * last.var_in / last.var_out) ** 0.5)
        return RadialWeights(x, matrix) if self.factored else x @ matrix
