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
        summed: Tensor = _Convolution.apply(x, y, weight, edge_index, self)  # type: ignore[no-untyped-call]
        return summed

    def product(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """The product for each edge [n_edges, irreps_out], in operations that autograd knows."""
        n_edges, channels = x.shape[0], self.irreps_in1[0].mul
        radial = weight.reshape(n_edges, len(self.irreps_out), channels)
        slices = self.irreps_in1.slices()
        outputs: list[Tensor | None] = [None] * len(self.irreps_out)
        for i_in, paths, widths in self.edge_paths:
            coupling = getattr(self, f"edge_coupling_{i_in}").to(y.dtype)
            matrix = torch.einsum("ey,yij->eij", y, coupling)
            features = x[:, slices[i_in]].reshape(n_edges, channels, self.irreps_in1[i_in].ir.dim)
            for path, part in zip(paths, torch.split(matrix, widths, dim=2), strict=True):
                weighted = radial[:, path, :, None] * features
                product = weighted * part if features.shape[2] == 1 else torch.bmm(weighted, part)
                outputs[path] = product.flatten(1)
        return torch.cat([out for out in outputs if out is not None], dim=1)


class _Convolution(torch.autograd.Function):
    """Gather, product and sum for a run of edges at a time, so that no message is kept.

    The reverse pass computes a run's product again and asks autograd for its gradient; under double
    backward the whole is computed again as plain operations.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, weight: Tensor, edge_index: Tensor, module: EdgeMatrixProduct
    ) -> Tensor:
        """Messages summed over receivers, [n_atoms, irreps_out]."""
        ctx.save_for_backward(x, y, weight, edge_index)
        ctx.module = module
        out = x.new_zeros(x.shape[0], module.irreps_out.dim)
        for s in _runs(y, module):
            out.index_add_(0, edge_index[1, s], module.product(x[edge_index[0, s]], y[s], weight[s]))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by features, harmonics and weights."""
        (gradient,) = gradients
        x, y, weight, edge_index = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():
            # Views, because the features of a later layer depend on the harmonics themselves: without
            # them the gradient by the harmonics would run on through the features.
            views = [t.view_as(t) for t in (x, y, weight)]
            messages = ctx.module.product(views[0][edge_index[0]], *views[1:])
            wanted = [t for t, need in zip(views, needed, strict=True) if need]
            found = iter(torch.autograd.grad(messages, wanted, gradient[edge_index[1]], create_graph=True))
            return *(next(found) if need else None for need in needed), None, None
        totals = [
            torch.zeros_like(t) if need else None for t, need in zip((x, y, weight), needed, strict=True)
        ]
        for s in _runs(y, ctx.module):
            sender = edge_index[0, s]
            inputs = [
                t.detach().requires_grad_(need)
                for t, need in zip((x[sender], y[s], weight[s]), needed, strict=True)
            ]
            with torch.enable_grad():
                message = ctx.module.product(*inputs)
            wanted = [t for t, need in zip(inputs, needed, strict=True) if need]
            found = iter(torch.autograd.grad(message, wanted, gradient[edge_index[1, s]]))
            if totals[0] is not None:
                totals[0].index_add_(0, sender, next(found))
            for total in totals[1:]:
                if total is not None:
                    total[s] = next(found)
        return *totals, None, None


_RUN_BYTES = 1 << 20
"""Messages of a run of edges fit in a second-level cache."""


def _runs(y: Tensor, module: EdgeMatrixProduct) -> list[slice]:
    """Cut the edges into runs; on other devices than a CPU they stay together."""
    n_edges = y.shape[0]
    size = max(1, n_edges)
    if y.device.type == "cpu":
        size = max(1, _RUN_BYTES // (module.irreps_out.dim * y.element_size()))
    return [slice(a, min(a + size, n_edges)) for a in range(0, n_edges, size)]
