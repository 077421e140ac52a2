"""Measures the evaluator against mace-torch: `make bench-accel`.

One process, one thread, everything interleaved: in every round each way of evaluating takes the same
moved positions, in another order each time, and ratios are formed round by round, so that what else the
machine does falls on all of them. Times are of the processor, spent by this process. Nothing is timed that
has not passed the parity gate.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ase
import numba
import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from accel.accuracy import compare
from accel.errors import ParityError
from accel.evaluator import CompiledEvaluator
from accel.mace_torch import build_model, quiet
from accel.plan import ErrorBudget
from accel.prediction import Evaluator, Prediction
from accel.reference import ReferenceEvaluator
from accel.swap import accelerate
from tests.bench import symmetrix_peer
from tests.bench.accel_scaling import by_size, by_step, by_threads

with quiet():
    from mace.calculators import MACECalculator

ROUNDS = 11
EXACT = ErrorBudget(1e-6, 1e-6, 1e-6, 1e-6)
SWAP = ErrorBudget(1e-8, 1e-8, 1e-8, 1e-8)
FAST = ErrorBudget(0.005, 0.02, 0.2, 0.02)
PEER = ErrorBudget(1.0, 1.0, 10.0, 1.0)
"""What symmetrix-xl is held to: its tables are its own."""
BARE = ("exact fp64, bare", "fast fp32, bare")
MODELS: dict[str, dict[str, Any]] = {
    "thesis-like": {
        "channels": 32,
        "max_l": 0,
        "r_max": 4.0,
        "numbers": [1, 6, 8],
        "atoms": 480,
        "edges": 18,
    },
    "OFF-small-like": {
        "channels": 96,
        "max_l": 0,
        "r_max": 4.5,
        "numbers": [1, 6, 7, 8, 9, 15, 16, 17, 35, 53],
        "atoms": 480,
        "edges": 26,
    },
    "MP-small-like": {
        "channels": 128,
        "max_l": 0,
        "r_max": 6.0,
        "numbers": list(range(1, 90)),
        "atoms": 216,
        "edges": 32,
    },
    "MP-medium-like": {
        "channels": 128,
        "max_l": 1,
        "r_max": 6.0,
        "numbers": list(range(1, 90)),
        "atoms": 216,
        "edges": 32,
    },
}


def make_model(name: str) -> torch.nn.Module:
    """An untrained model of the family: its cost is that of a trained one."""
    what = MODELS[name]
    channels, numbers = what["channels"], what["numbers"]
    torch.manual_seed(0)
    config = {
        "r_max": what["r_max"],
        "num_bessel": 8,
        "num_polynomial_cutoff": 5,
        "max_ell": 3,
        "interaction_cls": "RealAgnosticResidualInteractionBlock",
        "interaction_cls_first": "RealAgnosticInteractionBlock",
        "num_interactions": 2,
        "num_elements": len(numbers),
        "hidden_irreps": f"{channels}x0e" + (f"+{channels}x1o" if what["max_l"] else ""),
        "MLP_irreps": "16x0e",
        "gate": "silu",
        "edge_irreps": None,
        "readout_cls": "NonLinearReadoutBlock",
        "atomic_energies": [[-1.0] * len(numbers)],
        "avg_num_neighbors": float(what["edges"]),
        "atomic_numbers": numbers,
        "correlation": 3,
        "radial_type": "bessel",
        "atomic_inter_scale": 1.0,
        "atomic_inter_shift": 0.0,
        "heads": ["Default"],
    }
    return build_model(config, torch.float64)


def make_atoms(name: str, seed: int = 0) -> Atoms:
    """A jittered grid of up to four of the model's elements, as dense as the wanted edges an atom."""
    what = MODELS[name]
    n_atoms, edges, r_max = what["atoms"], what["edges"], what["r_max"]
    rng = np.random.default_rng(seed)
    side = float((n_atoms * 4 / 3 * np.pi * r_max**3 / edges) ** (1 / 3))
    cells = int(np.ceil(n_atoms ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    places = (grid[rng.permutation(len(grid))[:n_atoms]] + 0.5) * side / cells
    elements = [z for z in (1, 6, 7, 8) if z in what["numbers"]]
    jitter = rng.normal(0, 0.08 * side / cells, places.shape)
    return Atoms(rng.choice(elements, n_atoms), places + jitter, cell=[side] * 3, pbc=True)


class Wrapped(Calculator):
    """An evaluator as ASE sees it."""

    implemented_properties: list[str] = ["energy", "forces"]  # noqa: RUF012  (as ASE declares it)

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.evaluator = evaluator

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Evaluate `atoms`."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        answer = self.evaluator.evaluate(atoms)
        self.results = {"energy": answer.energy_ev, "forces": answer.forces}


def peak_gflops(dtype: Any) -> float:
    """What this machine does through the BLAS that torch brings, one thread, matrices in cache."""
    a = torch.rand(256, 256, dtype=dtype)
    b = torch.rand(256, 256, dtype=dtype)
    best = min(_timed(lambda: torch.mm(a, b)) for _ in range(50))
    return 2 * 256**3 / best / 1e9


def _timed(call: Callable[[], Any]) -> float:
    """Seconds of this process's processors: all ways have one thread, and other programs do not count."""
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Time every way on one model, through ASE calculators, with positions moved at every call."""
    model, atoms = make_model(name), make_atoms(name)
    exact = CompiledEvaluator(model, dtype="float64")
    fast = CompiledEvaluator(model, dtype="float32")
    truth = ReferenceEvaluator(model).evaluate(atoms)
    errors: dict[str, Any] = {}
    for way, evaluator, budget in (("exact fp64", exact, EXACT), ("fast fp32", fast, FAST)):
        error = compare(evaluator.evaluate(atoms), truth)
        if over := budget.exceeded_by(error):
            raise ParityError(f"{name}, {way}: {over}. Nothing is timed that has not passed.")
        errors[way] = error
    swapped = copy.deepcopy(model)
    accelerate(swapped)
    error = compare(ReferenceEvaluator(swapped).evaluate(atoms), truth)
    if over := SWAP.exceeded_by(error):
        raise ParityError(f"{name}, swap fp64: {over}. Nothing is timed that has not passed.")
    errors["swap fp64"] = error
    calculators: dict[str, Any] = {
        "mace-torch fp64": MACECalculator(models=[model], device="cpu", default_dtype="float64"),
        "mace-torch fp32": MACECalculator(
            models=[make_model(name).float()], device="cpu", default_dtype="float32"
        ),
        "swap fp64": MACECalculator(models=[swapped], device="cpu", default_dtype="float64"),
        "exact fp64": Wrapped(exact),
        "fast fp32": Wrapped(fast),
    }
    if symmetrix_peer.version():
        for way, peer in symmetrix_peer.calculators(model, atoms).items():
            errors[way] = _peer_error(name, way, peer, atoms, truth)
            calculators[way] = peer
    calls: dict[str, Callable[[Atoms], Any]]
    calls = {way: partial(_forces, calculator) for way, calculator in calculators.items()}
    calls |= {way: evaluator.evaluate for way, evaluator in zip(BARE, (exact, fast), strict=True)}
    times: dict[str, list[float]] = {way: [] for way in calls}
    rng = np.random.default_rng(1)
    for index in range(rounds + 1):
        positions = atoms.positions + rng.normal(0, 0.01, atoms.positions.shape)
        # Each leaves caches and memory in another state to whoever comes next.
        for way in rng.permutation(list(calls)):
            moved = Atoms(atoms.numbers, positions, cell=atoms.cell, pbc=True)
            with quiet():
                elapsed = _timed(partial(calls[way], moved))
            if index:  # the first round warms up
                times[way].append(elapsed)
    edges = exact.n_edges
    return {
        "model": name,
        "atoms": len(atoms),
        "edges_per_atom": edges / len(atoms),
        "multiply_adds": exact.multiply_adds(),
        "times_ms": {way: [1e3 * t for t in values] for way, values in times.items()},
        "force_rmse_mev_per_a": {way: error.force_rmse_mev_per_a for way, error in errors.items()},
    }


def _forces(calculator: Any, atoms: Atoms) -> None:
    atoms.calc = calculator
    atoms.get_forces()


def _peer_error(name: str, way: str, peer: Any, atoms: Atoms, truth: Prediction) -> Any:
    """How far symmetrix-xl is from mace-torch; what does not even roughly agree is not compared."""
    copied = atoms.copy()
    copied.calc = peer
    error = compare(Prediction(copied.get_potential_energy(), copied.get_forces(), None), truth)
    if over := PEER.exceeded_by(error):
        raise ParityError(f"{name}, {way}: {over}. Nothing is timed that has not passed.")
    return error


def report(found: dict[str, Any], peaks: dict[str, float]) -> str:
    """A table of one model, with ratios to mace-torch fp64 and the time the arithmetic alone would take."""
    times = found["times_ms"]
    lines = [
        f"{found['model']}: {found['atoms']} atoms, {found['edges_per_atom']:.1f} edges an atom, "
        f"{found['multiply_adds'] / 1e6:.0f} M multiply-adds",
        f"  {'':18}{'ms':>9}{'× mace fp64':>14}{'IQR':>16}{'floor ms':>10}{'ΔF rms meV/Å':>15}",
    ]
    for way, values in times.items():
        ratios = [a / b for a, b in zip(times["mace-torch fp64"], values, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        floor = 2 * found["multiply_adds"] / peaks["fp32" if "fp32" in way else "fp64"] / 1e6
        error = found["force_rmse_mev_per_a"].get(way.removesuffix(", bare"))
        lines.append(
            f"  {way:18}{statistics.median(values):9.2f}{middle:14.1f}{f'{low:.1f}–{high:.1f}':>16}"
            + ("" if error is None else f"{floor:10.2f}{error:15.1e}")
        )
    for ours, theirs in (("exact fp64", "symmetrix-xl fp64"), ("fast fp32", "symmetrix-xl fp32")):
        if theirs in times:
            low, middle, high = statistics.quantiles(
                [a / b for a, b in zip(times[theirs], times[ours], strict=True)], n=4
            )
            lines.append(f"  {ours} over {theirs}: {middle:.2f} ({low:.2f}–{high:.2f})")
        above = [a / b - 1 for a, b in zip(times[ours], times[f"{ours}, bare"], strict=True)]
        lines.append(
            f"  {ours} through ASE: {100 * statistics.median(above):.0f} % above the bare evaluation"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS), help=f"of: {', '.join(MODELS)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--scaling", action="store_true", help="time by step, size and threads as well")
    parser.add_argument("--json", help="file to write every time to")
    given = parser.parse_args(argv)
    if given.rounds < 2:
        parser.error("a middle half needs --rounds 2 at the least")
    torch.set_num_threads(1)
    peaks = {"fp64": peak_gflops(torch.float64), "fp32": peak_gflops(torch.float32)}
    print(
        f"{platform.processor() or platform.machine()}, 1 thread; BLAS peak {peaks['fp64']:.0f} / "
        f"{peaks['fp32']:.0f} GFLOP/s (fp64 / fp32); python {platform.python_version()}, "
        f"torch {torch.__version__}, numba {numba.__version__}, ase {ase.__version__}"
    )
    installed = symmetrix_peer.version()
    print(f"symmetrix-xl {installed}" if installed else "symmetrix-xl is not installed: not compared.")
    print(f"{platform.machine()}, load {os.getloadavg()[0]:.1f} at the start; {given.rounds} rounds")
    found = []
    for name in given.models:
        found.append(measure(name, given.rounds))
        print(report(found[-1], peaks), flush=True)
        for section in (by_step, by_size, by_threads) if given.scaling else ():
            for dtype in ("float64", "float32"):
                print(section(make_model(name), make_atoms(name), dtype, given.rounds), flush=True)
    if given.json:
        Path(given.json).write_text(json.dumps({"peaks_gflops": peaks, "models": found}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
