"""A run that does nothing but tell: as many events a second as it is asked for, until it is ended.

Started by the workbench in the place of an experiment, so that everything around it is real.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from jobs.protocol import Accuracy, Progress, Resource, Start, Timing
from jobs.writer import EventWriter

PLANS = {"reference": 41.0, "reference-fp32": 24.0, "exact": 5.5, "fast": 2.1}
_BATCHES_A_SECOND = 50


def main() -> None:
    folder = Path(sys.argv[1]).parent
    per_batch = int(os.environ["EVENTS_A_SECOND"]) // _BATCHES_A_SECOND
    with EventWriter(folder / "events.jsonl") as writer:
        writer.emit(Start("benchmark", provenance={"device": "cpu", "threads": 1}))
        for plan in PLANS:
            writer.emit(Accuracy(plan, case="liquid-96", n_structures=40, force_rmse_mev_per_a=0.0123))
        start, batch, index = time.monotonic(), 0, 0
        while True:
            for _ in range(per_batch):
                plan = list(PLANS)[index % len(PLANS)]
                ms = PLANS[plan] * random.gauss(1, 0.05)
                writer.emit(Timing(plan, ms, case="liquid-96", index=index, n_atoms=96, n_edges=1728))
                index += 1
            writer.emit(Resource(cpu_percent=99.0, rss_mb=500.0))
            writer.emit(Progress(index, 100_000_000, "timing"))
            batch += 1
            time.sleep(max(0.0, start + batch / _BATCHES_A_SECOND - time.monotonic()))


if __name__ == "__main__":
    main()
