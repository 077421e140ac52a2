"""What a run uses of its machine, once a second: the chart beside the numbers that it may explain."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from jobs.protocol import Resource

log = logging.getLogger(__name__)

_INTERVAL_S = 1.0
_MB = 1e6


class ResourceSampler:
    """A context in which a thread of its own reports this process's resources at a steady pace."""

    def __init__(self, emit: Callable[[Resource], object], *, interval_s: float = _INTERVAL_S) -> None:
        self._emit = emit
        self._interval_s = interval_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resources", daemon=True)

    def __enter__(self) -> ResourceSampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        wall, busy = time.monotonic(), time.process_time()
        while not self._over.wait(self._interval_s):
            wall_now, busy_now = time.monotonic(), time.process_time()
            cpu_percent = 100 * (busy_now - busy) / (wall_now - wall)
            wall, busy = wall_now, busy_now
            gpu_percent, gpu_memory_mb = _gpu()
            try:
                self._emit(Resource(round(cpu_percent, 1), _rss_mb(), gpu_percent, gpu_memory_mb))
            except OSError as error:  # the run itself meets the full disk too, and says so
                log.warning("Resources are not recorded any more: %s.", error.strerror)
                return


def _rss_mb() -> float | None:
    """Memory of this process that is in RAM; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # no Linux
        return None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / _MB, 1)


def _gpu() -> tuple[float | None, float | None]:
    """How busy the run's GPU is, in percent, and how much of its memory is taken, in MB.

    Asks torch only where the run itself has begun to use a GPU: asking would begin it.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda") or not torch.cuda.is_initialized():
        return None, None
    free, total = torch.cuda.mem_get_info()
    try:
        busy = float(torch.cuda.utilization())
    except (ImportError, RuntimeError):  # NVIDIA's management library is not there
        busy = None
    return busy, round((total - free) / _MB, 1)
