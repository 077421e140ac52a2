"""What every benchmark here shares: what was measured on, and how a figure is printed beside its goal."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path


def machine() -> str:
    """The processor, its cores, the load and the Python that figures were measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    version = ".".join(map(str, sys.version_info[:3]))
    return f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {version}"


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, int(share * len(ordered) + 0.999999) - 1))]


def show(name: str, values: Sequence[float], unit: str, goal: str) -> None:
    """One line: median, inter-quartile range, number of measurements, and what is to be reached."""
    median = statistics.median(values)
    low, high = quantile(values, 0.25), quantile(values, 0.75)
    spread = f" (IQR {low:.3g}–{high:.3g}, n = {len(values)})" if len(values) > 1 else ""
    print(f"{name:<58} {median:>8.3g} {unit}{spread}   goal: {goal}", flush=True)
