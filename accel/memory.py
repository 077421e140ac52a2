"""Peak memory of a plan, in a process of its own: within one process plans inherit each other's memory.

On a CPU it is the high-water mark of resident memory (`VmHWM`) of a fresh Python that loads the model,
builds the plan and evaluates one structure twice; beside it stands what the same process held before it
built the plan, which is Python, the libraries and the model. On a GPU it is torch's own peak, in a
fresh process too. `ru_maxrss` would not do: a child inherits its parent's.

    python -m accel.memory FOLDER DEVICE THREADS      # what `peak_memory` starts; prints one line of JSON
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from accel.errors import AccelError
from accel.measurement import Advanced, Noted, Report, ignore

if TYPE_CHECKING:
    from ase import Atoms
    from torch import nn

    from accel.plan import Plan

_STATUS = Path("/proc/self/status")
_MODEL, _PLAN, _ATOMS = "model", "plan.json", "atoms.traj"


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one plan on one structure."""

    peak_mb: float
    """The most that was held at once, by the whole process or, on a GPU, by its tensors."""
    before_mb: float
    """What was held before the plan was built: Python, libraries and model."""


def peak_memory(
    model: nn.Module, plans: Sequence[Plan], atoms: Atoms, *, device: str = "cpu", report: Report = ignore
) -> dict[str, Memory]:
    """Peak memory of each plan by its name; what cannot be measured is left out, and its reason reported."""
    import torch
    from ase import Atoms as Structure
    from ase.io import write

    from accel.reference import save_model

    found: dict[str, Memory] = {}
    if device == "cpu" and not _STATUS.exists():
        report(Noted("Peak memory is not measured: this system has no /proc to read it from."))
        return found
    with tempfile.TemporaryDirectory(prefix="mace-accel-") as name:
        folder = Path(name)
        try:
            save_model(model, folder / _MODEL)
        except AccelError as error:
            report(Noted(f"Peak memory is not measured: {error}"))
            return found
        bare = Structure(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        write(folder / _ATOMS, bare)
        for done, plan in enumerate(plans):
            report(Advanced(done, len(plans), f"peak memory of {plan.name}"))
            (folder / _PLAN).write_text(plan.to_json(), encoding="utf-8")
            memory = _in_own_process(folder, device, torch.get_num_threads())
            if isinstance(memory, Memory):
                found[plan.name] = memory
            else:
                report(Noted(f"Peak memory of {plan.name} is not measured: {memory}."))
        report(Advanced(len(plans), len(plans), "peak memory"))
    return found


def _in_own_process(folder: Path, device: str, threads: int) -> Memory | str:
    """What the child found, or why it found nothing."""
    home = str(Path(__file__).parent.parent)
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "accel.memory", str(folder), device, str(threads)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    if done.returncode < 0:
        return f"its process was killed by signal {-done.returncode}, most likely for want of memory"
    if done.returncode:
        return (done.stderr.splitlines() or [f"its process ended with {done.returncode}"])[-1].rstrip(".")
    return Memory(**json.loads(done.stdout.splitlines()[-1]))


def _measure(folder: Path, device: str, threads: int) -> Memory:
    """What the child does."""
    import torch
    from ase import Atoms
    from ase.io import read

    from accel.plan import Plan, build_evaluator
    from accel.reference import load_model

    torch.set_num_threads(threads)
    atoms = read(folder / _ATOMS)
    assert isinstance(atoms, Atoms)  # one frame was written
    model = load_model(str(folder / _MODEL))
    plan = Plan.from_json((folder / _PLAN).read_bytes())
    on_gpu = torch.device(device).type == "cuda"
    before = torch.cuda.max_memory_allocated(device) if on_gpu else _resident("VmRSS")
    evaluator = build_evaluator(model, plan, device)
    for _ in range(2):
        evaluator.evaluate(atoms)
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else _resident("VmHWM")
    return Memory(peak_mb=peak / 1e6, before_mb=before / 1e6)


def _resident(field: str) -> int:
    """A field of this process's status, in bytes."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def _main() -> int:
    folder, device, threads = sys.argv[1:]
    try:
        memory = _measure(Path(folder), device, int(threads))
    except AccelError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps({"peak_mb": memory.peak_mb, "before_mb": memory.before_mb}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
