"""cuEquivariance for real, in plain torch on the CPU; what needs a GPU is refused for real."""

import sys
from typing import Any

import numpy as np
import pytest
import torch

from accel.accuracy import compare
from accel.errors import MissingBackend, PlanError
from accel.mace_torch import build_model, has_reduced_couplings, model_config
from accel.plan import Plan, build_evaluator, named_plan
from accel.reference import ReferenceEvaluator, load_model
from accel.vendors import converters
from accel.vendors.converters import cuequivariance_evaluator
from tests.accel.random_models import DENSITY_RESIDUAL, liquid, random_model

SMALL: dict[str, Any] = {"hidden_irreps": "4x0e+4x1o", "max_ell": 1}


@pytest.mark.parametrize("changes", [{}, {"interaction_cls": DENSITY_RESIDUAL, "pair_repulsion": True}])
def test_a_model_on_cuequivariance_is_the_same_function(changes: dict[str, Any]) -> None:
    model = random_model(**SMALL, **changes)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    right = ReferenceEvaluator(model).evaluate(liquid(4), stress=True)

    evaluator = cuequivariance_evaluator(model, dtype="float64", device="cpu")
    found = evaluator.evaluate(liquid(4), stress=True)

    kinds = {type(module).__module__.partition(".")[0] for module in evaluator.model.modules()}
    assert "cuequivariance_torch" in kinds
    assert torch.get_default_dtype() == torch.float32
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert found.energy_ev == pytest.approx(right.energy_ev, rel=1e-13)
    np.testing.assert_allclose(found.forces, right.forces, rtol=0, atol=1e-12)
    assert found.stress is not None
    assert right.stress is not None
    np.testing.assert_allclose(found.stress, right.stress, rtol=0, atol=1e-13)


def test_the_plans_pass_the_gate_on_a_trained_model() -> None:
    model = load_model("h2co-small")
    right = ReferenceEvaluator(model).evaluate(liquid(4), stress=True)
    for plan in (named_plan("cueq"), named_plan("cueq-fp32")):
        found = build_evaluator(model, plan).evaluate(liquid(4), stress=True)
        assert plan.tolerance.exceeded_by(compare(found, right)) == ""


def test_couplings_that_cuequivariance_reduced_are_told_from_those_that_only_should_be() -> None:
    reduced, plain = random_model(**SMALL, use_reduced_cg=True), random_model(**SMALL)
    assert has_reduced_couplings(reduced)
    assert not has_reduced_couplings(plain)
    plain.use_reduced_cg = True  # what a model says that was built where cuEquivariance was missing
    assert not has_reduced_couplings(plain)
    assert model_config(plain)["use_reduced_cg"] is False
    rebuilt = build_model(model_config(reduced), torch.float64)
    rebuilt.load_state_dict(reduced.state_dict())
    for model in (reduced, plain):
        right = ReferenceEvaluator(model).evaluate(liquid(4))
        found = build_evaluator(model, named_plan("cueq")).evaluate(liquid(4))
        np.testing.assert_allclose(found.forces, right.forces, rtol=0, atol=1e-12)


def test_what_the_converter_does_not_know_is_refused() -> None:
    model = random_model(max_ell=1, correlation=4, hidden_irreps="2x0e")
    with pytest.raises(PlanError, match=r"this ScaleShiftMACE on cuEquivariance \(.*Correlation 4"):
        build_evaluator(model, named_plan("cueq"))
    with pytest.raises(PlanError, match="has no option fusion"):
        build_evaluator(model, Plan("mine", "cueq", options={"fusion": True}))


def test_weights_that_got_lost_on_the_way_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(**SMALL)

    def forgetful(source: Any, **_: Any) -> Any:
        return build_model(model_config(source), torch.float64)

    with pytest.raises(PlanError, match="converter for mine lost the weights"):
        converters._converted(forgetful, model, "mine")


def test_without_the_library_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuequivariance_torch", None)
    with pytest.raises(MissingBackend, match=r"pip install mace-workbench\[cueq\]"):
        build_evaluator(random_model(**SMALL), named_plan("cueq"))


@pytest.mark.parametrize("plan", ["oeq", "oeq-fp32"])
def test_openequivariance_is_refused_where_it_has_no_kernels(plan: str) -> None:
    with pytest.raises(MissingBackend, match=r"CUDA and ROCm only, not for cpu: .*mace-workbench\[oeq\]"):
        build_evaluator(random_model(**SMALL), named_plan(plan))


@pytest.mark.parametrize("plan", ["cueq", "oeq", "graphs-fp32", "blocks-tf32", "swap", "compile"])
def test_a_gpu_that_is_not_here_is_named(plan: str) -> None:
    if torch.cuda.is_available():
        return
    with pytest.raises(MissingBackend, match="torch cannot use the device cuda here"):
        build_evaluator(random_model(**SMALL), named_plan(plan), "cuda")


def test_cuda_graphs_are_refused_on_the_cpu() -> None:
    with pytest.raises(MissingBackend, match="CUDA graphs need an NVIDIA GPU, and cpu is none"):
        build_evaluator(random_model(**SMALL), named_plan("graphs-fp32"))
