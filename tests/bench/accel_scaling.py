"""How the evaluator's time goes by step, threads and size, and what memory it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from itertools import islice
from typing import Literal

import numpy as np
import torch
from ase import Atoms

from accel.evaluator import CompiledEvaluator
from accel.evaluator.block import STEPS, time_stamp
from accel.memory import peak_memory
from accel.plan import named_plan

Precision = Literal["float64", "float32"]
COPIES = (1, 2, 3, 5)
"""How often the structure is repeated along each axis to see how time grows."""
_IN_A_ROW = 5
"""Steps by one evaluator before the other has its turn: its threads go to sleep meanwhile."""


def moved(atoms: Atoms, rounds: int) -> Iterator[Atoms]:
    """Copies of `atoms` with positions moved a little, as a step of dynamics does."""
    rng = np.random.default_rng(1)
    for _ in range(rounds):
        copied = atoms.copy()
        copied.positions += rng.normal(0, 0.01, copied.positions.shape)
        yield copied


def by_step(model: torch.nn.Module, atoms: Atoms, dtype: Precision, rounds: int) -> str:
    """Milliseconds of each step: the least of all rounds, because other programs only add."""
    evaluator = CompiledEvaluator(model, dtype=dtype)
    evaluator.evaluate(atoms)
    began, began_ticks = time.perf_counter(), time_stamp()
    ticks, times = [], []
    for copied in moved(atoms, rounds):
        evaluator.step_ticks[:] = 0
        times.append(_processor_ms(evaluator, copied))
        ticks.append(evaluator.step_ticks.copy())
    ticks_per_ms = (time_stamp() - began_ticks) / (time.perf_counter() - began) / 1e3
    least = np.min(ticks, axis=0) / ticks_per_ms
    steps = ", ".join(f"{step} {ms:.2f}" for step, ms in zip(STEPS, least, strict=True))
    return f"  {dtype}: {steps}; together {least.sum():.2f} of {min(times):.2f} ms"


def by_size(model: torch.nn.Module, atoms: Atoms, dtype: Precision, rounds: int) -> str:
    """Processor time an atom of ever larger systems, and the memory that more atoms take."""
    evaluator = CompiledEvaluator(model, dtype=dtype)
    plan = named_plan("exact" if dtype == "float64" else "fast")
    systems = [_eighth(atoms), *(atoms.repeat((n, n, n)) for n in COPIES)]
    lines = []
    for system in systems:
        evaluator.evaluate(system)
        took = statistics.median(_processor_ms(evaluator, copied) for copied in moved(system, rounds))
        lines.append(f"{len(system)} atoms {1e3 * took / len(system):.1f} µs an atom")
    least, most = (peak_memory(model, [plan], system)[plan.name].peak_mb for system in (atoms, systems[-1]))
    grown = 1e3 * (most - least) / (len(systems[-1]) - len(atoms))
    return f"  {dtype}: " + "; ".join([*lines, f"{grown:.1f} kB for each atom more"])


def _eighth(atoms: Atoms) -> Atoms:
    """Half of the cell along each axis: as a jittered grid they go on across the new boundary."""
    part: Atoms = atoms[(atoms.get_scaled_positions() < 0.5).all(axis=1)]
    part.set_cell(atoms.cell / 2)
    return part


def by_threads(model: torch.nn.Module, atoms: Atoms, dtype: Precision, rounds: int) -> str:
    """Gain of a second thread, by the clock on the wall, steps in a row as in MD."""
    evaluators = [CompiledEvaluator(model, dtype=dtype, threads=threads) for threads in (1, 2)]
    ratios = []
    trajectory = moved(atoms, (rounds + 1) * _IN_A_ROW)
    while steps := list(islice(trajectory, _IN_A_ROW)):
        one, two = (
            statistics.median(_wall_ms(evaluator, step) for step in steps) for evaluator in evaluators
        )
        ratios.append(one / two)
    low, middle, high = statistics.quantiles(ratios[1:], n=4)
    return f"  {dtype}: two threads {middle:.2f}× one ({low:.2f}-{high:.2f})"


def _processor_ms(evaluator: CompiledEvaluator, atoms: Atoms) -> float:
    """What the process's processors spend: other programs do not count."""
    began = time.process_time()
    evaluator.evaluate(atoms)
    return 1e3 * (time.process_time() - began)


def _wall_ms(evaluator: CompiledEvaluator, atoms: Atoms) -> float:
    began = time.perf_counter()
    evaluator.evaluate(atoms)
    return 1e3 * (time.perf_counter() - began)
