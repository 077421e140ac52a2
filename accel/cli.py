"""`mace-accel`: measure any MACE model from a shell, without a cluster and without the workbench.

Progress goes to stderr, the result to stdout. Exit code 0: done; 1: it cannot be done, and one sentence
says why; 2: the command is not understood.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from accel.arguments import parse
from accel.errors import AccelError, PlanError
from accel.provenance import measured_on, provenance

if TYPE_CHECKING:
    from torch import nn

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_DONE, _FAILED, _INTERRUPTED = 0, 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    arguments = parse(argv)
    for variable in _THREAD_VARIABLES:  # read once, when the libraries are loaded
        os.environ[variable] = str(arguments.threads)
    commands = {
        "bench": _bench,
        "parity": _parity,
        "profile": _profile,
        "tune": _tune,
        "md": _md,
        "eval": _eval,
    }
    try:
        text, record = commands[arguments.command](arguments)
    except AccelError as error:
        return _failed(str(error))
    except ImportError as error:
        return _failed(f"{error}: install mace-workbench[accel].")
    except KeyboardInterrupt:
        _failed("Stopped.")
        return _INTERRUPTED
    try:
        print(json.dumps(record, indent=1, allow_nan=False) if arguments.json else text, flush=True)
    except BrokenPipeError:  # `… | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _failed(f"The result cannot be written: {error.strerror}.")
    return _DONE


def _bench(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    from accel.bench import run_benchmark
    from accel.data import labels, load_structures
    from accel.plan import find_plans
    from accel.systems import make_systems
    from accel.table import benchmark_notes, benchmark_record, benchmark_table

    plans = find_plans(arguments.plans)
    model = _model(arguments)
    structures = load_structures(arguments.structures)
    labelled = [atoms for atoms in structures if labels(atoms) is not None][: arguments.labelled]
    show = _Progress()
    try:
        result = run_benchmark(
            model,
            plans,
            make_systems(model, structures, arguments.sizes),
            labelled,
            repeats=arguments.repeats,
            seed=arguments.seed,
            stress=arguments.stress,
            device=arguments.device,
            lenient="all" in arguments.plans,
            report=show,
        )
    finally:
        show.end()
    where = provenance(device=arguments.device, threads=arguments.threads)
    table = benchmark_table(result)
    notes = [*benchmark_notes(result), f"Measured on {measured_on(where)}."]
    record = {"measured_on": where, "table": table.record(), "notes": notes, **benchmark_record(result)}
    return "\n".join([table.text(), "", *notes]), record


def _parity(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    from accel.data import load_structures
    from accel.parity_table import parity_notes, parity_record, parity_table, run_parity
    from accel.plan import find_plans

    model = _model(arguments)
    show = _Progress()
    try:
        results = run_parity(
            model,
            find_plans(arguments.plans),
            load_structures(arguments.structures, limit=arguments.limit),
            drift_steps=arguments.drift_steps,
            device=arguments.device,
            advance=lambda done, total, plan: show.line(f"{done}/{total} {plan}"),
        )
    finally:
        show.end()
    where = provenance(device=arguments.device, threads=arguments.threads)
    table = parity_table(results)
    notes = [*parity_notes(results), f"Measured on {measured_on(where)}."]
    record = {"measured_on": where, "table": table.record(), "notes": notes, **parity_record(results)}
    return "\n".join([table.text(), "", *notes]), record


def _tune(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    from accel.auto import remember, tuned_on
    from accel.data import labels, load_structures
    from accel.plan import find_plan
    from accel.systems import make_systems
    from accel.tune import make_budget, run_tuning
    from accel.tune_table import tune_notes, tune_record, tune_table

    budget = make_budget(
        arguments.force, arguments.energy, force_max=arguments.force_max, stress=arguments.stress
    )
    plans = [find_plan(name) for name in arguments.plans]
    if arguments.out:
        _check_plan_file(arguments.out)
    model = _model(arguments)
    structures = load_structures(arguments.structures)
    systems = make_systems(model, structures, arguments.sizes)
    show = _Progress()
    try:
        result = run_tuning(
            model,
            systems,
            budget,
            [atoms for atoms in structures if labels(atoms) is not None][: arguments.labelled],
            plans=plans,
            skip=arguments.skip,
            repeats=arguments.repeats,
            seed=arguments.seed,
            stress=bool(arguments.stress),
            memory=arguments.memory,
            device=arguments.device,
            report=show,
        )
    finally:
        show.end()
    plan = result.tuned_plan(tuned_on(model, systems, arguments.device))
    if not plans:  # a choice among a few is not what `auto` promises
        remember(model, plan, arguments.device)
    where = provenance(device=arguments.device, threads=arguments.threads)
    table = tune_table(result)
    notes = [*tune_notes(result), f"Measured on {measured_on(where)}."]
    if arguments.out:
        _write_plan(arguments.out, plan.to_json())
        notes.append(f"The plan is in {arguments.out}: give this path wherever a plan is asked for.")
    record = {"measured_on": where, "table": table.record(), "notes": notes, **tune_record(result)}
    record["plan"] = json.loads(plan.to_json())
    return "\n".join([table.text(), "", *notes]), record


def _profile(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    from accel.data import load_structures, sized_system
    from accel.profile import profile_model
    from accel.table import plain, profile_notes, profile_table

    model = _model(arguments)
    atoms = sized_system(load_structures(arguments.structures), arguments.size)
    show = _Progress()
    try:
        result = profile_model(
            model,
            atoms,
            repeats=arguments.repeats,
            advance=lambda done, total: show.line(f"{done}/{total} observing"),
        )
    finally:
        show.end()
    where = provenance(device=arguments.device, threads=arguments.threads)
    table = profile_table(result)
    notes = [*profile_notes(result), f"Measured on {measured_on(where)}."]
    record = {"measured_on": where, "table": table.record(), "notes": notes, "profile": plain(result)}
    return "\n".join([table.text(), "", *notes]), record


def _md(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    from accel.data import load_structures, sized_system
    from accel.dynamics import MdSettings
    from accel.errors import DynamicsError
    from accel.md import run_md
    from accel.md_table import md_notes, md_record, md_table
    from accel.plan import find_plan

    names = [item.name for item in dataclasses.fields(MdSettings)]
    settings = MdSettings(**{name: getattr(arguments, name) for name in names})
    path = Path(arguments.output)
    if path.exists() and not arguments.resume:
        raise DynamicsError(
            f"{path} is there already: --resume goes on with it, -o NAME.xyz writes elsewhere."
        )
    plan, model = find_plan(arguments.plan), _model(arguments)
    frames = load_structures(arguments.structures)
    atoms = sized_system(frames, arguments.size) if arguments.size else frames[0]
    show = _Progress()
    try:
        result = run_md(
            model, plan, atoms, settings, path, resume=arguments.resume, device=arguments.device, report=show
        )
    except OSError as error:
        raise DynamicsError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        show.end()
    where = provenance(device=arguments.device, threads=arguments.threads)
    table = md_table(result)
    notes = [*md_notes(result), f"Frames are in {path}.", f"Measured on {measured_on(where)}."]
    record = {"measured_on": where, "table": table.record(), "notes": notes, **md_record(result)}
    return "\n".join([table.text(), "", *notes]), record


def _eval(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    from accel.evaluation import evaluate_file
    from accel.plan import find_plan

    show = _Progress()
    try:
        result = evaluate_file(
            _model(arguments),
            find_plan(arguments.plan),
            arguments.structures,
            Path(arguments.output),
            device=arguments.device,
            stress=arguments.stress,
            atoms_at_once=arguments.batch,
            report=show,
        )
    finally:
        show.end()
    where = provenance(device=arguments.device, threads=arguments.threads)
    record = {"measured_on": where, "output": arguments.output, **dataclasses.asdict(result)}
    return (
        f"{result.n_frames} frames, {result.n_atoms} atoms in {result.seconds:.3g} s "
        f"({result.seconds / result.n_atoms * 1e6:.3g} µs an atom, reading and writing included), "
        f"in {arguments.output}.\nMeasured on {measured_on(where)}."
    ), record


def _model(arguments: argparse.Namespace) -> nn.Module:
    import torch

    from accel.reference import load_model

    torch.set_num_threads(arguments.threads)
    dtype, device = getattr(arguments, "dtype", "float64"), arguments.device
    return load_model(arguments.model, dtype=dtype, device=device, allow_pickle=arguments.allow_pickle)


def _write_plan(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise PlanError(f"The plan cannot be written to {path}: {error.strerror}.") from error


def _check_plan_file(path: Path) -> None:
    """Refuse a place where nothing can be written before the minutes that it takes to find what to write."""
    if path.suffix != ".json":
        raise PlanError(f"{path} would not be taken for a plan's file: name it {path.name}.json.")
    try:
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise PlanError(f"The plan cannot be written to {path}: {error.strerror}.") from error


class _Progress:
    """One line on a terminal's stderr that is written over; elsewhere a line a stage."""

    def __init__(self) -> None:
        self._stage = ""
        self._live = sys.stderr.isatty()

    def __call__(self, report: object) -> None:
        from accel.measurement import Advanced

        if isinstance(report, Advanced) and (self._live or report.stage != self._stage):
            self._stage = report.stage
            share = f"{100 * report.done // report.total:3} %" if report.total else str(report.done)
            self.line(f"{share} {report.stage}")

    def line(self, text: str) -> None:
        print(
            f"\r\x1b[K{text}" if self._live else text,
            end="" if self._live else "\n",
            file=sys.stderr,
            flush=True,
        )

    def end(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _failed(sentence: str) -> int:
    print(f"mace-accel: {sentence}", file=sys.stderr)
    return _FAILED
