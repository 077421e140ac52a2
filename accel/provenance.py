"""Provenance: what a number was measured on, without which it says nothing.

Everything is read without importing torch where the device is the CPU, so that a run can say where
it is before the seconds that such an import takes.
"""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeAlias

from accel.errors import MissingBackend

Value: TypeAlias = str | int | float | list[float] | dict[str, str] | None

_PACKAGES = ("torch", "mace-torch", "e3nn", "numpy", "numba", "mace-workbench")


def provenance(*, device: str = "cpu", threads: int = 1) -> dict[str, Value]:
    """Device, threads, versions, host, load and code, as plain JSON values.

    Raises:
        MissingBackend: The device is not here.
    """
    return {
        "device": device,
        "device_name": device_name(device),
        "threads": threads,
        "cores": usable_cores(),
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions(),
        "code": os.environ.get("MACE_WORKBENCH_CODE"),
        "load_average": _load_average(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def measured_on(values: dict[str, Value]) -> str:
    """The same in one line, for under a table."""
    packages = values["versions"]
    shown = ("torch", "mace-torch")
    found = [f"{name} {packages[name]}" for name in shown if isinstance(packages, dict) and name in packages]
    threads = f"{values['threads']} thread{'' if values['threads'] == 1 else 's'}"
    return ", ".join(
        [f"{values['device_name']} ({values['device']}, {threads})", *found, str(values["host"])]
    )


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide about a number; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device_name(device: str) -> str:
    """What the device is called by those who made it.

    Raises:
        MissingBackend: It is not here.
    """
    if device == "cpu":
        return _cpu_name()
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise MissingBackend(f"{device!r} names no device; there are cpu, cuda, cuda:1, …") from None
    if kind != "cuda":
        raise MissingBackend(f"The device {device!r} is not supported; there are cpu, cuda, cuda:1, …")
    if not torch.cuda.is_available():
        raise MissingBackend(
            f"The device {device!r} was asked for, and torch {torch.__version__} sees no GPU here."
        )
    index = torch.device(device).index or 0
    if index >= torch.cuda.device_count():
        raise MissingBackend(
            f"The device {device!r} was asked for, and there are {torch.cuda.device_count()} GPUs."
        )
    return torch.cuda.get_device_name(index)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # no Linux
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """On which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _load_average() -> list[float] | None:
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except OSError:
        return None
