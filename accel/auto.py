"""Auto: the plan that was found to be the fastest here, and a short tuning where none was yet.

What is found is kept in `~/.cache/mace-workbench/tuned` (`$XDG_CACHE_HOME`), one small plan file for
each model, device, number of threads, set of versions and error budget; so a change in any of them tunes
anew. `mace-accel tune` and `jobs.tune` leave their winner there too: whoever wants `auto` to know their
own sizes and structures runs one of them once.

A plan that was fastest is not trusted for ever to be right: it is one that passed its gate with these
very versions, and its file says on what.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from accel.data import load_structures
from accel.errors import PlanError, StructureError
from accel.measurement import Advanced, Compared, Noted, Timed
from accel.plan import ErrorBudget, Plan
from accel.provenance import provenance
from accel.reference import describe
from accel.systems import System, make_systems

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

STRUCTURES = "shipped:liquid"
N_ATOMS = 96
REPEATS = 5
_SKIPPED = ("compile",)
"""It takes minutes, which nobody expects of a calculator."""
_SLOW_ON_A_CPU = ("cueq", "oeq", "blocks")
"""What pays on a GPU alone."""


def tuned_plan(model: nn.Module, budget: ErrorBudget, device: str = "cpu") -> Plan:
    """The fastest plan known for this model inside the budget here; tunes for it where none is known.

    Raises:
        PlanError: Nothing is known, and there is no structure here to tune on.
        AccelError: The reference itself failed.
    """
    path = _path(_key(model, budget, device))
    try:
        plan = Plan.from_json(path.read_bytes())
    except FileNotFoundError:
        log.info("auto: no tuning of this model is known here.")
    except (OSError, PlanError) as error:
        log.warning("auto: %s cannot be used and is made anew: %s", path, error)
    else:
        log.info("auto: %s, as tuned on %s.", plan.name, plan.tuned_on.get("systems", "unknown systems"))
        return plan
    return _tune_shortly(model, budget, device)


def _tune_shortly(model: nn.Module, budget: ErrorBudget, device: str) -> Plan:
    from accel.tune import run_tuning

    try:
        systems = make_systems(model, load_structures(STRUCTURES), [N_ATOMS])
    except StructureError as error:
        raise PlanError(
            f"The plan auto has nothing to tune this model on ({str(error).rstrip('.')}): run "
            "`mace-accel tune MODEL STRUCTURES` once with structures of your own, or name a plan."
        ) from error
    log.warning(
        "auto: tuning for %s on %s, once, which may take a minute; compile plans are left out (mace-accel "
        "tune tries them, and takes your own structures and sizes).",
        device,
        systems[0].name,
    )
    skip = _SKIPPED + (_SLOW_ON_A_CPU if device == "cpu" else ())
    result = run_tuning(model, systems, budget, skip=skip, repeats=REPEATS, device=device, report=_say)
    plan = result.tuned_plan(tuned_on(model, systems, device))
    remember(model, plan, device)
    log.warning("auto: %s is the fastest inside the budget.", plan.name)
    return plan


def _say(report: Timed | Compared | Advanced | Noted) -> None:
    if isinstance(report, Noted):
        log.info("auto: %s", report.message)


def tuned_on(model: nn.Module, systems: Sequence[System], device: str) -> dict[str, str]:
    """What a plan says of where it was tuned."""
    here = provenance(device=device, threads=torch.get_num_threads())
    versions = here["versions"]
    assert isinstance(versions, dict)
    return {
        "model": describe(model).content_hash,
        "device": str(here["device_name"]),
        "threads": str(here["threads"]),
        "systems": ", ".join(system.name for system in systems),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "date": str(here["date"]),
    }


def remember(model: nn.Module, plan: Plan, device: str = "cpu") -> None:
    """Keep a tuned plan, so that `auto` with the budget that is its tolerance finds it.

    Where it cannot be kept, a warning says so: the next `auto` tunes again.
    """
    path = _path(_key(model, plan.tolerance, device))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(plan.to_json())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        log.warning("The tuned plan cannot be kept in %s (%s): auto will tune again.", path, error.strerror)


def _key(model: nn.Module, budget: ErrorBudget, device: str) -> str:
    here = provenance(device=device, threads=torch.get_num_threads())
    parts = {name: here[name] for name in ("device", "device_name", "threads", "versions", "code")}
    record = {**parts, "model": asdict(describe(model)), "budget": asdict(budget)}
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:32]


def _path(key: str) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "mace-workbench" / "tuned" / f"{key}.json"
