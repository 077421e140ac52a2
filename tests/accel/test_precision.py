"""Blocks in a precision of their own: what is measured, what stays, and what is refused."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from ase.build import molecule

from accel.errors import MissingBackend, PlanError
from accel.plan import BLOCKS, Plan, build_evaluator, named_plan
from accel.precision import _begun, _End, lower_blocks, tf32_products
from accel.reference import ReferenceEvaluator, load_model, to_graph
from tests.accel.random_models import COVERED, liquid, random_model


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model("h2co-small")


def force_error_mev_per_a(model: Any, options: dict[str, Any]) -> float:
    atoms = molecule("CH3OH")
    right = ReferenceEvaluator(copy.deepcopy(model)).evaluate(atoms)
    found = build_evaluator(model, Plan("mine", "blocks", options=options)).evaluate(atoms)
    return float(np.sqrt(np.mean((found.forces - right.forces) ** 2)) * 1e3)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_has_an_error_that_grows_as_bits_go(model: Any, block: str) -> None:
    single, half = (force_error_mev_per_a(model, {block: precision}) for precision in ("float32", "bfloat16"))
    assert 0.0 < single < 0.01 < half < 1e4


def test_more_bits_of_a_fraction_are_worth_more_than_those_of_an_exponent(model: Any) -> None:
    errors = [
        force_error_mev_per_a(model, {"linears": precision})
        for precision in ("float64", "float32", "float16", "bfloat16")
    ]
    assert errors == sorted(errors)
    assert errors[0] == 0.0


def test_swapped_operations_take_other_precisions_too(model: Any) -> None:
    blocks = {"convolution": "bfloat16", "contraction": "bfloat16", "swap": True}
    assert 0.01 < force_error_mev_per_a(model, blocks) < 1e4


def test_a_layer_can_be_chosen(model: Any) -> None:
    both = force_error_mev_per_a(model, {"convolution": "bfloat16"})
    each = [force_error_mev_per_a(model, {"convolution": "bfloat16", "layers": layer}) for layer in "01"]
    assert min(each) > 0.0
    assert len({both, *each}) == 3
    last = lower_blocks(copy.deepcopy(model), {"readouts": "float32", "contraction": "float32"}, layers=[1])
    assert last == ("products.1.symmetric_contractions", "readouts.1")


@pytest.mark.parametrize("family", ["non-linear", "two heads"])
def test_blocks_of_other_families_take_fp32(family: str) -> None:
    model = random_model(**COVERED[family])
    truth = ReferenceEvaluator(copy.deepcopy(model)).evaluate(liquid(4), stress=True)

    found = build_evaluator(model, named_plan("blocks-fp32")).evaluate(liquid(4), stress=True)

    assert 0.0 < np.abs(found.forces - truth.forces).max() < 1e-4
    assert found.forces.dtype == np.float64


def test_state_and_gradients_stay_in_the_precision_of_the_model() -> None:
    model = random_model(hidden_irreps="4x0e+4x1o", max_ell=1)
    gradients = []
    for lowered in (False, True):
        each = copy.deepcopy(model)
        if lowered:
            lower_blocks(each, dict.fromkeys(BLOCKS, "float32"))
        state = each.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert list(state) == list(model.state_dict())
        out = each(to_graph(molecule("CH3OH"), each), training=True)
        loss = (out["forces"] ** 2).sum()
        gradients.append(torch.autograd.grad(loss, list(each.parameters()), allow_unused=True))
    for exact, found in zip(*gradients, strict=True):
        assert (exact is None) == (found is None)
        if exact is not None and found is not None:
            assert found.dtype == torch.float64
            torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-4 * float(exact.abs().max()))


def test_forces_are_the_slope_of_the_lowered_energy(model: Any) -> None:
    """Casts are part of what is differentiated; in fp32 the difference is seen above the rounding."""
    evaluator = build_evaluator(model, Plan("mine", "blocks", options={"radial": "float32"}))
    atoms = molecule("CH3OH")
    force = evaluator.evaluate(atoms).forces[0, 2]
    energies = []
    for step in (-1e-3, 1e-3):
        moved = atoms.copy()
        moved.positions[0, 2] += step
        energies.append(evaluator.evaluate(moved).energy_ev)
    assert force == pytest.approx(-(energies[1] - energies[0]) / 2e-3, abs=2e-3)


def test_what_cannot_be_had_is_refused(model: Any) -> None:
    with pytest.raises(MissingBackend, match=r"TF32 is a way in which NVIDIA's GPUs .* cpu is none"):
        build_evaluator(model, named_plan("blocks-tf32"))
    with pytest.raises(PlanError, match="radial in float8 cannot be had; there are the blocks radial,"):
        build_evaluator(model, Plan("mine", "blocks", options={"radial": "float8"}))
    with pytest.raises(PlanError, match="no layer 7; it has those from 0 to 1"):
        build_evaluator(model, Plan("mine", "blocks", options={"radial": "float32", "layers": "7"}))
    with pytest.raises(PlanError, match='such as "0,1", not'):
        build_evaluator(model, Plan("mine", "blocks", options={"radial": "float32", "layers": "a"}))
    with pytest.raises(PlanError, match="has no option radail"):
        build_evaluator(model, Plan("mine", "blocks", options={"radail": "float32"}))


class Watched(torch.autograd.Function):
    """Notes in which precision fp32 matrices would be multiplied, both ways."""

    seen: list[tuple[str, str]] = []  # noqa: RUF012

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        Watched.seen.append(("forward", torch.get_float32_matmul_precision()))
        return value * 2

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        Watched.seen.append(("backward", torch.get_float32_matmul_precision()))
        return gradients[0] * 2


def test_tf32_is_on_in_both_passes_of_a_block_and_off_outside() -> None:
    # There is no GPU here: the switch is watched, not what it does.
    Watched.seen.clear()
    x = torch.ones(3, requires_grad=True)
    watched: Any = Watched.apply
    end: Any = _End.apply
    before = watched(x)
    with tf32_products():
        inside = end(watched(_begun([before])[0]))
    watched(inside).sum().backward()
    assert Watched.seen == [
        ("forward", "highest"),
        ("forward", "high"),
        ("forward", "highest"),
        ("backward", "highest"),
        ("backward", "high"),
        ("backward", "highest"),
    ]
    assert torch.get_float32_matmul_precision() == "highest"
    assert x.grad is not None
    assert x.grad.tolist() == [8.0] * 3
