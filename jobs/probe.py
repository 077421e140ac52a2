"""What the interpreter and the host that would run a job have, as one line of JSON.

`python -m jobs.probe FOLDER` is run by `mace-workbench doctor` with the interpreter of a profile. It
needs only the standard library, so that it can also say what is missing.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
from typing import Any

PACKAGES = ("torch", "mace-torch", "e3nn", "ase", "numpy", "numba", "safetensors", "psutil", "vesin")


def probe(folder: str) -> dict[str, Any]:
    """The facts, as plain JSON values; `folder` is where runs would be kept."""
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "executable": sys.executable,
        "packages": {name: _version(name) for name in PACKAGES},
        "torch": _torch(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "compiler": shutil.which("c++") or shutil.which("g++") or shutil.which("clang++"),
        **_folder(folder),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch() -> dict[str, Any]:
    """Whether torch and mace-torch can be imported, and which GPUs they see."""
    try:
        # mace first: e3nn alone cannot be imported with torch from 2.6 on.
        import mace.modules  # noqa: F401
        import torch
    except Exception as error:  # noqa: BLE001  # a broken installation raises anything; it is the finding
        return {"error": f"{type(error).__name__}: {error}"}
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"cuda": torch.version.cuda, "gpus": gpus}


def _folder(folder: str) -> dict[str, Any]:
    try:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
        return {"writable": None, "free_gb": round(shutil.disk_usage(folder).free / 1e9, 1)}
    except OSError as error:
        return {"writable": error.strerror or str(error), "free_gb": None}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(sys.argv[1])) + "\n")
