"""What the experiments have in common: what they are given, and what they leave behind."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accel.provenance import provenance
from jobs.entry import Outcome
from jobs.protocol import Json
from jobs.spec import BenchmarkParameters, RunSpec, TuneParameters

if TYPE_CHECKING:
    from ase import Atoms
    from torch import nn

    from accel.plan import Plan
    from accel.systems import System
    from accel.table import Table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """What plans are measured on."""

    model: nn.Module
    plans: Sequence[Plan]
    systems: Sequence[System]
    labelled: Sequence[Atoms]


def load(spec: RunSpec, asked: BenchmarkParameters | TuneParameters) -> Measured:
    """What a comparison of plans asks for, loaded.

    Raises:
        AccelError: The model, the structures or a plan cannot be used.
    """
    # Late: libraries read the number of threads when they are loaded, and `entry` sets it first.
    import torch

    from accel.data import load_structures
    from accel.plan import find_plans
    from accel.reference import load_model
    from accel.systems import make_systems

    torch.set_num_threads(spec.threads)
    plans = find_plans(asked.plans)
    model = load_model(spec.model, allow_pickle=spec.allow_pickle)
    labelled = load_structures(asked.labelled, limit=asked.n_labelled) if asked.labelled else []
    return Measured(
        model, plans, make_systems(model, load_structures(asked.structures), asked.sizes), labelled
    )


def outcome(
    spec: RunSpec,
    model: nn.Module,
    table: Table,
    notes: Sequence[str],
    record: Mapping[str, Json],
    *,
    told: Mapping[str, Json] | None = None,
    files: Mapping[str, str] | None = None,
) -> Outcome:
    """The end of an experiment: its table, what it was measured on, and its full `record`."""
    from accel.reference import describe
    from accel.table import plain

    log.info("Done:\n%s\n%s", table.text(), "\n".join(notes))
    measured_on = {
        **provenance(device=spec.device, threads=spec.threads),
        "model": {"name": spec.model, **plain(describe(model))},
    }
    common = {"measured_on": measured_on, "notes": list(notes), **(told or {})}
    return Outcome(
        results={**common, "table": table.record(), **record},
        summary={**common, **table.record()},
        files=files or {},
    )
