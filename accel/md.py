"""Molecular dynamics and minimisation through ASE, with any plan, watched while they run.

A run tells the time of its steps, the temperature and the energy that should be conserved, and, where
asked to, the error of its plan against mace-torch in fp64 along the very trajectory that it takes. It
can be killed at any moment and goes on from its last checkpoint. Reports come at most four times a
second, however fast the steps are: each speaks for all the steps since the one before.
"""

from __future__ import annotations

import json
import math
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from accel.accuracy import ErrorSum
from accel.calculator import Calculator
from accel.drift import HOTTEST_K, REPORT_EVERY_S, DriftFit, Slope, draw_momenta
from accel.dynamics import Checked, MdResult, MdSettings, Observed, Report, Saved, Stepped, ns_per_day
from accel.errors import DynamicsError, StructureError
from accel.integrators import make_integrator
from accel.measurement import Advanced, Noted, Quartiles
from accel.prediction import Prediction
from accel.reference import ReferenceEvaluator, describe, to_graph
from accel.trajectory import Checkpoint, Trajectory, frame_of

if TYPE_CHECKING:
    from torch import nn

    from accel.plan import Plan

_MEV = 1e3
_FREE = ("n_steps", "check_every")
"""What may change when a run goes on."""


def run_md(
    model: nn.Module,
    plan: Plan,
    atoms: Atoms,
    settings: MdSettings,
    path: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    report: Report = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    save: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.perf_counter,
) -> MdResult:
    """Run dynamics or a minimisation from `atoms`, which stay as they are.

    Args:
        model: A mace-torch model in fp64.
        plan: How forces are computed.
        atoms: Where to start; velocities are drawn where it has none.
        settings: What to run.
        path: The trajectory, extended XYZ; the checkpoint is put beside it.
        resume: Go on from the checkpoint, where there is one. With a larger `n_steps` than before this
            extends a run; whatever else differs is refused.
        device: Where to compute.
        report: Called as it goes.
        stop: Asked after every step; once true, a checkpoint is written and the run ends.
        save: Asked after every step; whenever true, a checkpoint is written and the run goes on.
        clock: Seconds.

    Raises:
        DynamicsError: The system blew up, or the checkpoint is not of this run.
        AccelError: The model, the plan or the atoms cannot be used.
        OSError: The trajectory cannot be written. What is in it stays whole.
    """
    return _Run(model, plan, atoms, settings, path, device, report, stop, save, clock).run(resume)


class _Run:
    def __init__(
        self,
        model: nn.Module,
        plan: Plan,
        atoms: Atoms,
        settings: MdSettings,
        path: Path,
        device: str,
        report: Report,
        stop: Callable[[], bool],
        save: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._plan, self._settings = plan, settings
        self._report, self._stop, self._save_asked, self._clock = report, stop, save, clock
        self._trajectory = Trajectory(path)
        self._n_edges = int(to_graph(atoms, model)["edge_index"].shape[1])
        self._identity = {
            "model": describe(model).content_hash,
            "plan": plan.to_json(),
            "atoms": [int(z) for z in atoms.numbers],
            "settings": {name: value for name, value in asdict(settings).items() if name not in _FREE},
        }
        self._atoms: Atoms = atoms.copy()
        self._atoms.calc = Calculator(model, plan, device=device, stress=settings.ensemble == "npt")
        self._truth = ReferenceEvaluator(model, device=device) if settings.check_every else None
        self._rng = np.random.default_rng(settings.seed)
        self._step = self._n_frames = 0
        self._fresh = True
        self._drift, self._temperatures = DriftFit(), 0.0
        self._origin: float | None = None
        self._errors = ErrorSum()
        self._times = array("d")
        self._first_ms: float | None = None
        self._reported = 0
        self._reported_at = -math.inf
        self._saved: Saved | None = None
        self._checked = False

    def run(self, resume: bool) -> MdResult:
        checkpoint = self._trajectory.read() if resume else None
        if checkpoint is None:
            if self._settings.has_time and not self._atoms.get_momenta().any():
                draw_momenta(self._atoms, self._settings.temperature_k, self._rng)
        else:
            self._check_identity(checkpoint)
            self._trajectory.resume(checkpoint)
            checkpoint.put_into(self._atoms)
        self._integrator = make_integrator(
            self._settings.ensemble, self._atoms, self._settings.conditions, self._rng
        )
        if checkpoint is not None:
            self._restore(checkpoint.state)
        converged = stopped = False
        for converged in self._steps():
            stopped = self._stop()
            if stopped or converged or self._step == self._settings.n_steps:
                break
            if self._save_asked():
                self._save()
                self._tell()
        self._save()  # a run leaves its last moment, whether it is a frame or not
        self._tell()
        return self._result(converged and self._integrator.minimises, stopped)

    def _steps(self) -> Iterator[bool]:
        """Move step by step, and see to everything that each asks for; whether it has converged."""
        steps = self._integrator.run(max(0, self._settings.n_steps - self._step))
        began = self._clock()
        while True:
            try:
                converged = next(steps)
            except StopIteration:
                return
            except StructureError as error:
                if self._first_ms is None:
                    raise
                self._step += 1
                raise self._blown_up(str(error)) from error
            ms = (self._clock() - began) * _MEV
            if self._first_ms is None:
                self._first_ms = ms
                self._report(
                    Stepped(self._plan.name, "first", self._step, ms, len(self._atoms), self._n_edges)
                )
                if self._fresh:
                    self._trajectory.begin()  # only now: what cannot be computed at all writes nothing
                    self._look()
            else:
                self._step += 1
                self._times.append(ms)
                self._look()
            yield converged
            began = self._clock()

    def _look(self) -> None:
        """What follows a step."""
        step, settings = self._step, self._settings
        heat = float(self._atoms.get_temperature())
        energy = float(self._atoms.get_potential_energy())
        if not math.isfinite(energy):
            raise self._blown_up(f"The energy is {energy}.")
        if not heat < HOTTEST_K:
            raise self._blown_up(f"The temperature is {heat:.3g} K.")
        self._temperatures += heat
        if self._integrator.conserved_ev is not None:
            conserved = self._integrator.conserved_ev() / len(self._atoms) * _MEV
            if self._origin is None:
                self._origin = conserved
            self._drift.add(conserved - self._origin)
        if settings.check_every and step % settings.check_every == 0:
            self._check()
        if step % settings.frame_every == 0:
            self._trajectory.append(frame_of(self._atoms, step, self._time_fs))
            self._n_frames += 1
            self._save()
        if self._clock() - self._reported_at >= REPORT_EVERY_S:
            self._tell()

    def _check(self) -> None:
        assert self._truth is not None
        answer = Prediction(float(self._atoms.get_potential_energy()), self._atoms.get_forces(), None)
        self._errors.add(answer, self._truth.evaluate(self._atoms))
        self._checked = True

    def _tell(self) -> None:
        """Report everything since the last time."""
        self._reported_at = self._clock()
        latest = self._times[self._reported :]
        self._reported = len(self._times)
        if latest:
            ms = float(np.median(latest))
            self._report(Stepped(self._plan.name, "timed", self._step, ms, len(self._atoms), self._n_edges))
        self._report(Observed(self._step, self._settings.n_steps, self._metrics()))
        self._report(Advanced(self._step, self._settings.n_steps, self._settings.ensemble))
        if self._checked:
            stats = self._errors.stats
            exceeded = self._plan.tolerance.exceeded_by(stats)
            self._report(Checked(self._plan.name, self._step, stats, exceeded))
            self._checked = False
        if self._saved is not None:
            self._report(self._saved)
            self._saved = None

    def _metrics(self) -> dict[str, float]:
        per_atom = self._atoms.get_potential_energy() / len(self._atoms) * _MEV
        found = {"potential_energy_mev_per_atom": float(per_atom)}
        if self._integrator.minimises:
            found["force_max_ev_per_a"] = self._largest_force()
            return found
        found["temperature_k"] = float(self._atoms.get_temperature())
        if self._integrator.conserved_ev is not None and self._origin is not None:
            conserved = self._integrator.conserved_ev() / len(self._atoms) * _MEV
            found["energy_drift_mev_per_atom"] = conserved - self._origin
        if self._times:
            rate = ns_per_day(self._settings, float(np.median(self._times[-1000:])))
            assert rate is not None
            found["ns_per_day"] = rate
        if self._settings.ensemble == "npt":
            found["volume_a3"] = float(self._atoms.get_volume())
        return found

    def _save(self) -> None:
        state: dict[str, Any] = {
            "identity": self._identity,
            "step": self._step,
            "n_frames": self._n_frames,
            "integrator": self._integrator.state(),
            "drift": {"sums": self._drift.sums, "length": self._drift.length, "count": self._drift.count},
            "origin": self._origin,
            "temperatures": self._temperatures,
        }
        self._trajectory.save(Checkpoint.of(self._atoms, state))
        self._saved = Saved(self._trajectory.checkpoint_path, self._step)

    def _restore(self, state: dict[str, Any]) -> None:
        self._step, self._fresh = state["step"], False
        self._n_frames = state["n_frames"]
        self._drift = DriftFit(**state["drift"])
        self._origin, self._temperatures = state["origin"], state["temperatures"]
        self._integrator.restore(state["integrator"])
        self._report(Noted(f"Going on after step {self._step}."))

    def _check_identity(self, checkpoint: Checkpoint) -> None:
        before = checkpoint.state["identity"]
        now = json.loads(json.dumps(self._identity))
        parts = [name for name in ("model", "plan", "atoms") if before[name] != now[name]]
        parts += [name for name, value in now["settings"].items() if before["settings"].get(name) != value]
        if parts:
            raise DynamicsError(
                f"{self._trajectory.checkpoint_path} is of another run (not the same: {', '.join(parts)}): "
                "go on with the same settings, or write to another place."
            )

    def _blown_up(self, reason: str) -> DynamicsError:
        frames = f"{self._n_frames} frame{'' if self._n_frames == 1 else 's'}"
        when = "" if self._time_fs is None else f" ({self._time_fs:g} fs)"
        remedy = "start from another structure"
        if self._time_fs is not None:
            shorter = f"a shorter time step than {self._settings.time_step_fs:g} fs"
            remedy = f"minimise the structure first, take {shorter}, or a model that knows such structures"
        return DynamicsError(
            f"The system blew up at step {self._step}{when}: {reason.rstrip('.')}. The {frames} before it "
            f"are kept in {self._trajectory.path}; {remedy}."
        )

    @property
    def _time_fs(self) -> float | None:
        return None if not self._settings.has_time else self._step * self._settings.time_step_fs

    def _largest_force(self) -> float:
        return float(np.linalg.norm(self._atoms.get_forces(), axis=1).max())

    def _result(self, converged: bool, stopped: bool) -> MdResult:
        slope = self._drift.slope(self._settings.time_step_fs * 1e-3)
        return MdResult(
            plan=self._plan.name,
            settings=self._settings,
            n_atoms=len(self._atoms),
            n_edges=self._n_edges,
            n_steps=self._step,
            n_frames=self._n_frames,
            first_ms=self._first_ms,
            ms=Quartiles.of(self._times) if self._times else None,
            drift=Slope(*slope) if slope else None,
            temperature_k=self._temperatures / (self._step + 1) if self._settings.has_time else None,
            error=self._errors.stats if self._errors.n_structures else None,
            energy_ev=float(self._atoms.get_potential_energy()),
            force_max_ev_per_a=self._largest_force(),
            converged=converged,
            stopped=stopped,
        )
