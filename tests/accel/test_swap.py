import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from ase.build import molecule

from accel.errors import PlanError
from accel.mace_torch import quiet
from accel.reference import ReferenceEvaluator, to_graph
from accel.swap import accelerate, swap_operations
from tests.accel.random_models import (
    ATTENTION,
    COVERED,
    NON_LINEAR,
    NOT_COVERED,
    liquid,
    random_model,
    structures,
)

FAMILIES: dict[str, dict[str, Any]] = {
    **COVERED,
    **{family: changes for family, (changes, _) in NOT_COVERED.items()},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_accelerated_model_is_the_same_function_with_the_same_state(family: str) -> None:
    changes = FAMILIES[family]
    model = random_model(**changes)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = list(model.parameters())
    atoms = liquid(8)
    before = ReferenceEvaluator(model).evaluate(atoms, stress=True)

    report = swap_operations(model)

    after = ReferenceEvaluator(model).evaluate(atoms, stress=True)
    kinds = [type(block).__name__ for block in model.interactions]
    # Contraction and convolution, and in most blocks the radial network and the product with elements.
    expected = 2 * len(kinds) + sum(kind != NON_LINEAR for kind in kinds)
    expected += sum(kind not in (NON_LINEAR, ATTENTION) for kind in kinds)
    assert len(report.swapped) == expected + (changes.get("radial_type") == "chebyshev")
    assert report.left == ()
    assert after.energy_ev == pytest.approx(before.energy_ev, rel=1e-12)
    np.testing.assert_allclose(after.forces, before.forces, rtol=0, atol=1e-11)
    assert after.stress is not None
    assert before.stress is not None
    np.testing.assert_allclose(after.stress, before.stress, rtol=0, atol=1e-12)
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(ours is theirs for ours, theirs in zip(model.parameters(), parameters, strict=True))


def test_every_kind_of_structure_gives_the_same_answer() -> None:
    model = random_model(hidden_irreps="4x0e+4x1o")
    fast = copy.deepcopy(model)
    accelerate(fast)

    for atoms in structures().values():
        truth, ours = ReferenceEvaluator(model).evaluate(atoms), ReferenceEvaluator(fast).evaluate(atoms)
        np.testing.assert_allclose(ours.forces, truth.forces, rtol=0, atol=1e-11)


def test_the_gradient_of_a_force_loss_is_the_same() -> None:
    """Training differentiates forces: a second derivative through every swapped operation."""
    model = random_model(hidden_irreps="4x0e+4x1o")
    fast = copy.deepcopy(model)
    accelerate(fast)
    gradients = []
    for each in (model, fast):
        graph = to_graph(molecule("CH3COOH"), each)
        out = each(graph, training=True, compute_force=True)
        loss = (out["forces"] ** 2).sum() + out["energy"].sum() ** 2 * 1e-6
        gradients.append(torch.autograd.grad(loss, list(each.parameters()), allow_unused=True))

    for ours, theirs in zip(*gradients, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_in_fp32_the_answer_stays_within_rounding_of_fp64() -> None:
    model = random_model(hidden_irreps="4x0e+4x1o")
    truth = ReferenceEvaluator(copy.deepcopy(model)).evaluate(liquid(8))
    model = model.float()
    accelerate(model)

    ours = ReferenceEvaluator(model).evaluate(liquid(8))

    assert np.abs(ours.forces - truth.forces).max() < 1e-4
    assert all(b.dtype != torch.float64 for b in model.interactions.buffers())


@pytest.mark.parametrize("operation", ["contraction", "convolution"])
def test_operations_pass_gradcheck_and_gradgradcheck(operation: str) -> None:
    model = random_model(hidden_irreps="2x0e+2x1o", max_ell=1, MLP_irreps="2x0e")
    accelerate(model)
    if operation == "contraction":
        module = model.products[0].symmetric_contractions
        # Non-contiguous on purpose.
        x = torch.randn(4, 2, 2, dtype=torch.float64).permute(1, 2, 0).requires_grad_()
        y = torch.eye(3, dtype=torch.float64)[[2, 0]]
        arguments: tuple[torch.Tensor, ...] = (x,)

        def run(*given: torch.Tensor) -> Any:
            return module(given[0], y)
    else:
        module = model.interactions[1].conv_tp
        edges = torch.tensor([[0, 2, 2, 1], [1, 1, 0, 2]])
        arguments = tuple(
            torch.randn(rows, n, dtype=torch.float64, requires_grad=True)
            for rows, n in ((3, module.irreps_in1.dim), (4, module.irreps_in2.dim), (4, module.weight_numel))
        )

        def run(*given: torch.Tensor) -> Any:
            return module(*given, edges)

    assert torch.autograd.gradcheck(run, arguments)
    assert torch.autograd.gradgradcheck(run, arguments)


def test_accelerating_twice_changes_nothing_more() -> None:
    model = random_model()

    first, second = swap_operations(model), swap_operations(model)

    assert first == second


def test_an_accelerated_model_can_be_stored_and_copied() -> None:
    model = random_model()
    accelerate(model)
    atoms = molecule("H2O")
    truth = ReferenceEvaluator(model).evaluate(atoms).forces

    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    with quiet():
        again = torch.load(stored, weights_only=False)

    for other in (again, copy.deepcopy(model)):
        np.testing.assert_array_equal(ReferenceEvaluator(other).evaluate(atoms).forces, truth)


def test_swapped_operations_run_on_the_meta_device() -> None:
    """Nothing in them reads a value, so nothing in them waits for a device."""
    model = random_model(hidden_irreps="4x0e+4x1o")
    accelerate(model)
    contraction = model.to("meta").products[0].symmetric_contractions

    out = contraction(torch.empty(5, 4, 16, device="meta"), torch.empty(5, 3, device="meta"))

    assert out.shape == (5, contraction.irreps_out.dim)
    assert out.device.type == "meta"


def test_what_cannot_be_accelerated_is_refused() -> None:
    with pytest.raises(PlanError, match="Nothing in this Linear"):
        accelerate(torch.nn.Linear(2, 2))
    with pytest.raises(PlanError, match="no plan 'quick'"):
        accelerate(random_model(), plan="quick")


def test_the_model_itself_is_given_back_and_reference_leaves_it_alone() -> None:
    model = random_model()
    kinds = [type(module) for module in model.modules()]
    assert accelerate(model, plan="reference") is model
    assert [type(module) for module in model.modules()] == kinds
    assert accelerate(model) is model
    assert [type(module) for module in model.modules()] != kinds


def test_a_whole_swapped_model_waits_for_no_device() -> None:
    """The meta device has no values: whoever asks for one, for which a GPU has to be waited for, fails."""
    model = random_model(**COVERED["vectors"])
    accelerate(model)
    graph = {name: value.to("meta") for name, value in to_graph(liquid(4), model).items()}
    model = model.to("meta")

    forces = model(graph, compute_stress=True)
    trained = model(graph, training=True)["forces"]
    gradients = torch.autograd.grad((trained**2).sum(), list(model.parameters()), allow_unused=True)

    assert forces["forces"].shape == (12, 3)
    assert forces["stress"].shape == (1, 3, 3)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert gradient is None or (gradient.shape, gradient.device.type) == (parameter.shape, "meta")
    assert sum(gradient is not None for gradient in gradients) > len(gradients) // 2
