"""The tensor product of a convolution as a matrix for each edge, in plain PyTorch.

The harmonics of MACE's `uvu` product have multiplicity 1: Σ CG·Y is one small matrix for each edge
and input l that all channels share, and the product is a batched matrix product with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from accel.mace_torch import o3
from accel.ops.edge_sums import Edges, Group, sum_over_edges
from accel.ops.radial_network import RadialWeights
from accel.ops.slots import arrange

if TYPE_CHECKING:
    from torch import Tensor


class EdgeMatrixProduct(o3.TensorProduct):  # type: ignore[misc]
    """A `uvu` tensor product with harmonics, evaluated by edge matrices.

    Made from a module in place (`adopt`); it has no parameters of its own, and gains none.
    """

    @staticmethod
    def covers(module: Any) -> bool:
        """Whether `module` is such a product, with external weights one a channel and path."""
        return (
            type(module) is o3.TensorProduct
            and all(ins.connection_mode == "uvu" and ins.has_weight for ins in module.instructions)
            and all(mul == 1 for mul, _ in module.irreps_in2)
            and len({mul for mul, _ in module.irreps_in1}) == 1
            and [ins.i_out for ins in module.instructions] == list(range(len(module.irreps_out)))
        )

    edge_groups: tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...]
    """The input, paths and their widths of each of `accel.ops.edge_sums.Group`."""

    @classmethod
    def adopt(cls, module: Any, dtype: torch.dtype) -> None:
        """Turn `module`, for which `covers` is true, into one of these; couplings are kept in `dtype`."""
        module.__class__ = cls
        by_input: dict[int, list[int]] = {}
        for path, ins in enumerate(module.instructions):
            by_input.setdefault(ins.i_in1, []).append(path)
        widths = [ir.dim for _, ir in module.irreps_out]
        module.edge_groups = tuple(
            (i_in, tuple(paths), tuple(widths[path] for path in paths)) for i_in, paths in by_input.items()
        )
        like = next(module.buffers())
        for i_in, paths in by_input.items():
            coupling = _coupling(module, paths).to(like.device, dtype)
            module.register_buffer(f"edge_coupling_{i_in}", coupling, persistent=False)

    def forward(
        self, x: Tensor, y: Tensor, weight: Tensor | RadialWeights, edge_index: Tensor | None = None
    ) -> Tensor:
        """The product; with `edge_index` gathered from senders and summed over receivers.

        Args:
            x: [n_edges or n_atoms, irreps_in1], features of the senders, or of all atoms.
            y: [n_edges, irreps_in2], harmonics.
            weight: [n_edges, n_paths · n_channels].
            edge_index: [2, n_edges], int64.

        Returns:
            [n_edges or n_atoms, irreps_out].
        """
        channels, paths = self.irreps_in1[0].mul, self._paths()
        if isinstance(weight, RadialWeights):
            radial, matrix = weight.hidden, _reordered(weight.matrix, paths)
        else:
            radial, matrix = _reordered(weight, paths), None
        if edge_index is None:
            return self.product(x, y, radial if matrix is None else radial @ matrix)
        inputs = self.irreps_in1.slices()
        by_component = torch.cat(
            [
                torch.unflatten(x[:, inputs[i]], 1, (channels, -1)).transpose(1, 2)
                for i, _, _ in self.edge_groups
            ],
            dim=1,
        )
        edges = Edges(edge_index[0], arrange(edge_index[1], len(x)), self._groups(y.dtype))
        by_atom = sum_over_edges(by_component, y, radial, matrix, edges)
        return self._joined(by_atom)

    def product(self, x: Tensor, y: Tensor, radial: Tensor) -> Tensor:
        """The product for each edge [n_edges, irreps_out], in operations that autograd knows."""
        channels, inputs = self.irreps_in1[0].mul, self.irreps_in1.slices()
        weights = torch.unflatten(radial, 1, (-1, channels))
        parts = []
        for (i_in, _, _), group in zip(self.edge_groups, self._groups(y.dtype), strict=True):
            matrix = torch.unflatten(y @ group.coupling, 1, (-1, group.n_out)).transpose(1, 2)
            features = torch.unflatten(x[:, inputs[i_in]], 1, (channels, -1)).transpose(1, 2)
            parts.append(torch.bmm(matrix, (group.weights(weights) * features[:, None]).flatten(1, 2)))
        return self._joined(torch.cat(parts, dim=1))

    def _groups(self, dtype: torch.dtype) -> tuple[Group, ...]:
        groups, first_path, first_in, first_out = [], 0, 0, 0
        for i_in, paths, widths in self.edge_groups:
            coupling = getattr(self, f"edge_coupling_{i_in}").to(dtype)
            n_in, n_out = self.irreps_in1[i_in].ir.dim, sum(widths)
            groups.append(Group(first_path, len(paths), first_in, n_in, first_out, n_out, coupling))
            first_path, first_in, first_out = first_path + len(paths), first_in + n_in, first_out + n_out
        return tuple(groups)

    def _paths(self) -> list[int]:
        """By groups."""
        return [path for _, paths, _ in self.edge_groups for path in paths]

    def _joined(self, summed: Tensor) -> Tensor:
        """[n, irreps_out] of [n, Σ n_out, n_channels], which has its paths in another order."""
        parts = torch.split(summed, [width for _, _, widths in self.edge_groups for width in widths], dim=1)
        return torch.cat([parts[i].transpose(1, 2).flatten(1) for i in np.argsort(self._paths())], dim=1)


def _coupling(module: Any, paths: list[int]) -> Tensor:
    """From harmonics to the matrices of some paths of one input, in fp64."""
    harmonics, widths = module.irreps_in2.slices(), [module.irreps_out[path].ir.dim for path in paths]
    n_in = module.irreps_in1[module.instructions[paths[0]].i_in1].ir.dim
    coupling = torch.zeros(module.irreps_in2.dim, len(paths), n_in, sum(widths), dtype=torch.float64)
    for place, path in enumerate(paths):
        ins = module.instructions[path]
        degrees = (module.irreps_in1[ins.i_in1], module.irreps_in2[ins.i_in2], module.irreps_out[ins.i_out])
        three_j = o3.wigner_3j(*(irrep.ir.l for irrep in degrees), dtype=torch.float64)
        first = sum(widths[:place])
        part = coupling[harmonics[ins.i_in2], place, :, first : first + widths[place]]
        part.copy_(ins.path_weight * three_j.permute(1, 0, 2))
    return coupling.flatten(1)


def _reordered(weights: Tensor, paths: list[int]) -> Tensor:
    """[n, n_paths · n_channels] with the paths in another order."""
    if paths == sorted(paths):
        return weights
    return torch.unflatten(weights, 1, (len(paths), -1))[:, paths].flatten(1)
