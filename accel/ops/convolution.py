"""The tensor product of a convolution as a matrix for each edge, in plain PyTorch.

The harmonics of MACE's `uvu` product have multiplicity 1: Σ CG·Y is one small matrix for each edge
and input l that all channels share, and the product is a batched matrix product with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from accel.mace_torch import o3

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

    def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """The product.

        Args:
            x: [n_edges, irreps_in1], features of the senders.
            y: [n_edges, irreps_in2], harmonics.
            weight: [n_edges, n_paths · n_channels].

        Returns:
            [n_edges, irreps_out].
        """
        n_edges, channels = x.shape[0], self.irreps_in1[0].mul
        radial = weight.reshape(n_edges, len(self.irreps_out), channels)
        slices = self.irreps_in1.slices()
        outputs: list[Tensor | None] = [None] * len(self.irreps_out)
        for i_in, paths, widths in self.edge_paths:
            coupling = getattr(self, f"edge_coupling_{i_in}").to(y.dtype)
            matrix = torch.einsum("ey,yij->eij", y, coupling)
            features = x[:, slices[i_in]].reshape(n_edges, channels, self.irreps_in1[i_in].ir.dim)
            products = torch.split(torch.bmm(features, matrix), widths, dim=2)
            for path, product in zip(paths, products, strict=True):
                outputs[path] = (radial[:, path, :, None] * product).flatten(1)
        return torch.cat([out for out in outputs if out is not None], dim=1)
