"""The product of features with a one-hot element as a matrix for each element, in plain PyTorch.

mace-torch multiplies features, elements and weights as if an atom were a bit of every element. Only
one of them is there, so an atom's features are multiplied by the matrix of its element alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from accel.mace_torch import o3
from accel.ops.contraction_by_element import atoms_by_element

if TYPE_CHECKING:
    from torch import Tensor


class ElementLinear(o3.FullyConnectedTensorProduct):  # type: ignore[misc]
    """A fully connected product with a one-hot element, evaluated by matrices of the elements present.

    Made from a module in place (`adopt`), so parameters and state dict are the module's own. On other
    devices than a CPU, which would have to be waited for, it stays mace-torch's own.
    """

    @staticmethod
    def covers(module: Any) -> bool:
        """Whether `module` is such a product, with weights of its own."""
        return (
            type(module) is o3.FullyConnectedTensorProduct
            and module.internal_weights
            and len(module.irreps_in2) == 1
            and module.irreps_in2[0].ir == o3.Irrep("0e")
            and all(ins.connection_mode == "uvw" and ins.has_weight for ins in module.instructions)
        )

    @classmethod
    def adopt(cls, module: Any) -> None:
        """Turn `module`, for which `covers` is true, into one of these."""
        module.__class__ = cls

    def forward(self, x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """The product.

        Args:
            x: [n_atoms, irreps_in1].
            y: [n_atoms, n_elements], one-hot.
            weight: In place of the module's own.

        Returns:
            [n_atoms, irreps_out].
        """
        if x.device.type != "cpu" or weight is not None:
            return super().forward(x, y, weight)  # type: ignore[no-any-return]
        present, groups = atoms_by_element(y.argmax(dim=1))
        ordered, counts = x.index_select(0, torch.cat(groups)), [len(atoms) for atoms in groups]
        outputs: list[Tensor | None] = [None] * len(self.irreps_out)
        for i, ins in enumerate(self.instructions):
            mul, (_, ir) = self.irreps_in1[ins.i_in1].mul, self.irreps_out[ins.i_out]
            # Rows of components, so that an element's are one plain product.
            rows = (
                ordered[:, self.irreps_in1.slices()[ins.i_in1]].reshape(len(x), mul, ir.dim).transpose(1, 2)
            )
            parts = torch.split(rows.reshape(len(x) * ir.dim, mul), [count * ir.dim for count in counts])
            found = torch.cat([part @ w for part, w in zip(parts, self._matrices(i, present), strict=True)])
            found = found.view(len(x), ir.dim, found.shape[1]).transpose(1, 2)
            before = outputs[ins.i_out]
            outputs[ins.i_out] = found if before is None else before + found
        filled = [
            x.new_zeros(len(x), irrep.dim) if out is None else out.flatten(1)
            for out, irrep in zip(outputs, self.irreps_out, strict=True)
        ]
        return torch.cat(filled, dim=1).index_select(0, torch.argsort(torch.cat(groups)))

    def _matrices(self, i: int, present: Tensor) -> Tensor:
        """Of each element present, for one instruction [n_elements, mul_in, mul_out]."""
        ins = self.instructions[i]
        matrices: Tensor = self.weight_view_for_instruction(i).transpose(0, 1)[present]
        return matrices * float(ins.path_weight / self.irreps_out[ins.i_out].ir.dim ** 0.5)
