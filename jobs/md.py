"""`python -m jobs.md SPEC.json`: dynamics with a plan, or the energy drift of several.

The trajectory and its checkpoint stand beside the spec. An attempt that finds a checkpoint goes on from
it, so a run that was killed, stopped or ran out of its time is simply started again. With a larger
`n_steps` the same folder extends a run that is over.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from jobs.entry import WARNING, Outcome, Stopped, main
from jobs.measuring import outcome
from jobs.protocol import Accuracy, Body, Caution, Checkpoint, Epoch, Json, Progress, Timing
from jobs.spec import MdParameters, RunSpec

if TYPE_CHECKING:
    from ase import Atoms
    from torch import nn

    from accel.dynamics import Checked, Observed, Saved, Stepped
    from accel.measurement import Advanced, Noted

log = logging.getLogger(__name__)

TRAJECTORY_FILE = "trajectory.xyz"


def run(spec: RunSpec, emit: Callable[[Body], object], *, folder: Path) -> Outcome:
    """What the spec describes, its trajectory in `folder`.

    Raises:
        AccelError: The model, the structures or a plan cannot be used, or the system blew up.
        Stopped: Somebody asked for the end; a checkpoint is written.
    """
    # Late: libraries read the number of threads when they are loaded, and `entry` sets it first.
    import torch

    from accel.data import load_structures, sized_system
    from accel.errors import PlanError
    from accel.reference import load_model

    asked = spec.parameters
    assert isinstance(asked, MdParameters)
    torch.set_num_threads(spec.threads)
    if not asked.drift_starts and len(asked.plans) != 1:
        raise PlanError(
            f"One trajectory takes one plan, not {len(asked.plans)}: name one, or set drift_starts to "
            "compare the drift of several."
        )
    model = load_model(spec.model, allow_pickle=spec.allow_pickle)
    frames = load_structures(asked.structures)
    atoms = sized_system(frames, asked.n_atoms) if asked.n_atoms else frames[0]
    work = _compared if asked.drift_starts else _moved
    table, notes, record = work(spec, asked, model, atoms, Reporter(emit, len(atoms)), folder)
    return outcome(spec, model, table, notes, record)


def _moved(
    spec: RunSpec, asked: MdParameters, model: nn.Module, atoms: Atoms, report: Reporter, folder: Path
) -> tuple[Any, list[str], dict[str, Json]]:
    """One trajectory."""
    from dataclasses import fields

    from accel.dynamics import MdSettings
    from accel.md import run_md
    from accel.md_table import md_notes, md_record, md_table
    from accel.plan import find_plan

    shared = {item.name for item in fields(MdSettings)} - {"seed"}
    settings = MdSettings(seed=spec.seed, **{name: getattr(asked, name) for name in shared})
    with SignalsBetweenSteps() as signals:
        result = run_md(
            model,
            find_plan(asked.plans[0]),
            atoms,
            settings,
            folder / TRAJECTORY_FILE,
            resume=True,
            device=spec.device,
            report=report,
            stop=signals.to_stop,
            save=signals.to_save,
        )
        if result.stopped:
            raise Stopped(signals.ended_by)
    return md_table(result), md_notes(result), md_record(result)


def _compared(
    spec: RunSpec, asked: MdParameters, model: nn.Module, atoms: Atoms, report: Reporter, folder: Path
) -> tuple[Any, list[str], dict[str, Json]]:
    """The drift of several plans. It leaves nothing to go on from: the next attempt begins anew."""
    from accel.drift import compare_drift
    from accel.md_table import drift_notes, drift_record, drift_table
    from accel.plan import find_plan

    reports, verdicts = compare_drift(
        model,
        [find_plan(name) for name in asked.plans],
        atoms,
        n_steps=asked.n_steps,
        time_step_fs=asked.time_step_fs,
        temperature_k=asked.temperature_k,
        starts=asked.drift_starts,
        seed=spec.seed,
        device=spec.device,
        report=report,
    )
    return (
        drift_table(reports, verdicts),
        drift_notes(reports, verdicts),
        drift_record(reports, verdicts),
    )


class SignalsBetweenSteps:
    """A context in which signals wait for the step that is being made, so that it can be saved.

    Until `to_stop` is called for the first time there is nothing to save, and a signal ends the run at once:
    the first evaluation may compile for half a minute, which is longer than who stops a job waits.
    """

    def __init__(self) -> None:
        self.ended_by = 0
        """The first signal to end that came; 0 before."""
        self._stepping = False
        self._warned = False
        self._before: dict[int, Any] = {}

    def to_stop(self) -> bool:
        """Whether a signal to end has come."""
        self._stepping = True
        return self.ended_by != 0

    def to_save(self) -> bool:
        """Whether a warning has come since this was last asked: the time is nearly up."""
        warned, self._warned = self._warned, False
        return warned

    def __enter__(self) -> SignalsBetweenSteps:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._stop)
        self._before[WARNING] = signal.signal(WARNING, self._warn)
        return self

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._stepping:
            self.ended_by = self.ended_by or number
        else:
            self._before[number](number, frame)

    def _warn(self, number: int, frame: FrameType | None) -> None:
        self._warned = True
        self._before[number](number, frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Reporter:
    """Turns what dynamics report into events, and into a few lines of log."""

    def __init__(self, emit: Callable[[Body], object], n_atoms: int) -> None:
        self._emit = emit
        self._case = f"{n_atoms} atoms"
        self._stage = ""

    def __call__(self, report: Stepped | Observed | Checked | Saved | Advanced | Noted) -> None:
        """Tell of one thing."""
        body = self._body(report)
        if isinstance(body, Progress) and body.stage != self._stage:
            self._stage = body.stage
            log.info("%s", body.stage)
        if isinstance(body, Caution):
            log.warning("%s", body.message)
        self._emit(body)

    def _body(self, report: Stepped | Observed | Checked | Saved | Advanced | Noted) -> Body:
        from accel.dynamics import Checked, Observed, Saved, Stepped
        from accel.measurement import Advanced, Noted

        if isinstance(report, Stepped):
            return Timing(
                report.plan,
                report.ms,
                self._case,
                report.phase,
                report.step,
                report.n_atoms,
                report.n_edges,
            )
        if isinstance(report, Observed):
            metrics: Mapping[str, Json] = report.metrics
            return Epoch(report.step, report.n_steps, metrics=metrics)
        if isinstance(report, Checked):
            error = report.error
            return Accuracy(
                report.plan,
                "reference",
                "trajectory",
                error.n_structures,
                error.energy_mev_per_atom,
                error.force_rmse_mev_per_a,
                error.force_max_mev_per_a,
                passed=not report.exceeded,
            )
        if isinstance(report, Saved):
            return Checkpoint(report.path.name, report.step)
        if isinstance(report, Advanced):
            return Progress(report.done, report.total, report.stage)
        assert isinstance(report, Noted)  # dynamics report nothing else
        return Caution(report.message)


def start(argv: list[str]) -> int:
    """Run the spec that `argv` names; the exit code."""
    folder = Path(argv[0]).parent if argv else Path()
    return main("md", partial(run, folder=folder), argv)


if __name__ == "__main__":
    sys.exit(start(sys.argv[1:]))
