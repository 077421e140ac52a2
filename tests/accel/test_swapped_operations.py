"""Swapped operations one by one, against those they replace: values, gradients, and gradients of those."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from accel.mace_torch import default_dtype
from accel.ops import contraction_by_element, edge_sums
from accel.ops.contraction import SparseSymmetricContraction
from accel.ops.convolution import EdgeMatrixProduct
from accel.ops.element_linear import ElementLinear
from accel.ops.radial_network import FactoredNetwork
from accel.reference import to_graph
from accel.swap import accelerate
from tests.accel.random_models import liquid, random_model

Run = Callable[..., torch.Tensor]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few channels, edges and atoms at a time, as in a system that is large."""
    monkeypatch.setattr(contraction_by_element, "_CHUNK_BYTES", 1)
    monkeypatch.setattr(contraction_by_element, "_PIECE_ATOMS", 2)
    monkeypatch.setattr(edge_sums, "_CHUNK_BYTES", 1)


def assert_same(ours: Run, theirs: Run, given: list[torch.Tensor], parameters: Any) -> None:
    """Values, first gradients by all that is given, and second ones by parameters too."""
    found = []
    for run, weights in ((ours, parameters[0]), (theirs, parameters[1])):
        inputs = [value.detach().requires_grad_() for value in given]
        out = run(*inputs)
        torch.manual_seed(1)
        slope = torch.autograd.grad(
            out, [*inputs, *weights], torch.randn(out.shape).double(), create_graph=True
        )
        # The value beside its slopes, as in a loss of energies and forces.
        loss = sum(((part * torch.randn(part.shape)).sum() for part in slope), (out**2).sum())
        second = torch.autograd.grad(loss, [*inputs, *weights], allow_unused=True, materialize_grads=True)
        found.append((out, *slope, *second))
    for mine, right in zip(*found, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-11, atol=1e-11)


def weights_of(module: Any) -> list[torch.Tensor]:
    """Those that are trained."""
    return [weight for weight in module.parameters() if weight.requires_grad and weight.numel()]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("max_l", [0, 1, 2])
@pytest.mark.parametrize("correlation", [1, 2, 3, 4])
def test_a_contraction_of_any_correlation_is_mace_torchs(correlation: int, max_l: int) -> None:
    irreps = "+".join(("2x0e", "2x1o", "2x2e")[: max_l + 1])
    model = random_model(hidden_irreps=irreps, max_ell=1 if correlation == 4 else 2, correlation=correlation)
    theirs = model.products[0].symmetric_contractions
    ours = copy.deepcopy(theirs)
    SparseSymmetricContraction.adopt(ours)
    y = torch.eye(3, dtype=torch.float64)[[2, 0, 2, 2, 0]]
    x = torch.randn(5, 2, sum(irrep.ir.dim for irrep in theirs.irreps_in), dtype=torch.float64)

    assert_same(lambda x: ours(x, y), lambda x: theirs(x, y), [x], (weights_of(ours), weights_of(theirs)))


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("irreps", ["3x0e", "2x0e+2x1o"])
def test_a_convolution_with_its_network_is_mace_torchs(irreps: str) -> None:
    block = random_model(hidden_irreps=irreps).interactions[1]
    theirs, network = block.conv_tp, block.conv_tp_weights
    ours, factored = copy.deepcopy(theirs), copy.deepcopy(network)
    EdgeMatrixProduct.adopt(ours, torch.float64)
    FactoredNetwork.adopt(factored)
    sender, receiver = torch.randint(6, (2, 40))
    given = [
        torch.randn(rows, n, dtype=torch.float64)
        for rows, n in ((6, theirs.irreps_in1.dim), (40, theirs.irreps_in2.dim), (40, 6))
    ]

    def in_full(x: torch.Tensor, y: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        messages = theirs(x[sender], y, network(features))
        return x.new_zeros(6, messages.shape[1]).index_add(0, receiver, messages)

    def swapped(x: torch.Tensor, y: torch.Tensor, features: torch.Tensor) -> Any:
        return ours(x, y, factored(features), torch.stack([sender, receiver]))

    def handed_over_whole(x: torch.Tensor, y: torch.Tensor, features: torch.Tensor) -> Any:
        return ours(x, y, network(features), torch.stack([sender, receiver]))

    assert_same(swapped, in_full, given, (weights_of(factored), weights_of(network)))
    assert_same(handed_over_whole, in_full, given, (weights_of(network),) * 2)


@pytest.mark.parametrize("irreps", ["3x0e", "2x0e+2x1o"])
def test_a_product_with_elements_is_e3nns(irreps: str) -> None:
    theirs = random_model(hidden_irreps=irreps).interactions[0].skip_tp
    ours = copy.deepcopy(theirs)
    ElementLinear.adopt(ours)
    y = torch.eye(3, dtype=torch.float64)[[2, 0, 2, 2, 0]]
    x = torch.randn(5, theirs.irreps_in1.dim, dtype=torch.float64)

    assert_same(lambda x: ours(x, y), lambda x: theirs(x, y), [x], (weights_of(ours), weights_of(theirs)))


@pytest.mark.parametrize("operation", ["contraction", "convolution"])
def test_a_third_derivative_is_right_too(operation: str) -> None:
    model = random_model(hidden_irreps="1x0e+1x1o", max_ell=1, MLP_irreps="2x0e")
    accelerate(model)
    torch.manual_seed(5)
    if operation == "contraction":
        contraction = model.products[0].symmetric_contractions
        y = torch.eye(3, dtype=torch.float64)[[2, 0]]
        given = [torch.randn(2, 1, 4, dtype=torch.float64)]

        def run(*inputs: torch.Tensor) -> Any:
            return contraction(inputs[0], y)
    else:
        convolution = model.interactions[1].conv_tp
        edges = torch.tensor([[0, 1], [1, 0]])
        sizes = (convolution.irreps_in1.dim, convolution.irreps_in2.dim, convolution.weight_numel)
        given = [torch.randn(2, n, dtype=torch.float64) for n in sizes]

        def run(*inputs: torch.Tensor) -> Any:
            return convolution(*inputs, edges)

    def slopes(*inputs: torch.Tensor) -> Any:
        return torch.autograd.grad((run(*inputs) ** 2).sum(), inputs, create_graph=True)

    inputs = tuple(value.requires_grad_() for value in given)
    assert torch.autograd.gradgradcheck(slopes, inputs)


def test_forces_alone_cost_no_gradient_by_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a gradient by weights that nobody asked for")

    model = random_model(hidden_irreps="2x0e+2x1o")
    accelerate(model)
    graph = to_graph(liquid(2), model)
    with monkeypatch.context() as patched, default_dtype(torch.float64):
        patched.setattr(edge_sums._ByMatrix, "backward", refuse)
        patched.setattr(contraction_by_element._ByCoefficients, "backward", refuse)
        forces = model(graph, training=True)["forces"]
    gradients = torch.autograd.grad((forces**2).sum(), weights_of(model), allow_unused=True)

    assert sum(gradient is not None for gradient in gradients) > len(gradients) // 2
