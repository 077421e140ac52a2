import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from accel.accuracy import ErrorStats, compare
from accel.data import load_structures, sized_system
from accel.errors import PlanError
from accel.plan import (
    PLANS,
    REFERENCE,
    ROUNDING_FP32,
    ErrorBudget,
    Plan,
    build_evaluator,
    find_plan,
    find_plans,
    named_plan,
)
from accel.reference import ReferenceEvaluator, load_model


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return load_model("h2co-small")


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_plan_survives_the_way_through_its_file(plan: Plan) -> None:
    assert Plan.from_json(plan.to_json()) == plan


def test_options_and_a_tolerance_of_ones_own_survive_too() -> None:
    plan = Plan(
        "mine", "compile", "float32", {"mode": "max-autotune", "k": 3}, ErrorBudget(1.0, 2.0, 3.0, 4.0)
    )
    assert Plan.from_json(plan.to_json()) == plan


def test_a_plan_file_is_found_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(replace(named_plan("compile"), name="mine").to_json())
    assert find_plan(str(path)) == replace(named_plan("compile"), name="mine")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a JSON object"),
        ("{}", "lacks name"),
        ('{"name": "a", "nmae": 1}', "no key nmae"),
        ('{"v": 2, "name": "a"}', "version 2"),
        ('{"name": "a", "dtype": "float16"}', "float16"),
        ('{"name": 3}', "name should be text"),
        ('{"name": ""}', "printable name"),
        ('{"name": "a", "options": {"b": []}}', "plain values"),
        ('{"name": "a", "tolerance": {"force_max_mev_per_a": 1}}', "lacks tolerance.energy_mev_per_atom"),
        ('{"name": "a", "tolerance": 1}', "should be a JSON object"),
    ],
)
def test_a_plan_that_is_wrong_says_where(text: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        Plan.from_json(text)


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf"), "1", True])
def test_a_budget_is_a_number_over_0(limit: float) -> None:
    with pytest.raises(PlanError, match="force_rmse_mev_per_a should be a number over 0"):
        ErrorBudget(1.0, limit, 1.0, 1.0)


def test_an_error_within_the_budget_exceeds_nothing() -> None:
    assert ROUNDING_FP32.exceeded_by(ErrorStats(1, 0.01, 0.01, 0.1)) == ""


def test_what_is_over_the_budget_is_said_with_its_limit() -> None:
    said = ROUNDING_FP32.exceeded_by(ErrorStats(1, 0.01, 0.25, 0.1, stress_rmse_mev_per_a3=7.0))
    assert said == "force error (rms) 0.25 meV/Å, allowed 0.1; stress error (rms) 7 meV/Å³, allowed 0.05"


def test_nan_is_over_every_budget() -> None:
    assert "energy error nan" in ErrorBudget(1e9, 1e9, 1e9, 1e9).exceeded_by(
        ErrorStats(1, float("nan"), 0.0, 0.0)
    )


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(PlanError, match="'fastest'; there are: reference, reference-fp32"):
        find_plan("fastest")


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(PlanError, match=r"gone\.json cannot be read: No such file"):
        find_plan("gone.json")


def test_all_stands_for_every_plan_that_is_not_a_choice_among_them() -> None:
    every = find_plans(["fast", "all"])
    assert every[0] == named_plan("fast")
    assert sorted(plan.name for plan in every) == sorted(set(PLANS) - {"auto"})
    assert find_plans(["swap", "reference"]) == [named_plan("swap"), REFERENCE]


def test_an_unknown_technique_is_named(model: nn.Module) -> None:
    with pytest.raises(PlanError, match="the technique 'magic'; there are: mace"):
        build_evaluator(model, Plan("mine", "magic"))


def test_options_that_a_technique_does_not_have_are_refused(model: nn.Module) -> None:
    with pytest.raises(PlanError, match="has no option speed; it has none"):
        build_evaluator(model, Plan("mine", options={"speed": 11}))
    with pytest.raises(PlanError, match="has no option speed; there are: backend, many_threads, cuda_graphs"):
        build_evaluator(model, Plan("mine", "compile", options={"speed": 11}))
    with pytest.raises(PlanError, match="many_threads should be of type bool, not 2"):
        build_evaluator(model, Plan("mine", "compile", options={"many_threads": 2}))


def test_compiled_kernels_are_refused_where_they_cannot_run(model: nn.Module) -> None:
    with pytest.raises(PlanError, match="Plan fast runs on the CPU only, not on cuda: use plan swap there"):
        build_evaluator(model, named_plan("fast"), "cuda")


def test_swapped_operations_give_the_answer_of_mace_torch(model: nn.Module) -> None:
    atoms = sized_system(load_structures("shipped:liquid"), 6)
    right = ReferenceEvaluator(model).evaluate(atoms)
    for plan in (named_plan("swap"), named_plan("swap-fp32")):
        found = build_evaluator(model, plan).evaluate(atoms)
        assert plan.tolerance.exceeded_by(compare(found, right)) == ""
        assert np.any(found.forces != right.forces)


def test_a_plan_in_another_precision_leaves_the_model_as_it_is(model: nn.Module) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kinds = [type(module) for module in model.modules()]
    build_evaluator(model, named_plan("swap-fp32"))
    after = model.state_dict()
    assert [type(module) for module in model.modules()] == kinds
    assert all(
        after[name].dtype == value.dtype and after[name].equal(value) for name, value in before.items()
    )


def test_plans_and_the_package_load_without_torch() -> None:
    code = "import accel, accel.plan, accel.provenance, accel.cli, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_reference_is_fp64_by_mace_torch_itself() -> None:
    assert (REFERENCE.technique, REFERENCE.dtype) == ("mace", "float64")
    assert json.loads(REFERENCE.to_json())["tolerance"]["force_max_mev_per_a"] <= 1e-3
