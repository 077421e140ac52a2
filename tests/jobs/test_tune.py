"""`jobs.tune` as it runs on a cluster: a real model, real structures, real files."""

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import accel
from accel.data import load_structures, sized_system
from accel.plan import REFERENCE, USUAL_BUDGET, ErrorBudget, build_evaluator, find_plan
from accel.reference import load_model
from accel.tune_table import TUNE_COLUMNS
from jobs import tune
from jobs.entry import main
from jobs.protocol import Accuracy, Body, Caution, EventDecoder, Failure, Finish, Progress, Result, Timing
from jobs.spec import RunSpec, TuneParameters

PLANS = ("reference-fp32", "exact", "compile")
SMALL = TuneParameters(plans=PLANS, sizes=(6, 12), repeats=2, n_labelled=1, memory=False)


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the frame sets for its own process must not reach other tests; and there is no compiler."""
    changed = {"CXX": "no-such-compiler", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    monkeypatch.setattr(os, "environ", {**os.environ, **changed})


def run(folder: Path, spec: RunSpec) -> int:
    (folder / "spec.json").write_text(spec.to_json())
    return main("tune", tune.run, [str(folder / "spec.json")])


def bodies(folder: Path) -> list[Body]:
    events = EventDecoder().feed((folder / "events.jsonl").read_bytes())
    return [event.body for event in events]  # type: ignore[misc]  # no kind is unknown here


def of(kind: type[Any], folder: Path) -> list[Any]:
    return [body for body in bodies(folder) if isinstance(body, kind)]


def test_tuning_tells_everything_and_leaves_a_plan(tmp_path: Path) -> None:
    assert run(tmp_path, RunSpec(SMALL)) == 0
    built = {"reference", "reference-fp32", "exact"}
    assert {body.plan for body in of(Timing, tmp_path) if body.phase == "timed"} == built
    assert {body.case for body in of(Timing, tmp_path)} == {"6 atoms", "12 atoms"}
    assert {body.plan for body in of(Accuracy, tmp_path)} == built
    assert of(Progress, tmp_path)[-1].done == of(Progress, tmp_path)[-1].total
    assert any("compile cannot be built" in body.message for body in of(Caution, tmp_path))

    (result,) = of(Result, tmp_path)
    rows = [dict(zip(TUNE_COLUMNS, row, strict=True)) for row in result.summary["rows"]]
    assert tuple(result.summary["columns"]) == TUNE_COLUMNS
    assert [(row["plan"], row["budget"]) for row in rows[-1:]] == [("compile", "not tried")]
    (chosen,) = {row["plan"] for row in rows if row["chosen"] == "winner"}
    assert result.summary["measured_on"]["model"]["name"] == "h2co-small"
    results = json.loads((tmp_path / result.path).read_text())
    assert results["winner"]["name"] == chosen
    assert len(results["measurements"]) == 6

    plan = find_plan(str(tmp_path / result.summary["plan_file"]))
    assert plan.name == f"tuned ({chosen})"
    assert plan.tuned_on["systems"] == "6 atoms, 12 atoms"
    atoms = sized_system(load_structures("shipped:liquid"), 6)
    right = build_evaluator(load_model("h2co-small"), REFERENCE).evaluate(atoms)
    atoms.calc = accel.Calculator("h2co-small", plan)
    assert abs(atoms.get_forces() - right.forces).max() < 1e-3


def test_auto_finds_what_a_spec_that_names_no_budget_tuned_for() -> None:
    names = [item.name for item in fields(ErrorBudget)]
    assert ErrorBudget(**{name: getattr(TuneParameters(), name) for name in names}) == USUAL_BUDGET


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (TuneParameters(force_rmse_mev_per_a=0.0), "force_rmse_mev_per_a should be a number over 0"),
        (TuneParameters(plans=("warp",)), "There is no plan 'warp'"),
        (TuneParameters(plans=("auto",), labelled=""), "auto is what tuning finds"),
        (TuneParameters(plans=("swap",), repeats=0), "needs at least one timed round"),
        (TuneParameters(structures="gone.xyz"), "There is no structure file gone.xyz"),
    ],
)
def test_what_cannot_be_tuned_is_one_sentence(asked: TuneParameters, said: str, tmp_path: Path) -> None:
    assert run(tmp_path, RunSpec(asked)) == 1
    *_, failure, finish = bodies(tmp_path)
    assert isinstance(failure, Failure)
    assert said in failure.message
    assert isinstance(finish, Finish)
    assert finish.status == "failed"
    assert not (tmp_path / tune.PLAN_FILE).exists()
