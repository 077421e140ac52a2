"""Reads a mace-torch model into plain arrays, and refuses by name what the compiled evaluator lacks.

Everything linear is read as matrices and checked here against the module it came from on random
input, so that a change of convention in mace-torch or e3nn stops the preparation of a model instead
of changing its forces.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from accel.evaluator.agreement import must_agree, refuse
from accel.evaluator.gated import Gated, read_gated
from accel.evaluator.high_harmonics import MAX_ELL
from accel.evaluator.pairs import Repulsion, read_repulsion
from accel.evaluator.radial import ElementaryLayerNorm, pairing_of
from accel.evaluator.readout import Readout, read_readout
from accel.mace_torch import o3
from accel.ops.chebyshev import DifferentiableChebyshev
from accel.ops.polynomial import SparsePolynomial, from_symmetric_contraction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrices = tuple[NDArray[np.float64], ...]

MAX_CORRELATION = 4
_NON_LINEAR = "RealAgnosticResidualNonLinearInteractionBlock"
_BLOCKS = (
    "RealAgnosticInteractionBlock",
    "RealAgnosticResidualInteractionBlock",
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
    _NON_LINEAR,
)


@dataclass(frozen=True, slots=True)
class Path:
    """One path of a convolution: sender l_in with harmonics l_edge into l_out."""

    l_in: int
    l_edge: int
    l_out: int
    coupling: NDArray[np.float64]
    """[2 l_in + 1, 2 l_edge + 1, 2 l_out + 1], normalisation included."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One interaction, product and readout, as matrices acting from the right on channels."""

    up: Matrices
    """By l of the sender's features: [n_channels, n_edge_channels]."""
    paths: tuple[Path, ...]
    """Sorted by l_out, in the order in which `linear` stacks them."""
    linear: Matrices
    """By l: [n_paths_of_l · n_edge_channels, n_channels], 1/avg_num_neighbors included."""
    density: tuple[float, float] | None
    """Messages are divided by the first, and the second times the sum of their edges' densities."""
    gated: Gated | None
    """What comes before the contraction in a non-linear block."""
    message_skip: tuple[Matrices, ...] | None
    """By element, by l: [n_channels, n_channels] on the message, where the block is not residual."""
    residual: tuple[Matrices, ...] | None
    """By element, by l: [n_channels, n_channels] from the sender's features past the product."""
    polynomial: SparsePolynomial
    product: Matrices
    """By l of the output: [n_channels, n_channels]."""
    readout: Readout | None


@dataclass(frozen=True, slots=True)
class Extracted:
    """A model as arrays, in fp64."""

    atomic_numbers: NDArray[np.int64]
    cutoff_a: float
    max_ell: int
    n_channels: int
    embedding: NDArray[np.float64]
    """[n_elements, n_channels]."""
    layers: tuple[Layer, ...]
    atomic_energies_ev: NDArray[np.float64]
    """[n_elements]."""
    scale: float
    shift: float
    repulsion: Repulsion | None
    pairing: str
    """For which pairs of elements there have to be radial tables (`radial.table_pairs`)."""


def extract(model: Any, head: int = 0) -> Extracted:
    """Read a mace-torch MACE or ScaleShiftMACE.

    Args:
        model: What `double_copy` makes of it.
        head: The number of the head.
    """
    irreps = o3.Irreps(model.node_embedding.linear.irreps_out)
    scale, shift = 1.0, 0.0
    if hasattr(model, "scale_shift"):
        scale = float(model.scale_shift.scale.reshape(-1)[head])
        shift = float(model.scale_shift.shift.reshape(-1)[head])
    n_layers = len(model.interactions)
    first_read = n_layers - len(model.readouts)  # use_last_readout_only leaves one, on the last layer
    layers = tuple(
        _layer(
            model.interactions[i],
            model.products[i],
            read_readout(model.readouts[i - first_read], head) if i >= first_read else None,
        )
        for i in range(n_layers)
    )
    n_elements = len(model.atomic_numbers)
    with torch.no_grad():
        embedding = model.node_embedding(torch.eye(n_elements, dtype=torch.float64)).numpy()
    return Extracted(
        atomic_numbers=model.atomic_numbers.numpy().astype(np.int64),
        cutoff_a=float(model.r_max),
        max_ell=o3.Irreps(model.spherical_harmonics.irreps_out).lmax,
        n_channels=irreps.dim,
        embedding=embedding,
        layers=layers,
        atomic_energies_ev=np.atleast_2d(model.atomic_energies_fn.atomic_energies.numpy())[head],
        scale=scale,
        shift=shift,
        repulsion=read_repulsion(model) if hasattr(model, "pair_repulsion") else None,
        pairing=pairing_of(model),
    )


def double_copy(model: Any) -> Any:
    """Copy a model to fp64 on the CPU.

    Raises:
        PlanError: The model has a part that the compiled evaluator does not cover.
    """
    _refuse_uncovered(model)
    copied = copy.deepcopy(model).to("cpu").double().eval()
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    if DifferentiableChebyshev.covers(copied.radial_embedding.bessel_fn):
        DifferentiableChebyshev.adopt(copied.radial_embedding.bessel_fn)
    for part in copied.modules():
        if type(part) is torch.nn.LayerNorm:
            part.__class__ = ElementaryLayerNorm
    return copied


def _refuse_uncovered(model: Any) -> None:
    """Name the first part of the model that has no compiled form."""
    kind = type(model).__name__
    if kind not in ("MACE", "ScaleShiftMACE"):
        refuse(f"A model of class {kind}")
    if hasattr(model, "joint_embedding"):
        refuse("A joint embedding of charges or other features")
    lmax = o3.Irreps(model.spherical_harmonics.irreps_out).lmax
    if lmax > MAX_ELL:
        refuse(f"max_ell = {lmax} (above {MAX_ELL})")
    uniform_irreps(model.node_embedding.linear.irreps_out, "An embedding")
    for block in model.interactions:
        uniform_irreps(block.node_feats_irreps, "A layer")
        if type(block).__name__ not in _BLOCKS:
            refuse(f"The interaction {type(block).__name__}")
        if hasattr(block, "conv_fusion") or not isinstance(block.linear_up, o3.Linear):
            refuse("A model whose operations have been swapped already")
    for product in model.products:
        contraction = product.symmetric_contractions
        if type(contraction).__name__ != "SymmetricContraction" or not isinstance(product.linear, o3.Linear):
            refuse("A model whose operations have been swapped already")
        if max(part.correlation for part in contraction.contractions) > MAX_CORRELATION:
            refuse(f"A correlation above {MAX_CORRELATION}")
    if len(model.readouts) not in (1, len(model.interactions)):
        refuse("A model with readouts on some of its layers only")


def _layer(block: Any, product: Any, readout: Readout | None) -> Layer:
    """Everything one interaction does, as matrices."""
    uniform_irreps(block.irreps_out, "The message")
    up = _linear_matrices(block.linear_up)
    density: tuple[float, float] | None = (1.0, 1.0) if hasattr(block, "density_fn") else None
    gated = None
    if type(block).__name__ == _NON_LINEAR:
        density = (float(block.alpha), float(block.beta))
        own = tuple(a @ b for a, b in zip(up, _linear_matrices(block.linear_res), strict=True))
        first, second = _linear_matrices(block.linear_1), _linear_matrices(block.linear_2)
        linear, gated = read_gated(block, first, own, second)
        # A linear layer for all elements alike.
        skip = (_linear_matrices(block.skip_tp),) * block.node_attrs_irreps.dim
    else:
        linear = _linear_matrices(block.linear)
        if density is None:
            linear = tuple(m / float(block.avg_num_neighbors) for m in linear)
        skip = _per_element_matrices(block.skip_tp)
    residual = "Residual" in type(block).__name__
    return Layer(
        up=up,
        paths=_paths(block.conv_tp),
        linear=linear,
        density=density,
        gated=gated,
        message_skip=None if residual else skip,
        residual=skip if residual and product.use_sc else None,
        polynomial=from_symmetric_contraction(product.symmetric_contractions),
        product=_linear_matrices(product.linear),
        readout=readout,
    )


def uniform_irreps(irreps: Any, what: str) -> Any:
    """Irreps that hold l = 0, 1, … once each, all with the same number of channels."""
    irreps = o3.Irreps(irreps)
    if [ir.l for _, ir in irreps] != list(range(len(irreps))) or len({mul for mul, _ in irreps}) != 1:
        refuse(f"{what} with irreps {irreps}")
    return irreps


def _linear_matrices(linear: Any) -> Matrices:
    """An `o3.Linear` as one matrix per output l, inputs of equal l stacked in order."""
    by_l: dict[int, list[NDArray[np.float64]]] = {}
    if linear.bias is not None and linear.bias.numel():
        refuse("A linear layer with a bias")
    for index, instruction in sorted(enumerate(linear.instructions), key=lambda item: item[1].i_in):
        weight = linear.weight_view_for_instruction(index).numpy() * instruction.path_weight
        by_l.setdefault(linear.irreps_out[instruction.i_out].ir.l, []).append(weight)
    matrices = tuple(np.concatenate(by_l[ell], axis=0) for ell in sorted(by_l))
    _check_linear(linear, matrices)
    return matrices


def _check_linear(linear: Any, matrices: Matrices) -> None:
    """Apply the module and the matrices to the same input; they must agree."""
    x = torch.randn(2, linear.irreps_in.dim, dtype=torch.float64)
    expected = linear(x)
    outputs = []
    for mul_out, ir_out in linear.irreps_out:
        if ir_out.l >= len(matrices):  # nothing leads there
            outputs.append(np.zeros((2, mul_out * ir_out.dim)))
            continue
        parts = [
            x[:, s].reshape(2, mul, ir.dim)
            for (mul, ir), s in zip(linear.irreps_in, linear.irreps_in.slices(), strict=True)
            if ir.l == ir_out.l
        ]
        stacked = torch.cat(parts, dim=1).numpy()
        outputs.append(np.einsum("bum,uw->bwm", stacked, matrices[ir_out.l]).reshape(2, -1))
    must_agree(np.concatenate(outputs, axis=1), expected.numpy(), "an equivariant linear layer")


def _per_element_matrices(skip_tp: Any) -> tuple[Matrices, ...]:
    """The skip product with a one-hot element as one matrix per element and l, read by probing."""
    n_elements = skip_tp.irreps_in2.dim
    per_l: list[NDArray[np.float64]] = []
    one_hot = torch.eye(n_elements, dtype=torch.float64)
    starts = {
        ir.l: s.start for (_, ir), s in zip(skip_tp.irreps_in1, skip_tp.irreps_in1.slices(), strict=True)
    }
    for (mul_out, ir), s in zip(skip_tp.irreps_out, skip_tp.irreps_out.slices(), strict=True):
        if ir.l not in starts:
            # A residual that starts from scalars reaches no higher l.
            continue
        mul_in = next(mul for mul, ir_in in skip_tp.irreps_in1 if ir_in == ir)
        probe = torch.zeros(mul_in, skip_tp.irreps_in1.dim, dtype=torch.float64)
        # One channel at a time, component m = 0 of its irrep.
        probe[torch.arange(mul_in), starts[ir.l] + torch.arange(mul_in) * ir.dim] = 1.0
        matrices = np.empty((n_elements, mul_in, mul_out))
        for element in range(n_elements):
            out = skip_tp(probe, one_hot[element].expand(mul_in, n_elements))
            matrices[element] = out[:, s].reshape(mul_in, mul_out, ir.dim)[:, :, 0].numpy()
        per_l.append(matrices)
    return tuple(tuple(m[e] for m in per_l) for e in range(n_elements))


def _paths(conv_tp: Any) -> tuple[Path, ...]:
    """The paths of the convolution in the order of its (sorted) output irreps."""
    paths = []
    for instruction in sorted(conv_tp.instructions, key=lambda ins: ins.i_out):
        if instruction.connection_mode != "uvu" or conv_tp.irreps_in2[instruction.i_in2].mul != 1:
            refuse(f"A convolution of mode {instruction.connection_mode}")
        l_in, l_edge, l_out = (
            conv_tp.irreps_in1[instruction.i_in1].ir.l,
            conv_tp.irreps_in2[instruction.i_in2].ir.l,
            conv_tp.irreps_out[instruction.i_out].ir.l,
        )
        coupling = o3.wigner_3j(l_in, l_edge, l_out, dtype=torch.float64).numpy() * instruction.path_weight
        paths.append(Path(l_in, l_edge, l_out, coupling))
    _check_paths(conv_tp, paths)
    return tuple(paths)


def _check_paths(conv_tp: Any, paths: list[Path]) -> None:
    """One random edge through the module and through the paths."""
    senders = uniform_irreps(conv_tp.irreps_in1, "A sender")
    mul = senders[0].mul
    x = torch.randn(1, senders.dim, dtype=torch.float64)
    y = torch.randn(1, conv_tp.irreps_in2.dim, dtype=torch.float64)
    # Weights follow the instructions, which mace-torch sorts by output: the order of `paths`.
    weights = torch.randn(1, conv_tp.weight_numel, dtype=torch.float64)
    expected = conv_tp(x, y, weights).numpy()
    features = [x[0, s].reshape(mul, -1).numpy() for s in senders.slices()]
    harmonics = [y[0, s].numpy() for s in conv_tp.irreps_in2.slices()]
    radial = weights.reshape(len(paths), mul).numpy()
    ours = [
        (
            radial[i][:, None] * np.einsum("ua,b,abk->uk", features[p.l_in], harmonics[p.l_edge], p.coupling)
        ).reshape(-1)
        for i, p in enumerate(paths)
    ]
    must_agree(np.concatenate(ours)[None], expected, "the convolution's tensor product")
