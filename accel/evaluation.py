"""Energies and forces of every frame of a file, in memory that does not grow with the file.

Frames are taken in batches (`accel.batch`), so that a trajectory of small molecules is not a row of
evaluations that are each too small.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import ase.io
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from accel.batch import ATOMS_AT_ONCE, BatchEvaluator, in_batches
from accel.data import iterate_structures
from accel.errors import StructureError
from accel.measurement import Advanced
from accel.plan import build_evaluator

if TYPE_CHECKING:
    from torch import nn

    from accel.plan import Plan
    from accel.prediction import Prediction

_REPORT_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What was done."""

    n_frames: int
    n_atoms: int
    """In all frames together."""
    seconds: float
    """Reading and writing included."""


def evaluate_file(
    model: nn.Module,
    plan: Plan,
    source: str,
    target: Path,
    *,
    device: str = "cpu",
    stress: bool = False,
    atoms_at_once: int = ATOMS_AT_ONCE,
    report: Callable[[Advanced], object] = lambda _: None,
) -> Evaluated:
    """Write every frame of `source` with energy and forces to `target`, in place only once it is whole.

    Args:
        model: A mace-torch model in fp64.
        plan: How they are computed.
        source: What `accel.data.load_structures` takes.
        target: Extended XYZ.
        device: Where to compute.
        stress: Whether to compute stress for frames that are periodic in all directions.
        atoms_at_once: A batch of frames ends with the one that reaches it; 1: one frame after the other.
        report: Called at most four times a second with how many frames are done; their total is not known
            before the file ends.

    Raises:
        StructureError: A frame cannot be read or evaluated; the message has its number. `target` stays
            as it was.
        AccelError: The plan cannot be applied to the model.
    """
    evaluator = BatchEvaluator(build_evaluator(model, plan, device), atoms_at_once=atoms_at_once)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    began = told_at = time.monotonic()
    n_frames = n_atoms = 0
    try:
        with temporary.open("w", encoding="utf-8") as file:
            for frames in in_batches(iterate_structures(source), len, atoms_at_once):
                called = partial(_frame, source, n_frames)
                answers = evaluator.evaluate(frames, stress=stress, called=called)
                for atoms, found in zip(frames, answers, strict=True):
                    ase.io.write(file, _labelled(atoms, found), format="extxyz")
                    n_frames, n_atoms = n_frames + 1, n_atoms + len(atoms)
                if time.monotonic() - told_at >= _REPORT_EVERY_S:
                    told_at = time.monotonic()
                    report(Advanced(n_frames, 0, f"evaluating {source}"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise StructureError(f"{target} cannot be written: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return Evaluated(n_frames, n_atoms, time.monotonic() - began)


def _frame(source: str, n_before: int, index: int) -> str:
    return f"Frame {n_before + index + 1} of {source}"


def _labelled(atoms: Atoms, found: Prediction) -> Atoms:
    """The frame with what was computed, and without what was computed for it before."""
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    results = {"energy": found.energy_ev, "forces": found.forces}
    if found.stress is not None:
        results["stress"] = full_3x3_to_voigt_6_stress(found.stress)
    frame.calc = SinglePointCalculator(frame, **results)
    return frame
