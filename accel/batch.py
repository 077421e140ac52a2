"""Many small systems at once: what a molecule alone is too small to fill is filled by many.

An evaluation has a cost that does not depend on the size: Python, launches of kernels, blocks of atoms
that a few atoms leave nearly empty, threads without work. Put side by side, systems share it. No edge
joins two of them, so each gets the answer that it gets alone, to rounding.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from accel.errors import StructureError
from accel.reference import ReferenceEvaluator

if TYPE_CHECKING:
    from ase import Atoms

    from accel.prediction import Evaluator, Prediction
    from accel.side_by_side import SideBySide

ATOMS_AT_ONCE = 1024
"""Enough to fill blocks and threads, few enough for their features to stay near the processor."""

_Item = TypeVar("_Item")


def _called(index: int) -> str:
    return f"Structure {index + 1}"


class BatchEvaluator:
    """Any plan's evaluator, for many structures at a time.

    Compiled kernels and models that stay torch modules take them together; torch.compile, which would
    compile for every new batch, one after the other.

    Args:
        evaluator: As `accel.plan.build_evaluator` makes it.
        atoms_at_once: A batch ends with the structure that reaches it.
    """

    def __init__(self, evaluator: Evaluator, *, atoms_at_once: int = ATOMS_AT_ONCE) -> None:
        self._evaluator = evaluator
        self._atoms_at_once = atoms_at_once
        self._kernels = _kernels_of(evaluator)

    def evaluate(
        self, structures: Sequence[Atoms], *, stress: bool = False, called: Callable[[int], str] = _called
    ) -> list[Prediction]:
        """What the evaluator gives for each structure alone.

        Args:
            structures: Periodic, free, of any elements and sizes, in any order; may be empty.
            stress: Whether stress is computed for those that are periodic in all directions. Compiled
                kernels take these one after the other: they sum one virial over all atoms.
            called: What an error calls the structure of an index.

        Returns:
            One a structure, in order.

        Raises:
            StructureError: The model cannot take a structure; the message says which.
        """
        found: dict[int, Prediction] = {}
        together = []
        for number, atoms in enumerate(structures):
            if self._is_alone(atoms, stress):
                found[number] = self._one(atoms, stress, called(number))
            else:
                together.append(number)
        for numbers in in_batches(together, lambda number: len(structures[number]), self._atoms_at_once):
            try:
                answers = self._joint([structures[number] for number in numbers], stress)
            except StructureError:  # whose it is is found by taking them one by one
                answers = [self._one(structures[number], stress, called(number)) for number in numbers]
            found.update(zip(numbers, answers, strict=True))
        return [found[number] for number in range(len(structures))]

    def _is_alone(self, atoms: Atoms, stress: bool) -> bool:
        if self._kernels is not None:
            return stress and bool(atoms.pbc.all())
        return not isinstance(self._evaluator, ReferenceEvaluator)

    def _joint(self, structures: Sequence[Atoms], stress: bool) -> list[Prediction]:
        if self._kernels is not None:
            return self._kernels.evaluate(structures)
        assert isinstance(self._evaluator, ReferenceEvaluator)  # all others are alone
        return self._evaluator.evaluate_batch(structures, stress=stress)

    def _one(self, atoms: Atoms, stress: bool, called: str) -> Prediction:
        try:
            return self._evaluator.evaluate(atoms, stress=stress)
        except StructureError as error:
            raise StructureError(f"{called}: {error}") from error


def _kernels_of(evaluator: Evaluator) -> SideBySide | None:
    # Whoever has a compiled evaluator has imported it; whoever has none need not have numba.
    engine = sys.modules.get("accel.evaluator.engine")
    if engine is None or not isinstance(evaluator, engine.CompiledEvaluator):
        return None
    from accel.side_by_side import SideBySide

    return SideBySide(evaluator)


def in_batches(items: Iterable[_Item], size: Callable[[_Item], int], full: int) -> Iterator[list[_Item]]:
    """Runs of `items`, each ended by the one with which its sizes reach `full`."""
    batch: list[_Item] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item)
        if total >= full:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch
