"""Choosing a plan: by measurements made up to provoke every case, and with real models on small systems."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import nn

import accel
from accel import auto, tune
from accel.accuracy import ErrorStats, compare
from accel.bench import LABELLED
from accel.data import load_structures, sized_system
from accel.errors import PlanError
from accel.evaluator import CompiledEvaluator
from accel.measurement import Advanced, BenchmarkResult, Compared, Measurement, Noted, Timed
from accel.memory import peak_memory
from accel.plan import (
    PLANS,
    REFERENCE,
    USUAL_BUDGET,
    ErrorBudget,
    Plan,
    build_evaluator,
    find_plan,
    named_plan,
    resolve_plan,
)
from accel.reference import load_model
from accel.systems import System, make_systems
from accel.tune import TuneResult, break_even, candidates, judge, make_budget, parse_limit, run_tuning, winner
from accel.tune_table import TUNE_COLUMNS, tune_notes, tune_record, tune_table

BUDGET = ErrorBudget(1.0, 1.0, 10.0, 1.0)
Told = list[Timed | Compared | Advanced | Noted]


def system(n_atoms: int) -> System:
    return System(f"{n_atoms} atoms", Atoms(["H"] * n_atoms, np.eye(n_atoms, 3)), 6, 0.1)


def measured(
    name: str,
    n_atoms: int,
    *times_ms: float,
    error: float = 0.0,
    reference_ms: float = 100.0,
    failure: str = "",
) -> Measurement:
    return Measurement(
        plan=PLANS.get(name, Plan(name)),
        system=system(n_atoms),
        failure=failure,
        error=ErrorStats(3, 0.0, error, error),
        times_ms=times_ms,
        speedups=tuple(reference_ms / ms for ms in times_ms),
    )


def reference(n_atoms: int) -> Measurement:
    return measured("reference", n_atoms, 100.0, 100.0)


def result(*measurements: Measurement, errors: tuple[Compared, ...] = ()) -> BenchmarkResult:
    return BenchmarkResult(measurements, errors)


# -- choosing ---------------------------------------------------------------------------------------


def test_the_fastest_inside_the_budget_wins_and_a_faster_one_outside_stays_on_the_front() -> None:
    points = judge(
        result(
            reference(9),
            measured("right", 9, 20.0, 20.0, error=0.5),
            measured("coarse", 9, 10.0, 10.0, error=5.0),
            measured("slow", 9, 50.0, 50.0, error=0.7),
        ),
        BUDGET,
    )
    assert [point.on_front for point in points] == [True, True, True, False]
    assert [point.fastest for point in points] == [False, True, False, False]
    assert "force error (rms) 5 meV/Å, allowed 1" in points[2].over_budget
    assert winner(points).name == "right"


def test_a_plan_that_failed_its_own_gate_is_neither_chosen_nor_on_the_front() -> None:
    points = judge(result(reference(9), measured("wrong", 9, error=0.5, failure="it is wrong")), BUDGET)
    assert not points[1].inside
    assert not points[1].on_front
    assert winner(points) == REFERENCE


def test_an_error_on_the_labelled_structures_counts_too() -> None:
    over = Compared("right", "reference", LABELLED, ErrorStats(3, 0.0, 7.0, 7.0))
    against_labels = Compared("reference", "labels", LABELLED, ErrorStats(3, 0.0, 40.0, 90.0))
    points = judge(result(reference(9), measured("right", 9, 20.0), errors=(over, against_labels)), BUDGET)
    assert "force error (rms) 7 meV/Å" in points[1].over_budget
    assert winner(points) == REFERENCE


def test_nothing_but_the_reference_meets_a_budget_of_nothing() -> None:
    strict = ErrorBudget(1e-15, 1e-15, 1e-15, 1e-15)
    noisy = replace(reference(9), error=ErrorStats(3, 1e-9, 1e-9, 1e-9))
    points = judge(result(noisy, measured("right", 9, 20.0, error=1e-6)), strict)
    assert [point.inside for point in points] == [True, False]
    assert winner(points) == REFERENCE


def test_who_is_outside_on_one_size_does_not_win_over_all() -> None:
    points = judge(
        result(
            reference(9),
            measured("both", 9, 50.0),
            measured("once", 9, 10.0),
            reference(99),
            measured("both", 99, 50.0),
            measured("once", 99, 10.0, error=2.0),
        ),
        BUDGET,
    )
    assert winner(points).name == "both"
    assert [point.measurement.plan.name for point in points if point.fastest] == ["once", "both"]


def test_the_winner_over_all_sizes_has_the_largest_mean_of_ratios() -> None:
    points = judge(
        result(
            reference(9), measured("a", 9, 5.0), measured("b", 9, 20.0),
            reference(99), measured("a", 99, 40.0), measured("b", 99, 20.0),
        ),
        BUDGET,
    )  # fmt: skip
    assert winner(points).name == "a"  # 20 and 2.5 times against 5 and 5


def test_plans_break_even_where_their_times_are_equal() -> None:
    points = judge(
        result(
            reference(10), measured("small", 10, 2.0, 2.0), measured("large", 10, 4.0, 4.0),
            reference(1000), measured("small", 1000, 400.0, 400.0), measured("large", 1000, 50.0, 50.0),
        ),
        BUDGET,
    )  # fmt: skip
    (found,) = [one for one in break_even(points) if {one.smaller, one.larger} == {"small", "large"}]
    assert (found.smaller, found.larger) == ("small", "large")
    # Straight lines in logarithms from a ratio of 1/2 to one of 8: a quarter of the way.
    assert found.n_atoms == pytest.approx(10 * 100**0.25)
    assert found.sentence == "Below about 32 atoms small is faster, above it large."


def test_a_tie_is_no_break_even() -> None:
    points = judge(
        result(
            reference(10), measured("a", 10, 2.0, 4.0), measured("b", 10, 4.0, 2.0),
            reference(90), measured("a", 90, 9.0, 9.0), measured("b", 90, 5.0, 5.0),
        ),
        BUDGET,
    )  # fmt: skip
    assert not [one for one in break_even(points) if {one.smaller, one.larger} == {"a", "b"}]


@pytest.mark.parametrize(("times_ms", "is_said"), [((4.0, 4.0), True), ((4.0, 6.0), False)])
def test_another_plan_is_called_faster_on_a_size_where_it_is_beyond_the_scatter(
    times_ms: tuple[float, float], is_said: bool
) -> None:
    measurements = (
        reference(10), measured("a", 10, 5.0, 5.0), measured("b", 10, *times_ms),
        reference(90), measured("a", 90, 5.0, 5.0), measured("b", 90, 50.0, 50.0),
    )  # fmt: skip
    points = judge(result(*measurements), BUDGET)
    tuned = TuneResult(BUDGET, winner(points), points, (), (), {}, result(*measurements))
    assert tuned.winner.name == "a"
    assert ("On 10 atoms b is faster." in tune_notes(tuned)) is is_said


def test_a_plan_outside_the_budget_overtakes_nobody() -> None:
    points = judge(
        result(
            reference(10),
            measured("a", 10, 200.0, 200.0, error=9.0),
            reference(90),
            measured("a", 90, 1.0, 1.0),
        ),
        BUDGET,
    )
    assert break_even(points) == ()


# -- candidates and limits --------------------------------------------------------------------------


def test_every_plan_is_a_candidate_with_a_name_of_its_own() -> None:
    names = [plan.name for plan in candidates(4)]
    assert len(set(names)) == len(names)
    assert set(PLANS) - {"auto"} <= set(names)
    assert {"exact-1-thread", "fast-2-threads", "fast-coarse"} <= set(names)
    assert not [name for name in (plan.name for plan in candidates(1)) if "thread" in name]


@pytest.mark.parametrize(
    ("text", "quantity", "value"),
    [
        ("0.1meV/A", "force", 0.1),
        ("1e-4 eV/Å", "force", 0.1),
        (" 0.01 meV/atom ", "energy", 0.01),
        ("2eV/A^3", "stress", 2000.0),
    ],
)
def test_a_limit_is_a_number_with_its_unit(text: str, quantity: str, value: float) -> None:
    assert parse_limit(text, quantity) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("0.1", "force"),
        ("0.1meV/atom", "force"),
        ("0.1mev/A", "force"),
        ("0meV/A", "force"),
        ("-1meV/A", "force"),
        ("1..2meV/A", "force"),
        ("1e999meV/A", "force"),
        ("", "energy"),
        ("nanmeV/atom", "energy"),
    ],
)
def test_a_limit_that_is_none_is_refused_with_the_units_there_are(text: str, quantity: str) -> None:
    with pytest.raises(PlanError, match=f"is no limit of {quantity}: write a number over 0 and its unit"):
        parse_limit(text, quantity)


def test_a_budget_needs_only_force_and_energy() -> None:
    assert make_budget("0.1meV/A", "0.01meV/atom") == USUAL_BUDGET
    every = make_budget("1meV/A", "1meV/atom", force_max="2meV/A", stress="3meV/A3")
    assert every == ErrorBudget(1.0, 1.0, 2.0, 3.0)


# -- with real models -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return load_model("h2co-small")


@pytest.fixture(scope="module")
def found(model: nn.Module) -> Iterator[tuple[TuneResult, Told]]:
    """A tuning over plans of every sort, one of which lacks its compiler."""
    told: Told = []
    plans = [*map(named_plan, ("reference-fp32", "fast", "compile"))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", "no-such-compiler")
        yield (
            run_tuning(
                model,
                make_systems(model, load_structures("shipped:liquid"), [6]),
                USUAL_BUDGET,
                load_structures("shipped:test", limit=2),
                plans=plans,
                repeats=2,
                report=told.append,
            ),
            told,
        )


def test_a_plan_that_cannot_be_built_is_listed_with_its_reason(found: tuple[TuneResult, Told]) -> None:
    tuned, told = found
    (unbuilt,) = tuned.unbuilt
    assert unbuilt.plan.name == "compile"
    assert "needs a C++ compiler" in unbuilt.reason
    assert any("compile cannot be built" in one.message for one in told if isinstance(one, Noted))
    assert "compile" not in {point.measurement.plan.name for point in tuned.points}
    rows = {row[0]: dict(zip(TUNE_COLUMNS, row, strict=True)) for row in tune_table(tuned).rows}
    assert (rows["compile"]["ms"], rows["compile"]["budget"]) == (None, "not tried")
    assert any("needs a C++ compiler" in note for note in tune_notes(tuned))


def test_real_plans_are_timed_and_one_of_them_is_chosen(found: tuple[TuneResult, Told]) -> None:
    tuned, told = found
    assert [point.measurement.plan.name for point in tuned.points] == ["reference", "reference-fp32", "fast"]
    assert all(point.inside and point.measurement.ms for point in tuned.points)
    assert [row[-1] for row in tune_table(tuned).rows if row[0] == tuned.winner.name] == ["winner"]
    assert {one.phase for one in told if isinstance(one, Timed)} == {"first", "warm-up", "timed"}
    assert tune_record(tuned)["winner"]["name"] == tuned.winner.name


def test_the_tuned_plan_is_a_file_with_the_budget_that_others_take(
    found: tuple[TuneResult, Told], model: nn.Module, tmp_path: Path
) -> None:
    tuned, _ = found
    plan = tuned.tuned_plan({"model": "abc", "threads": "1"})
    path = tmp_path / "mine.json"
    path.write_text(plan.to_json())
    assert find_plan(str(path)) == plan
    assert plan.tolerance == USUAL_BUDGET
    atoms = sized_system(load_structures("shipped:liquid"), 6)
    atoms.calc = accel.Calculator(model, str(path))
    right = build_evaluator(model, REFERENCE).evaluate(atoms)
    assert np.abs(atoms.get_forces() - right.forces).max() < 1e-3


def test_a_budget_below_rounding_leaves_the_reference(model: nn.Module) -> None:
    systems = make_systems(model, load_structures("shipped:liquid"), [6])
    strict = make_budget("1e-20meV/A", "1e-20meV/atom")
    tuned = run_tuning(model, systems, strict, plans=[named_plan("reference-fp32")], repeats=1)
    assert tuned.winner == REFERENCE
    assert tuned.points[0].on_front
    assert any("reference-fp32 is over the budget" in note for note in tune_notes(tuned))


def test_what_cannot_be_chosen_from_is_refused(model: nn.Module) -> None:
    systems = [system(2)]
    with pytest.raises(PlanError, match="auto is what tuning finds"):
        run_tuning(model, systems, BUDGET, plans=[named_plan("auto")])
    with pytest.raises(PlanError, match="swap is there 2 times"):
        run_tuning(model, systems, BUDGET, plans=[named_plan("swap")] * 2)
    with pytest.raises(PlanError, match="nothing to tune for"):
        run_tuning(model, [], BUDGET)
    with pytest.raises(PlanError, match="no technique 'swop' to leave out; there are: auto, blocks, compile"):
        run_tuning(model, systems, BUDGET, skip=["swop"])


def test_what_is_left_out_is_listed_too_and_the_reference_stays(model: nn.Module) -> None:
    systems = make_systems(model, load_structures("shipped:liquid"), [6])
    tuned = run_tuning(model, systems, BUDGET, plans=[named_plan("swap")], skip=["swap", "mace"], repeats=1)
    assert [point.measurement.plan for point in tuned.points] == [REFERENCE]
    (left,) = tuned.unbuilt
    assert (left.plan.name, left.reason) == ("swap", "the technique swap was left out on request.")


def test_coarser_tables_have_fewer_knots_and_keep_their_tolerance(model: nn.Module) -> None:
    atoms = sized_system(load_structures("shipped:liquid"), 6)
    right = build_evaluator(model, REFERENCE).evaluate(atoms)
    knots = {}
    for plan in (PLANS["fast"], *candidates(1)):
        if plan.technique == "evaluator":
            evaluator = build_evaluator(model, plan)
            assert isinstance(evaluator, CompiledEvaluator)
            knots[plan.name] = len(evaluator.knots_a)
            assert plan.tolerance.exceeded_by(compare(evaluator.evaluate(atoms), right)) == ""
    assert knots["fast-coarse"] < knots["fast"] < knots["fast-fine"]
    assert knots["exact-coarse"] < knots["exact"]


def test_options_of_compiled_kernels_are_checked(model: nn.Module) -> None:
    fast = named_plan("fast")
    with pytest.raises(PlanError, match="0 threads cannot evaluate"):
        build_evaluator(model, replace(fast, options={"threads": 0}))
    with pytest.raises(PlanError, match=r"cannot be wrong by 2\.0"):
        build_evaluator(model, replace(fast, options={"radial_error": 2.0}))


def test_memory_is_that_of_a_process_of_its_own(model: nn.Module) -> None:
    told: Told = []
    atoms = sized_system(load_structures("shipped:liquid"), 6)
    memory = peak_memory(model, [REFERENCE], atoms, report=told.append)
    if not Path("/proc/self/status").exists():  # no Linux: nothing to read it from, and it says so
        assert any("no /proc" in one.message for one in told if isinstance(one, Noted))
        return
    assert 50 < memory["reference"].before_mb < memory["reference"].peak_mb


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("kill -9 $$", "its process was killed by signal 9, most likely for want of memory."),
        ("echo no; echo 'It is broken.' >&2; exit 1", "not measured: It is broken."),
        ("exit 3", "its process ended with 3."),
    ],
)
def test_memory_that_cannot_be_measured_is_told_of_with_its_reason(
    script: str, said: str, model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    told: Told = []
    assert peak_memory(model, [REFERENCE], Atoms("H"), report=told.append) == {}
    (noted,) = [one.message for one in told if isinstance(one, Noted)]
    assert said in noted or "no /proc" in noted


# -- auto -------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of tuned plans; compiled kernels chose their own folder when they were imported."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mace-workbench" / "tuned"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tuning over three plans on a few atoms."""
    monkeypatch.setattr(auto, "N_ATOMS", 6)
    monkeypatch.setattr(auto, "REPEATS", 1)
    monkeypatch.setattr(
        tune, "candidates", lambda threads: [*map(named_plan, ("reference-fp32", "fast", "compile"))]
    )


@pytest.mark.usefixtures("few")
def test_auto_tunes_once_says_so_and_finds_it_again(
    model: nn.Module, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    atoms = sized_system(load_structures("shipped:liquid"), 6)
    right = build_evaluator(model, REFERENCE).evaluate(atoms)
    atoms.calc = accel.Calculator(model, plan="auto")
    assert "auto: tuning for cpu on 6 atoms, once" in caplog.text
    assert "compile plans are left out" in caplog.text
    assert np.abs(atoms.get_forces() - right.forces).max() < 1e-3
    chosen = atoms.calc.plan
    assert chosen.name.startswith("tuned (")
    assert chosen.tuned_on["systems"] == "6 atoms"
    (kept,) = cache.iterdir()
    assert Plan.from_json(kept.read_bytes()) == chosen

    caplog.clear()
    assert resolve_plan(model, named_plan("auto")) == chosen
    assert "tuning for" not in caplog.text


def remembered(model: nn.Module) -> Plan:
    plan = replace(named_plan("swap"), name="tuned (swap)", tolerance=USUAL_BUDGET)
    auto.remember(model, plan)
    return plan


def test_a_tuning_is_found_for_the_same_model_budget_and_threads_only(model: nn.Module, cache: Path) -> None:
    plan = remembered(model)
    assert resolve_plan(model, named_plan("auto")) == plan
    kept = set(cache.iterdir())
    auto.remember(model, replace(plan, tolerance=BUDGET))
    torch.set_num_threads(2)
    try:
        auto.remember(model, plan)
    finally:
        torch.set_num_threads(1)
    auto.remember(load_model("h2co-medium"), plan)
    assert len(set(cache.iterdir()) - kept) == 3


@pytest.mark.usefixtures("few")
def test_a_broken_tuning_is_warned_of_and_made_anew(
    model: nn.Module, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    remembered(model)
    (path,) = cache.iterdir()
    path.write_text("{")
    assert resolve_plan(model, named_plan("auto")).tuned_on["threads"] == "1"
    assert f"auto: {path} cannot be used and is made anew" in caplog.text
    assert Plan.from_json(path.read_bytes()).name.startswith("tuned (")


def test_a_cache_that_cannot_be_written_is_warned_of(
    model: nn.Module, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.parent.mkdir(exist_ok=True)
    cache.parent.write_text("a file where a folder should be")
    remembered(model)
    assert "cannot be kept in" in caplog.text
    assert "auto will tune again" in caplog.text


def test_a_model_that_nothing_here_suits_asks_for_structures(
    model: nn.Module, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "STRUCTURES", os.fspath(cache / "gone.xyz"))
    with pytest.raises(PlanError, match="mace-accel tune MODEL STRUCTURES"):
        resolve_plan(model, named_plan("auto"))


def test_auto_has_no_options(model: nn.Module, cache: Path) -> None:
    options: Mapping[str, int] = {"speed": 11}
    with pytest.raises(PlanError, match="has no option speed"):
        resolve_plan(model, replace(named_plan("auto"), options=options))
    assert not cache.exists()
