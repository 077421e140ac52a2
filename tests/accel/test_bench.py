"""The protocol of a benchmark; evaluators that err on purpose stand in where a fault has to be provoked."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import nn

from accel.bench import GATE_ROUNDS, LABELLED, LEAST_WARM_UPS, MOST_WARM_UPS, Bench, run_benchmark, settled
from accel.data import load_structures
from accel.errors import MissingBackend, ParityError, PlanError, StructureError
from accel.measurement import (
    Advanced,
    BenchmarkResult,
    Compared,
    Measurement,
    Noted,
    Quartiles,
    Timed,
)
from accel.plan import REFERENCE, Plan, named_plan
from accel.prediction import Evaluator, Prediction
from accel.reference import load_model
from accel.systems import System, make_systems
from accel.table import benchmark_notes, benchmark_record, benchmark_table

SPRING = 3.0
WRONG = replace(named_plan("reference"), name="wrong")
Told = list[Timed | Compared | Advanced | Noted]


class Spring:
    """Atoms held to the origin: a right answer that costs nothing. `spoil` makes it a wrong one."""

    def __init__(self, spoil: Callable[[int], float] = lambda call: 0.0) -> None:
        self.spoil = spoil
        self.seen: list[np.ndarray] = []

    def evaluate(self, atoms: Atoms, *, stress: bool = False) -> Prediction:
        forces = -SPRING * atoms.positions + self.spoil(len(self.seen))
        self.seen.append(atoms.positions.copy())
        return Prediction(SPRING / 2 * float(np.sum(atoms.positions**2)), forces, None)


class Broken:
    def evaluate(self, atoms: Atoms, *, stress: bool = False) -> Prediction:
        raise PlanError("it cannot be compiled here")


def system(n_atoms: int = 3) -> System:
    return System(f"{n_atoms} atoms", Atoms(["H"] * n_atoms, np.eye(3)[:n_atoms]), 6, 0.1)


def measure(
    *others: tuple[Plan, Evaluator], repeats: int = 5, labelled: tuple[Atoms, ...] = ()
) -> tuple[BenchmarkResult, Told]:
    told: Told = []
    bench = Bench([(REFERENCE, Spring()), *others], repeats=repeats, report=told.append)
    return bench.run([system()], labelled), told


def by_plan(result: BenchmarkResult) -> dict[str, Measurement]:
    return {one.plan.name: one for one in result.measurements}


def test_a_right_plan_is_timed_in_every_round() -> None:
    result, told = measure((WRONG, Spring()), repeats=5)
    found = by_plan(result)["wrong"]
    assert found.failure == ""
    assert len(found.times_ms) == len(found.speedups) == 5
    assert found.first_ms is not None
    assert len(found.warm_up_ms) >= LEAST_WARM_UPS
    phases = [one.phase for one in told if isinstance(one, Timed) and one.plan == "wrong"]
    assert phases == ["first"] + ["warm-up"] * len(found.warm_up_ms) + ["timed"] * 5


def test_a_wrong_plan_is_told_of_with_its_error_and_never_timed() -> None:
    result, told = measure((WRONG, Spring(lambda call: 0.001)))
    found = by_plan(result)["wrong"]
    assert "force error (rms) 1 meV/Å, allowed 1e-05" in found.failure
    assert found.error is not None
    assert found.error.force_max_mev_per_a == pytest.approx(1.0)
    assert found.times_ms == found.speedups == ()
    assert found.ms is found.speedup is None
    assert not [
        one for one in told if isinstance(one, Timed) and one.plan == "wrong" and one.phase == "timed"
    ]
    assert [one.exceeded for one in told if isinstance(one, Compared) and one.plan == "wrong"] == [
        found.failure
    ]
    assert [one.message for one in told if isinstance(one, Noted)] == [
        f"wrong is not timed on 3 atoms: {found.failure}."
    ]


def test_a_plan_that_is_right_only_at_first_does_not_pass() -> None:
    last = GATE_ROUNDS + LEAST_WARM_UPS + 20 - 1
    plans = [(REFERENCE, Spring()), (WRONG, Spring(lambda call: 0.001 if call == last else 0.0))]
    # A clock that ticks evenly, because how long a plan warms up hangs on its times.
    result = Bench(plans, repeats=20, clock=count().__next__).run([system()])
    found = by_plan(result)["wrong"]
    assert "force error" in found.failure
    assert found.times_ms == ()


def test_a_reference_that_contradicts_itself_ends_the_benchmark() -> None:
    bench = Bench([(REFERENCE, Spring(lambda call: 0.001 * call))], repeats=1)
    with pytest.raises(ParityError, match="does not agree with itself"):
        bench.run([system()])


def test_a_reference_without_an_answer_on_a_labelled_structure_ends_the_benchmark() -> None:
    fails_after_the_gate = Spring(lambda call: 0.0 if call < 2 * GATE_ROUNDS else np.nan)
    bench = Bench([(REFERENCE, fails_after_the_gate)], repeats=1)
    with pytest.raises(ParityError, match="The reference itself fails on labelled structures"):
        bench.run([system()], [Atoms("H")])


def test_a_system_too_large_for_the_gpu_fails_that_plan_only() -> None:
    class Greedy:
        def evaluate(self, atoms: Atoms, *, stress: bool = False) -> Prediction:
            raise torch.cuda.OutOfMemoryError(
                "CUDA out of memory."
            )  # no GPU here: torch's own error stands in

    result, _ = measure((WRONG, Greedy()))
    assert "H3 does not fit into the memory of cpu: take a smaller system" in by_plan(result)["wrong"].failure
    assert len(by_plan(result)["reference"].times_ms) == 5


def test_nan_does_not_pass() -> None:
    result, _ = measure((WRONG, Spring(lambda call: float("nan"))))
    assert "nan" in by_plan(result)["wrong"].failure


def test_a_plan_that_fails_on_the_labelled_structures_is_not_timed_anywhere() -> None:
    spoilt = Spring(lambda call: 0.001 if call == 2 else 0.0)  # after the gate on the system
    result, told = measure((WRONG, spoilt), labelled=(Atoms("H", [(1.0, 0, 0)]),))
    assert "force error" in by_plan(result)["wrong"].failure
    assert by_plan(result)["wrong"].times_ms == ()
    assert not [
        one for one in told if isinstance(one, Timed) and one.plan == "wrong" and one.phase != "first"
    ]
    assert [(one.plan, bool(one.exceeded)) for one in result.errors] == [
        ("reference", False),
        ("wrong", True),
    ]


@pytest.mark.parametrize("labelled", [(), (Atoms("H"),)])
def test_a_plan_that_does_not_work_leaves_the_others_measured(labelled: tuple[Atoms, ...]) -> None:
    result, told = measure((WRONG, Broken()), labelled=labelled)
    found = by_plan(result)
    assert "it cannot be compiled here" in found["wrong"].failure
    assert found["wrong"].error is None
    assert len(found["reference"].times_ms) == 5
    assert any("cannot be compiled" in one.message for one in told if isinstance(one, Noted))


def test_all_plans_of_a_round_get_the_same_positions_and_rounds_differ() -> None:
    one, other = Spring(), Spring()
    Bench([(REFERENCE, one), (WRONG, other)], repeats=4).run([system()])
    for mine, its in zip(one.seen[-4:], other.seen[-4:], strict=True):
        np.testing.assert_array_equal(mine, its)
    assert len({positions.tobytes() for positions in other.seen}) == len(other.seen)


def test_the_order_within_a_round_rotates() -> None:
    order: list[str] = []

    class Noting(Spring):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def evaluate(self, atoms: Atoms, *, stress: bool = False) -> Prediction:
            order.append(self.name)
            return super().evaluate(atoms, stress=stress)

    plans = [(REFERENCE, Noting("a")), (WRONG, Noting("b")), (replace(WRONG, name="c"), Noting("c"))]
    Bench(plans, repeats=3).run([system()])
    assert order[-9:] == [*"abc", *"bca", *"cab"]


def test_speedups_are_taken_pair_by_pair() -> None:
    # Each reading of the clock is one tick later; the reference takes 4 ticks, then 8, and so on.
    ticks, now = [4, 1, 8, 2, 12, 3], [0.0]
    calls: list[float] = []

    def clock() -> float:
        calls.append(now[0])
        return now[0]

    class Ticking(Spring):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def evaluate(self, atoms: Atoms, *, stress: bool = False) -> Prediction:
            now[0] += self.factor * ticks[len(self.seen) % 6]
            return super().evaluate(atoms, stress=stress)

    plans = [(REFERENCE, Ticking(4.0)), (WRONG, Ticking(1.0))]
    result = Bench(plans, repeats=6, clock=clock).run([system()])
    found = by_plan(result)
    pairs = zip(found["reference"].times_ms, found["wrong"].times_ms, strict=True)
    assert found["wrong"].speedups == pytest.approx([reference / mine for reference, mine in pairs])
    assert found["reference"].speedups == (1.0,) * 6


def test_progress_ends_at_its_total_and_never_goes_back() -> None:
    _, told = measure((WRONG, Spring()), labelled=(Atoms("H"), Atoms("H2", np.eye(3)[:2])))
    steps = [one for one in told if isinstance(one, Advanced)]
    done = [one.done for one in steps]
    assert done == sorted(done)
    assert done[-1] == steps[-1].total
    assert len({one.total for one in steps}) == 1


def test_a_plan_is_said_to_compile_before_its_very_first_call_alone() -> None:
    compiled = (replace(named_plan("exact"), name="compiled"), Spring())
    told: Told = []
    Bench([(REFERENCE, Spring()), compiled], repeats=1, report=told.append).run([system(), system()])
    calls = [one.stage for one in told if isinstance(one, Advanced) and one.stage.startswith("first call")]
    assert len(calls) == 4
    assert [("compiled" in call, "minutes" in call) for call in calls] == [
        (False, False),
        (True, True),
        (False, False),
        (True, False),
    ]


def test_the_same_seed_moves_the_atoms_in_the_same_way() -> None:
    def positions(seed: int) -> bytes:
        spring = Spring()
        Bench([(REFERENCE, spring)], repeats=1, seed=seed).run([system()])
        return spring.seen[0].tobytes()

    assert positions(3) == positions(3)
    assert positions(3) != positions(4)


@pytest.mark.parametrize(
    ("times", "is_settled"),
    [
        ([100.0], False),
        ([1.0, 1.0, 1.0], False),
        ([100.0, 1.0, 1.0, 1.0], False),
        ([1.0, 1.0, 1.0, 1.0], True),
        ([1.0, 5.0, 1.1, 2.0], True),
        ([1.0, 0.94, 1.0, 1.0], False),
    ],
)
def test_warm_is_who_gets_no_faster_any_more(times: list[float], is_settled: bool) -> None:
    assert settled(times) is is_settled


def test_who_never_settles_is_marked_and_timed_all_the_same() -> None:
    now = [0.0]

    class Accelerating(Spring):
        def evaluate(self, atoms: Atoms, *, stress: bool = False) -> Prediction:
            now[0] += 0.8 ** len(self.seen)
            return super().evaluate(atoms, stress=stress)

    told: Told = []
    bench = Bench([(REFERENCE, Accelerating())], repeats=1, report=told.append, clock=lambda: now[0])
    (found,) = bench.run([system()]).measurements
    assert not found.settled
    assert len(found.warm_up_ms) == MOST_WARM_UPS
    assert any("still got faster" in one.message for one in told if isinstance(one, Noted))


def test_quartiles_are_interpolated() -> None:
    assert Quartiles.of([4.0, 1.0, 2.0, 3.0]) == Quartiles(1.75, 2.5, 3.25)


def test_nothing_to_repeat_is_refused() -> None:
    with pytest.raises(PlanError, match="at least one timed round, not 0"):
        Bench([(REFERENCE, Spring())], repeats=0)


# -- with real models -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return load_model("h2co-small")


def test_fp32_is_within_its_tolerance_and_near_the_labels_as_much_as_fp64(model: nn.Module) -> None:
    systems = make_systems(model, load_structures("shipped:liquid"), [6])
    labelled = load_structures("shipped:test", limit=2)
    result = run_benchmark(model, [named_plan("reference-fp32")], systems, labelled, repeats=2)
    found = by_plan(result)
    assert list(found) == ["reference", "reference-fp32"]
    error = found["reference-fp32"].error
    assert error is not None
    assert 0 < error.force_rmse_mev_per_a < 0.1
    assert len(found["reference-fp32"].times_ms) == 2
    of_labels = {one.plan: one.error for one in result.errors if one.against == "labels"}
    assert of_labels["reference"].force_rmse_mev_per_a == pytest.approx(
        of_labels["reference-fp32"].force_rmse_mev_per_a, rel=1e-3
    )
    assert {one.case for one in result.errors} == {LABELLED}


def test_stress_is_judged_where_it_is_computed(model: nn.Module) -> None:
    (periodic,) = make_systems(model, load_structures("shipped:liquid"), [])
    plans = [replace(REFERENCE, name="twin")]
    result = run_benchmark(model, plans, [periodic], repeats=1, stress=True)
    error = by_plan(result)["twin"].error
    assert error is not None
    assert error.stress_rmse_mev_per_a3 is not None
    assert error.stress_rmse_mev_per_a3 < 1e-9


def test_an_element_that_the_model_lacks_is_named(model: nn.Module) -> None:
    with pytest.raises(StructureError, match="Fe"):
        make_systems(model, [Atoms("Fe")], [])


def test_a_plan_given_twice_is_refused(model: nn.Module) -> None:
    with pytest.raises(PlanError, match="reference is there 2 times"):
        run_benchmark(model, [REFERENCE, REFERENCE], [])


def test_sizes_that_come_to_the_same_system_are_timed_once(model: nn.Module) -> None:
    found = make_systems(model, load_structures("shipped:liquid"), [6, 7, 12])
    assert [one.n_atoms for one in found] == sorted({one.n_atoms for one in found})
    assert all(one.n_edges > 0 for one in found)


def test_the_default_dtype_is_left_alone(model: nn.Module) -> None:
    before = torch.get_default_dtype()
    systems = make_systems(model, load_structures("shipped:liquid"), [6])
    run_benchmark(model, [named_plan("reference-fp32")], systems, repeats=1)
    assert torch.get_default_dtype() == before


def test_what_cannot_be_built_is_listed_with_its_reason_where_that_is_allowed(model: nn.Module) -> None:
    systems = make_systems(model, load_structures("shipped:liquid"), [6])
    plans = [named_plan(name) for name in ("oeq", "blocks-tf32", "reference-fp32")]
    told: Told = []
    result = run_benchmark(model, plans, systems, repeats=1, lenient=True, report=told.append)

    table, notes = benchmark_table(result), benchmark_notes(result)
    assert [(row[0], row[-1]) for row in table.rows] == [
        ("reference", "passed"),
        ("reference-fp32", "passed"),
        ("oeq", "not built"),
        ("blocks-tf32", "not built"),
    ]
    assert any(
        note.startswith("oeq cannot be built here: OpenEquivariance has kernels for") for note in notes
    )
    assert any(isinstance(one, Noted) and "blocks-tf32 cannot be built" in one.message for one in told)
    assert [one["plan"]["name"] for one in benchmark_record(result)["unbuilt"]] == ["oeq", "blocks-tf32"]
    with pytest.raises(MissingBackend, match="OpenEquivariance"):
        run_benchmark(model, plans, systems, repeats=1)
