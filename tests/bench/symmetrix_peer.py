"""symmetrix-xl, the fastest public evaluator of MACE models on a CPU, as a peer to be measured against.

It is used where it is installed (`pip install symmetrix-xl`), at the settings that were fastest here: its
compact radial functions, edges streamed through code that it generates and compiles (a C++ compiler is
needed), the profile `speed`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from ase import Atoms


def version() -> str | None:
    """Of the installed package, or None."""
    if importlib.util.find_spec("symmetrix") is None:
        return None
    return importlib.metadata.version("symmetrix-xl")


def calculators(model: torch.nn.Module, atoms: Atoms) -> dict[str, Any]:
    """Its ASE calculators in both precisions, for the elements of `atoms`."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when its library is loaded
    from symmetrix import Symmetrix  # type: ignore[import-not-found,unused-ignore]

    with tempfile.TemporaryDirectory() as folder:
        saved, read = Path(folder) / "model.pt", Path(folder) / "model.json"
        torch.save(model, saved)
        elements = [str(z) for z in sorted(set(atoms.numbers.tolist()))]
        command = [sys.executable, "-c", "from symmetrix.cli.extract_mace import main; main()"]
        arguments = ["--model", str(saved), "--output", str(read), "--atomic-numbers", *elements]
        subprocess.run([*command, *arguments], check=True, capture_output=True)
        return {
            f"symmetrix-xl fp{bits}": Symmetrix(
                read, dtype=f"float{bits}", streamed_edges="direct", execution_profile="speed"
            )
            for bits in (64, 32)
        }
