"""Readouts: from an atom's scalars to its energy, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from accel.evaluator.agreement import must_agree, refuse
from accel.evaluator.compilation import step

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Readout:
    """Energy of an atom from its scalars: `x @ first`, and with `second` gated layers on top."""

    first: NDArray[np.float64]
    """[n_channels, n_hidden]; one column where the readout is linear."""
    middle: NDArray[np.float64] | None = None
    """[n_hidden + 1, n_hidden], the last row a bias; None where there is no second hidden layer."""
    second: NDArray[np.float64] | None = None
    """[n_hidden]; None where the readout is linear."""
    bias: float = 0.0
    gate: str = "identity"
    """`silu`, `tanh`, `abs` or `identity`."""
    gate_scale: float = 1.0
    """Factor that e3nn puts on a gate so that its second moment is one."""


_GATES = {
    torch.nn.functional.silu: "silu",
    torch.tanh: "tanh",
    torch.abs: "abs",
}


def read_readout(readout: Any, head: int) -> Readout:
    """A linear or gated readout of one head's energy, checked against the module."""
    kind = type(readout).__name__
    if kind == "LinearReadoutBlock":
        found = Readout(first=_scalar_matrix(readout.linear)[:, [head]])
    elif kind in ("NonLinearReadoutBlock", "NonLinearBiasReadoutBlock"):
        found = _gated_readout(readout, head)
    else:
        refuse(f"The readout {kind}")
    linear = readout.linear if kind == "LinearReadoutBlock" else readout.linear_1
    x = torch.randn(3, linear.irreps_in.dim, dtype=torch.float64)
    theirs = readout(x, torch.full((3,), head))[:, head].numpy()
    scalars = x[:, linear.irreps_in.slices()[0]].numpy()
    must_agree(_energy(found, scalars), theirs, "a readout")
    return found


def _gated_readout(readout: Any, head: int) -> Readout:
    """With several heads each has hidden channels of its own; all others are masked."""
    (act,) = readout.non_linearity.acts
    function = getattr(act, "f", act)
    if function is not None and function not in _GATES:
        refuse(f"The readout gate {getattr(function, '__name__', function)}")
    first, last = _scalar_matrix(readout.linear_1), _scalar_matrix(readout.linear_2)
    width = first.shape[1] // getattr(readout, "num_heads", 1)
    own = slice(head * width, (head + 1) * width)
    middle = None
    if hasattr(readout, "linear_mid"):
        weights = _scalar_matrix(readout.linear_mid)[own, own]
        middle = np.concatenate([weights, readout.linear_mid.bias.numpy()[None, own]])
    return Readout(
        first=first[:, own],
        middle=middle,
        second=last[own, head],
        bias=float(readout.linear_2.bias[head]) if readout.linear_2.bias.numel() else 0.0,
        gate="identity" if function is None else _GATES[function],
        gate_scale=1.0 if function is None else float(act.cst),
    )


def _energy(readout: Readout, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a readout makes of scalars [n, n_channels]."""

    def gate(y: NDArray[np.float64]) -> NDArray[np.float64]:
        shapes = {"silu": y / (1 + np.exp(-y)), "tanh": np.tanh(y), "abs": np.abs(y), "identity": y}
        gated: NDArray[np.float64] = shapes[readout.gate] * readout.gate_scale
        return gated

    y = x @ readout.first
    if readout.second is None:
        return y[:, 0]
    y = gate(y)
    if readout.middle is not None:
        y = gate(y @ readout.middle[:-1] + readout.middle[-1])
    energy: NDArray[np.float64] = y @ readout.second + readout.bias
    return energy


def _scalar_matrix(linear: Any) -> NDArray[np.float64]:
    """The matrix on scalars of a readout's linear layer, which ignores higher l."""
    if any(ir.l for _, ir in linear.irreps_out):
        refuse(f"A readout of {linear.irreps_out}")
    found = [ins for ins in linear.instructions if ins.i_in >= 0]  # a bias is an instruction too
    if len(found) != 1 or found[0].i_in != 0:
        refuse(f"A readout of {linear.irreps_in}")
    matrix: NDArray[np.float64] = linear.weight_view_for_instruction(0).numpy() * found[0].path_weight
    return matrix


GATES = ("identity", "silu", "tanh", "abs")
"""What kernels call by number."""


@step
def gate(number: int, x: float) -> tuple[float, float]:
    """A gate's value at `x`, and its derivative there."""
    if number == 1:
        sigmoid = 1.0 / (1.0 + np.exp(-x))
        return x * sigmoid, sigmoid * (1.0 + x * (1.0 - sigmoid))
    if number == 2:
        value = np.tanh(x)
        return value, 1.0 - value * value
    if number == 3:
        return abs(x), np.sign(x)
    return x, 1.0


@step
def read_out(layer: Any, features: Any, atoms: int, scale: float, energies: Any, g_features: Any) -> None:
    """Add the readout of a block to its `energies`; set the gradient by its features.

    Sums are kept in fp64 whatever the working precision.
    """
    channels, hidden = layer.readout.shape
    first = np.empty(hidden)
    by_first = np.empty(hidden)
    scratch = np.empty((2, hidden))
    for k in range(atoms * layer.n_out * layer.channels):
        g_features[k] = 0
    for i in range(atoms):
        row = i * layer.channels
        for j in range(hidden):
            first[j] = 0.0
        for c in range(channels):
            x = np.float64(features[row + c])
            for j in range(hidden):
                first[j] += x * layer.readout[c, j]
        if len(layer.readout_second) == 0:
            for j in range(hidden):
                energies[i] += scale * first[j]
                by_first[j] = scale
        else:
            energies[i] += scale * _hidden_energy(layer, scale, first, by_first, scratch)
        for c in range(channels):
            by_feature = 0.0
            for j in range(hidden):
                by_feature += by_first[j] * layer.readout[c, j]
            g_features[row + c] = by_feature


@step
def _hidden_energy(layer: Any, scale: float, x: Any, g: Any, scratch: Any) -> float:
    """Energy that the gated layers make of `x`, and `scale` times its gradient, into `g`."""
    hidden = len(x)
    for j in range(hidden):
        value, derivative = gate(layer.gate, x[j])
        x[j] = value * layer.gate_scale
        scratch[0, j] = derivative * layer.gate_scale
        g[j] = scale * layer.readout_second[j]
    _through_the_middle(layer, x, scratch[1], g)
    energy: float = layer.readout_bias
    for j in range(hidden):
        energy += layer.readout_second[j] * x[j]
        g[j] *= scratch[0, j]
    return energy


@step
def _through_the_middle(layer: Any, x: Any, scratch: Any, g: Any) -> None:
    """Put `x` through a second hidden layer and its gradient `g` back through it, in place."""
    middle = layer.readout_middle
    hidden = len(x)
    if len(middle) == 0:
        return
    for j in range(hidden):
        total: float = middle[hidden, j]
        for i in range(hidden):
            total += x[i] * middle[i, j]
        value, derivative = gate(layer.gate, total)
        scratch[j] = value * layer.gate_scale
        g[j] *= derivative * layer.gate_scale
    for i in range(hidden):
        total = 0.0
        for j in range(hidden):
            total += g[j] * middle[i, j]
        x[i] = total  # what it held is in no sum any more
    for i in range(hidden):
        g[i] = x[i]
        x[i] = scratch[i]
