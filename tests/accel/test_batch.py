from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from accel.batch import BatchEvaluator, in_batches
from accel.errors import StructureError
from accel.plan import Plan, build_evaluator, named_plan
from accel.prediction import Prediction
from tests.accel.random_models import liquid, random_model, structures


@pytest.fixture(scope="module")
def model() -> Any:
    return random_model(hidden_irreps="4x0e+4x1o", num_interactions=2)


def mixture() -> list[Atoms]:
    """Periodic and free, one element and all, single atoms, in no order."""
    return [*structures().values(), Atoms("H"), liquid(4), Atoms("H"), molecule("H2O"), liquid(4, seed=5)]


def assert_same(found: list[Prediction], right: list[Prediction], atol: float) -> None:
    for ours, theirs in zip(found, right, strict=True):
        assert ours.energy_ev == pytest.approx(theirs.energy_ev, rel=1e-13, abs=10 * atol)
        np.testing.assert_allclose(ours.forces, theirs.forces, rtol=0, atol=atol)
        assert ours.node_energies is not None
        assert theirs.node_energies is not None
        np.testing.assert_allclose(ours.node_energies, theirs.node_energies, rtol=0, atol=10 * atol)
        assert (ours.stress is None) == (theirs.stress is None)
        if ours.stress is not None and theirs.stress is not None:
            np.testing.assert_allclose(ours.stress, theirs.stress, rtol=0, atol=atol)


@pytest.mark.parametrize("plan", ["exact", "fast", "swap"])
@pytest.mark.parametrize("stress", [False, True])
def test_each_system_gets_the_answer_that_it_gets_alone(model: Any, plan: str, stress: bool) -> None:
    evaluator = build_evaluator(model, named_plan(plan))
    tried = mixture()
    right = [evaluator.evaluate(atoms, stress=stress) for atoms in tried]
    batched = BatchEvaluator(evaluator, atoms_at_once=60)
    atol = 1e-5 if plan == "fast" else 1e-12

    assert_same(batched.evaluate(tried, stress=stress), right, atol)
    # Again in another order and with a call alone in between: nothing is kept that should not be.
    evaluator.evaluate(tried[3])
    assert_same(batched.evaluate(tried[::-1], stress=stress), right[::-1], atol)


def test_threads_share_a_batch(model: Any) -> None:
    one, two = (Plan("mine", "evaluator", options={"threads": threads}) for threads in (1, 2))
    right = BatchEvaluator(build_evaluator(model, one)).evaluate(mixture())
    assert_same(BatchEvaluator(build_evaluator(model, two)).evaluate(mixture()), right, 1e-12)


def test_a_batch_of_moved_atoms_has_neighbours_of_its_own(model: Any) -> None:
    evaluator = build_evaluator(model, named_plan("exact"))
    batched = BatchEvaluator(evaluator)
    atoms = liquid(4)
    for step in range(3):
        frames = [atoms.copy() for _ in range(3)]
        for number, frame in enumerate(frames):
            frame.rattle(0.15, seed=10 * step + number)
        assert_same(batched.evaluate(frames), [evaluator.evaluate(frame) for frame in frames], 1e-11)


@pytest.mark.parametrize("plan", ["exact", "swap"])
def test_nothing_is_nothing(model: Any, plan: str) -> None:
    assert BatchEvaluator(build_evaluator(model, named_plan(plan))).evaluate([]) == []


@pytest.mark.parametrize("plan", ["exact", "swap"])
def test_who_cannot_be_taken_is_named(model: Any, plan: str) -> None:
    batched = BatchEvaluator(build_evaluator(model, named_plan(plan)))
    iron, none = Atoms("Fe"), Atoms()
    with pytest.raises(StructureError, match=r"Structure 2: .*Fe \(iron\)"):
        batched.evaluate([molecule("H2O"), iron])
    with pytest.raises(StructureError, match=r"Frame 1: The structure has no atoms"):
        batched.evaluate([molecule("H2O"), none], called=lambda index: f"Frame {index}")
    overlapping = Atoms("HH", [(0, 0, 0), (0, 0, 1e-5)])
    if plan == "exact":
        with pytest.raises(StructureError, match=r"Structure 3: .* the atoms overlap"):
            batched.evaluate([molecule("H2O"), molecule("CH4"), overlapping])


class OneAtATime:
    """An evaluator that knows nothing of batches."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def evaluate(self, atoms: Atoms, *, stress: bool = False) -> Prediction:
        self.seen.append(len(atoms))
        return Prediction(0.0, np.zeros((len(atoms), 3)), None)


def test_an_evaluator_that_has_no_batches_takes_one_after_the_other() -> None:
    alone = OneAtATime()
    assert len(BatchEvaluator(alone).evaluate([Atoms("H"), Atoms("H2")])) == 2
    assert alone.seen == [1, 2]


def test_batches_end_where_they_are_full() -> None:
    assert list(in_batches([3, 1, 5, 1, 1], int, 4)) == [[3, 1], [5], [1, 1]]
    assert list(in_batches([], int, 4)) == []
