"""The tensor product of a convolution as a matrix for each edge, in plain PyTorch.

The harmonics of MACE's `uvu` product have multiplicity 1: Σ CG·Y is one small matrix for each edge
and input l that all channels share, and the product is a batched matrix product with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from accel.mace_torch import o3
from accel.ops.slots import PIECE, arrange, spread

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

    @classmethod
    def adopt(cls, module: Any, dtype: torch.dtype) -> None:
        """Turn `module`, for which `covers` is true, into one of these; couplings are kept in `dtype`."""
        module.__class__ = cls
        by_input: dict[int, list[tuple[int, Tensor]]] = {}
        harmonics = module.irreps_in2.slices()
        for path, ins in enumerate(module.instructions):
            l_in, l_edge, l_out = (
                module.irreps_in1[ins.i_in1].ir.l,
                module.irreps_in2[ins.i_in2].ir.l,
                module.irreps_out[ins.i_out].ir.l,
            )
            coupling = torch.zeros(module.irreps_in2.dim, 2 * l_in + 1, 2 * l_out + 1, dtype=torch.float64)
            three_j = o3.wigner_3j(l_in, l_edge, l_out, dtype=torch.float64)
            coupling[harmonics[ins.i_in2]] = ins.path_weight * three_j.permute(1, 0, 2)
            by_input.setdefault(ins.i_in1, []).append((path, coupling))
        like = next(module.buffers())
        module.edge_paths = []
        for i_in, couplings in sorted(by_input.items()):
            stacked = torch.cat([c for _, c in couplings], dim=2)
            module.edge_paths.append(
                (i_in, [path for path, _ in couplings], [c.shape[2] for _, c in couplings])
            )
            buffer = stacked.to(like.device, dtype)
            module.register_buffer(f"edge_coupling_{i_in}", buffer, persistent=False)

    edge_paths: list[tuple[int, list[int], list[int]]]

    def forward(self, x: Tensor, y: Tensor, weight: Tensor, edge_index: Tensor | None = None) -> Tensor:
        """The product; with `edge_index` gathered from senders and summed over receivers.

        Args:
            x: [n_edges or n_atoms, irreps_in1], features of the senders, or of all atoms.
            y: [n_edges, irreps_in2], harmonics.
            weight: [n_edges, n_paths · n_channels].
            edge_index: [2, n_edges], int64.

        Returns:
            [n_edges or n_atoms, irreps_out].
        """
        if edge_index is None:
            return self.product(x, y, weight)
        return self.summed(x, y, weight, edge_index)

    def summed(self, x: Tensor, y: Tensor, weight: Tensor, edge_index: Tensor) -> Tensor:
        """Messages summed over receivers [n_atoms, irreps_out], without any that is written."""
        n_atoms, channels = x.shape[0], self.irreps_in1[0].mul
        slots = arrange(edge_index[1], n_atoms)
        n_pieces = len(slots.receiver)
        # Unbound together: the gradient of one path would be an array of zeros for all the others.
        radial = spread(weight, slots).reshape(len(slots.edge), len(self.irreps_out), 1, channels).unbind(1)
        harmonics = spread(y, slots) * slots.filled[:, None]
        sender = edge_index[0][slots.edge]
        sums: list[Tensor | None] = [None] * len(self.irreps_out)
        for i_in, paths, widths in self.edge_paths:
            matrix = self._matrices(i_in, harmonics)
            n_in = matrix.shape[1]
            features = x[:, self.irreps_in1.slices()[i_in]].reshape(n_atoms, channels, n_in)
            sent = features.transpose(1, 2).contiguous()[sender]
            for path, part in zip(paths, torch.split(matrix, widths, dim=2), strict=True):
                left = part.reshape(n_pieces, PIECE * n_in, part.shape[2]).transpose(1, 2)
                right = (radial[path] * sent).view(n_pieces, PIECE * n_in, channels)
                sums[path] = torch.bmm(left, right)
        n_out = [irrep.ir.dim for irrep in self.irreps_out]
        by_piece = torch.cat([part for part in sums if part is not None], dim=1)
        by_atom = by_piece.new_zeros(n_atoms, sum(n_out), channels).index_add(0, slots.receiver, by_piece)
        parts = torch.split(by_atom, n_out, dim=1)
        return torch.cat([part.transpose(1, 2).flatten(1) for part in parts], dim=1)

    def _matrices(self, i_in: int, y: Tensor) -> Tensor:
        """Of every edge: [n_edges, 2 l_in + 1, Σ (2 l_out + 1)]."""
        coupling: Tensor = getattr(self, f"edge_coupling_{i_in}")
        return torch.einsum("ey,yij->eij", y, coupling.to(y.dtype))

    def product(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """The product for each edge [n_edges, irreps_out], in operations that autograd knows."""
        n_edges, channels = x.shape[0], self.irreps_in1[0].mul
        radial = weight.reshape(n_edges, len(self.irreps_out), channels)
        slices = self.irreps_in1.slices()
        outputs: list[Tensor | None] = [None] * len(self.irreps_out)
        for i_in, paths, widths in self.edge_paths:
            matrix = self._matrices(i_in, y)
            features = x[:, slices[i_in]].reshape(n_edges, channels, self.irreps_in1[i_in].ir.dim)
            for path, part in zip(paths, torch.split(matrix, widths, dim=2), strict=True):
                weighted = radial[:, path, :, None] * features
                product = weighted * part if features.shape[2] == 1 else torch.bmm(weighted, part)
                outputs[path] = product.flatten(1)
        return torch.cat([out for out in outputs if out is not None], dim=1)
