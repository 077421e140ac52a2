"""Dynamics on a real model; ten steps are enough to break what can be broken."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from torch import nn

from accel.cli import main
from accel.data import load_structures, sized_system
from accel.drift import DriftFit, DriftReport, Slope, compare_drift, draw_momenta, judge_drift, nve_drift
from accel.dynamics import Checked, MdSettings, Observed, Report, Saved, Stepped
from accel.errors import DynamicsError, StructureError
from accel.evaluation import evaluate_file
from accel.integrators import ENSEMBLES
from accel.md import run_md
from accel.measurement import Advanced
from accel.plan import REFERENCE, build_evaluator, named_plan
from accel.prediction import Prediction
from accel.reference import ReferenceEvaluator, load_model
from accel.trajectory import Checkpoint, Trajectory
from tests.jobs.test_entry import room_for

EXACT = named_plan("exact")
SHORT = MdSettings(n_steps=8, frame_every=3, time_step_fs=0.25)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return load_model("h2co-small")


@pytest.fixture
def molecule() -> Atoms:
    return sized_system(load_structures("shipped:liquid"), 6)


@pytest.fixture
def crystal(molecule: Atoms) -> Atoms:
    """Periodic, in a cell that is not much larger than the cutoff."""
    molecule.set_cell([5.5, 5.5, 5.5])
    molecule.pbc = True
    return molecule


def settled(**changes: object) -> MdSettings:
    return dataclasses.replace(SHORT, **changes)  # type: ignore[arg-type]  # tests name real fields


def moments(path: Path) -> list[Atoms]:
    return list(ase.io.iread(path))


# --- the trajectory -------------------------------------------------------------------------------


def test_frames_are_what_the_plan_computes(model: nn.Module, molecule: Atoms, tmp_path: Path) -> None:
    path = tmp_path / "t.xyz"
    before = molecule.get_positions()
    result = run_md(model, EXACT, molecule, SHORT, path)
    frames = moments(path)
    assert [frame.info["step"] for frame in frames] == [0, 3, 6]
    assert [frame.info["time_fs"] for frame in frames] == [0.0, 0.75, 1.5]
    assert (result.n_steps, result.n_frames, result.stopped) == (8, 3, False)
    truth = ReferenceEvaluator(model)
    for frame in frames:
        found = truth.evaluate(frame)
        assert frame.get_potential_energy() == pytest.approx(found.energy_ev, abs=1e-5)
        np.testing.assert_allclose(frame.get_forces(), found.forces, atol=1e-5)
    assert frames[0].get_temperature() == pytest.approx(300.0, rel=1e-3)
    assert abs(frames[0].get_momenta().sum(axis=0)).max() < 1e-6
    assert np.array_equal(molecule.get_positions(), before)


def test_velocities_that_a_structure_brings_are_kept(
    model: nn.Module, molecule: Atoms, tmp_path: Path
) -> None:
    draw_momenta(molecule, 50.0, np.random.default_rng(7))
    run_md(model, REFERENCE, molecule, SHORT, tmp_path / "t.xyz")
    first = moments(tmp_path / "t.xyz")[0]
    np.testing.assert_allclose(first.get_momenta(), molecule.get_momenta(), atol=1e-7)


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "nose-hoover"])
def test_one_seed_is_one_trajectory(ensemble: str, model: nn.Module, molecule: Atoms, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_md(model, REFERENCE, molecule, settled(ensemble=ensemble, seed=seed), tmp_path / f"{name}.xyz")
    texts = [(tmp_path / f"{name}.xyz").read_bytes() for name in "abc"]
    assert texts[0] == texts[1] != texts[2]


def test_nve_keeps_the_energy_as_the_reference_does(
    model: nn.Module, molecule: Atoms, tmp_path: Path
) -> None:
    draw_momenta(molecule, 300.0, np.random.default_rng(0))
    truth, found = (
        nve_drift(build_evaluator(model, plan), molecule, n_steps=20, time_step_fs=0.25)
        for plan in (REFERENCE, EXACT)
    )
    assert truth.fluctuation_mev_per_atom > 0
    assert found.fluctuation_mev_per_atom == pytest.approx(truth.fluctuation_mev_per_atom, rel=1e-6)
    kept: list[float] = []

    def watch(report: object) -> None:
        if isinstance(report, Observed):
            kept.append(report.metrics["energy_drift_mev_per_atom"])

    run_md(
        model,
        EXACT,
        molecule,
        MdSettings(n_steps=20, time_step_fs=0.25),
        tmp_path / "t.xyz",
        report=watch,
        clock=Clock(),
    )
    assert len(kept) >= 20
    assert np.ptp(kept) < 10 * truth.fluctuation_mev_per_atom


class Clock:
    """The same time passes from one look to the next."""

    def __init__(self, tick_s: float = 1.0) -> None:
        self.now, self.tick_s = 0.0, tick_s

    def __call__(self) -> float:
        self.now += self.tick_s
        return self.now


@pytest.mark.parametrize("ensemble", ["nose-hoover", "npt"])
def test_an_extended_system_conserves_its_own_energy(
    ensemble: str, model: nn.Module, crystal: Atoms, tmp_path: Path
) -> None:
    told: list[dict[str, float]] = []

    def watch(report: object) -> None:
        if isinstance(report, Observed):
            told.append(report.metrics)

    # A thermostat this quick takes and gives energy that the atoms alone would not keep.
    settings = settled(ensemble=ensemble, damping_fs=10.0, pressure_damping_fs=50.0, n_steps=6)
    run_md(model, REFERENCE, crystal, settings, tmp_path / "t.xyz", report=watch, clock=Clock())
    drifts = [one["energy_drift_mev_per_atom"] for one in told]
    assert max(map(abs, drifts)) < 0.5
    potential = [one["potential_energy_mev_per_atom"] for one in told]
    assert np.ptp(potential) > 4 * np.ptp(drifts)
    if ensemble == "npt":
        assert told[0]["volume_a3"] != told[-1]["volume_a3"]


@pytest.mark.parametrize("ensemble", ["fire", "lbfgs"])
def test_a_minimisation_comes_to_its_end_and_says_so(
    ensemble: str, model: nn.Module, molecule: Atoms, tmp_path: Path
) -> None:
    settings = MdSettings(ensemble=ensemble, n_steps=300, force_tolerance_ev_per_a=0.05)
    start = ReferenceEvaluator(model).evaluate(molecule)
    result = run_md(model, REFERENCE, molecule, settings, tmp_path / "t.xyz")
    assert result.converged
    assert result.n_steps < 300
    assert result.force_max_ev_per_a <= 0.05
    assert result.energy_ev < start.energy_ev
    assert (result.drift, result.temperature_k, result.ns_per_day) == (None, None, None)
    tight = dataclasses.replace(settings, n_steps=2)
    assert not run_md(model, REFERENCE, molecule, tight, tmp_path / "u.xyz").converged


# --- going on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ensemble", sorted(set(ENSEMBLES) - {"fire", "lbfgs"}))
def test_a_run_in_two_parts_is_the_run_in_one(
    ensemble: str, model: nn.Module, crystal: Atoms, tmp_path: Path
) -> None:
    settings = settled(ensemble=ensemble, damping_fs=10.0, pressure_damping_fs=50.0)
    whole = run_md(model, REFERENCE, crystal, settings, tmp_path / "whole.xyz")
    left = iter([False] * 5 + [True])
    part = run_md(model, REFERENCE, crystal, settings, tmp_path / "parts.xyz", stop=lambda: next(left))
    assert (part.stopped, part.n_steps) == (True, 5)
    rest = run_md(model, REFERENCE, crystal, settings, tmp_path / "parts.xyz", resume=True)
    assert (rest.n_steps, rest.n_frames) == (8, 3)
    at_once, in_parts = (moments(tmp_path / f"{name}.xyz") for name in ("whole", "parts"))
    assert [frame.info["step"] for frame in in_parts] == [frame.info["step"] for frame in at_once]
    for one, other in zip(at_once, in_parts, strict=True):
        np.testing.assert_allclose(one.positions, other.positions, atol=1e-7)
        np.testing.assert_allclose(one.get_momenta(), other.get_momenta(), atol=1e-6)
        np.testing.assert_allclose(one.cell.array, other.cell.array, atol=1e-9)
    assert rest.temperature_k == pytest.approx(whole.temperature_k, rel=1e-6)
    assert (rest.drift is None) == (whole.drift is None)
    if rest.drift and whole.drift:
        assert rest.drift.mev_per_atom_per_ps == pytest.approx(whole.drift.mev_per_atom_per_ps, rel=1e-3)


def test_what_a_kill_left_after_the_checkpoint_is_cut_off(
    model: nn.Module, molecule: Atoms, tmp_path: Path
) -> None:
    path = tmp_path / "t.xyz"
    run_md(model, REFERENCE, molecule, settled(n_steps=4), path)
    with path.open("ab") as file:
        file.write(b"6\nProperties=species:S:1:pos:R:3 step=6\nC 0.1 0.2")
    result = run_md(model, REFERENCE, molecule, SHORT, path, resume=True)
    assert [frame.info["step"] for frame in moments(path)] == [0, 3, 6]
    assert result.n_frames == 3


def test_a_run_that_is_over_is_extended_and_one_that_is_not_this_one_is_refused(
    model: nn.Module, molecule: Atoms, tmp_path: Path
) -> None:
    path = tmp_path / "t.xyz"
    run_md(model, REFERENCE, molecule, SHORT, path)
    again = run_md(model, REFERENCE, molecule, SHORT, path, resume=True)
    assert (again.n_steps, again.ms, len(moments(path))) == (8, None, 3)
    assert run_md(model, REFERENCE, molecule, settled(n_steps=12), path, resume=True).n_frames == 5
    whole = path.read_bytes()
    path.write_bytes(whole + b"6\nProperties=")
    for changed, plan, said in (
        (settled(temperature_k=10.0), REFERENCE, "temperature_k"),
        (SHORT, named_plan("reference-fp32"), "plan"),
    ):
        with pytest.raises(DynamicsError, match=f"of another run .not the same: {said}"):
            run_md(model, plan, molecule, changed, path, resume=True)
    with pytest.raises(DynamicsError, match="atoms"):
        run_md(model, REFERENCE, molecule[:3], SHORT, path, resume=True)
    assert path.read_bytes() == whole + b"6\nProperties="


@pytest.mark.parametrize("garbage", [b"", b"PK", b"no archive at all"])
def test_a_broken_checkpoint_is_named_and_nothing_is_lost(garbage: bytes, tmp_path: Path) -> None:
    trajectory = Trajectory(tmp_path / "t.xyz")
    trajectory.begin()
    trajectory.path.write_bytes(b"frames")
    trajectory.checkpoint_path.write_bytes(garbage)
    with pytest.raises(DynamicsError, match=r"t\.checkpoint\.npz is broken: delete it and t\.xyz"):
        trajectory.read()
    assert trajectory.path.read_bytes() == b"frames"


def test_frames_that_a_checkpoint_speaks_of_must_be_there(molecule: Atoms, tmp_path: Path) -> None:
    trajectory = Trajectory(tmp_path / "t.xyz")
    trajectory.begin()
    trajectory.append(molecule)
    trajectory.save(Checkpoint.of(molecule, {}))
    trajectory.path.write_bytes(b"")
    with pytest.raises(DynamicsError, match=r"lacks frames that t\.checkpoint\.npz speaks of"):
        trajectory.read()


def test_a_full_disk_leaves_whole_frames_and_a_checkpoint_to_go_on_from(
    model: nn.Module, molecule: Atoms, tmp_path: Path
) -> None:
    path = tmp_path / "t.xyz"
    run_md(model, REFERENCE, molecule, settled(n_steps=1), path)
    room = 2 * path.stat().st_size + 100
    checkpoint = Trajectory(path).checkpoint_path.stat().st_size
    path.unlink()
    often = settled(frame_every=1, n_steps=60)
    with room_for(max(room, checkpoint + 2000)), pytest.raises(OSError, match="File too large"):
        run_md(model, REFERENCE, molecule, often, path)
    n_before = len(moments(path))
    assert 1 <= n_before < 61
    assert run_md(model, REFERENCE, molecule, often, path, resume=True).n_frames == 61
    assert [frame.info["step"] for frame in moments(path)] == list(range(61))


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_system_that_blows_up_is_one_sentence_with_the_step(
    model: nn.Module, crystal: Atoms, tmp_path: Path
) -> None:
    path = tmp_path / "t.xyz"
    hot = settled(temperature_k=5_000.0, time_step_fs=10.0, n_steps=50, frame_every=1)
    with pytest.raises(DynamicsError, match=r"^The system blew up at step \d+ \(\d+ fs\): ") as caught:
        run_md(model, EXACT, crystal, hot, path)
    kept = moments(path)
    assert f"The {len(kept)} frame" in str(caught.value)
    assert all(np.isfinite(frame.positions).all() for frame in kept)
    assert [frame.info["step"] for frame in kept] == list(range(len(kept)))


def test_an_element_that_the_model_lacks_is_named_and_nothing_is_written(
    model: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(StructureError, match=r"Fe \(iron\)"):
        run_md(model, EXACT, Atoms("Fe"), SHORT, tmp_path / "t.xyz")
    with pytest.raises(DynamicsError, match="periodic in all directions"):
        run_md(
            model, EXACT, Atoms("H2", [(0, 0, 0), (0, 0, 0.8)]), settled(ensemble="npt"), tmp_path / "t.xyz"
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ensemble": "nvt"}, "no ensemble 'nvt'; there are: nve, langevin"),
        ({"n_steps": 0}, "n_steps should be 1 or more, not 0"),
        ({"time_step_fs": 0.0}, "time_step_fs should be more than 0"),
        ({"time_step_fs": math.nan}, "time_step_fs should be a number"),
        ({"temperature_k": -1.0}, "temperature_k should be 0 or more"),
        ({"frame_every": 0}, "frame_every should be 1 or more"),
        ({"check_every": -1}, "check_every should be 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(DynamicsError, match=said):
        settled(**changes)


# --- reports --------------------------------------------------------------------------------------


def test_reports_speak_for_all_steps_and_do_not_flood(
    model: nn.Module, molecule: Atoms, tmp_path: Path
) -> None:
    told: list[object] = []
    report: Report = told.append
    single = named_plan("reference-fp32")
    still = run_md(
        model, single, molecule, settled(check_every=4), tmp_path / "t.xyz", report=report, clock=Clock(1e-6)
    )
    # Hardly any time passes: the first look, and the end, which no run leaves untold.
    assert [type(one) for one in told] == [
        Stepped, Observed, Advanced, Checked, Saved,
        Stepped, Observed, Advanced, Checked, Saved,
    ]  # fmt: skip
    first, last = told[0], told[5]
    assert isinstance(first, Stepped)
    assert isinstance(last, Stepped)
    assert (first.phase, last.phase, last.step) == ("first", "timed", 8)
    checked = told[8]
    assert isinstance(checked, Checked)
    assert checked.error.n_structures == 3
    assert 0 < checked.error.force_rmse_mev_per_a < 0.1
    assert checked.exceeded == ""
    assert still.error == checked.error


# --- drift ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_values", [4, 63, 64, 65, 1000, 10_001])
def test_the_slope_of_a_line_is_found_whatever_the_length(n_values: int) -> None:
    fit = DriftFit()
    for i in range(n_values):
        fit.add(5.0 - 0.25 * i)
    found = fit.slope(0.5)
    assert found is not None
    slope, error = found
    assert slope == pytest.approx(-0.5)
    assert error == pytest.approx(0.0, abs=1e-9)
    assert len(fit.sums) <= 64
    assert fit.count == n_values


def test_the_error_of_a_slope_is_the_scatter_of_slopes() -> None:
    rng = np.random.default_rng(0)
    slopes, errors = [], []
    for _ in range(300):
        fit = DriftFit()
        for value in rng.normal(size=500):
            fit.add(value)
        found = fit.slope(1.0)
        assert found is not None
        slopes.append(found[0])
        errors.append(found[1])
    assert np.std(slopes) == pytest.approx(math.sqrt(np.mean(np.square(errors))), rel=0.2)


def test_too_few_values_have_no_slope() -> None:
    fit = DriftFit()
    for value in (1.0, 2.0, 3.0):
        fit.add(value)
    assert fit.slope(1.0) is None


class Pushed:
    """The reference with a force that is no energy's derivative: a push along every velocity."""

    def __init__(self, model: nn.Module, push: float) -> None:
        self._inner, self._push, self._last = ReferenceEvaluator(model), push, None

    def evaluate(self, atoms: Atoms, *, stress: bool = False) -> Prediction:
        found = self._inner.evaluate(atoms, stress=stress)
        return Prediction(found.energy_ev, found.forces + self._push * atoms.get_momenta(), None)


def test_forces_that_are_no_derivative_are_found_by_their_drift(model: nn.Module, molecule: Atoms) -> None:
    draw_momenta(molecule, 300.0, np.random.default_rng(0))
    truth = nve_drift(ReferenceEvaluator(model), molecule, n_steps=20, time_step_fs=0.25)
    pushed = nve_drift(Pushed(model, 0.05), molecule, n_steps=20, time_step_fs=0.25, plan="pushed")
    verdict = judge_drift(pushed, truth)
    assert not verdict.no_worse
    assert verdict.excess_mev_per_atom_per_ps > verdict.spread_mev_per_atom_per_ps
    assert judge_drift(truth, truth).no_worse


@pytest.mark.parametrize(
    ("slope", "failure", "no_worse"),
    [
        (Slope(0.5, 0.1), "", True),
        (Slope(-0.6, 0.1), "", True),
        (Slope(0.9, 0.1), "", False),
        (Slope(-0.9, 0.1), "", False),
        (Slope(0.0, 0.0), "step 3: overlap", False),
        (Slope(math.nan, 0.1), "", False),
    ],
)
def test_a_verdict_follows_from_the_figures(slope: Slope, failure: str, no_worse: bool) -> None:
    truth = DriftReport("reference", 6, 100, 0.5, (Slope(0.4, 0.1),), 0.1, 300.0)
    found = dataclasses.replace(truth, plan="other", slopes=(slope,), failure=failure)
    assert judge_drift(found, truth).no_worse is no_worse


def test_plans_are_compared_from_the_same_start(model: nn.Module, molecule: Atoms) -> None:
    told: list[object] = []
    reports, verdicts = compare_drift(
        model, [EXACT], molecule, n_steps=12, time_step_fs=0.25, starts=2, report=told.append
    )
    assert [one.plan for one in reports] == ["reference", "exact"]
    assert [len(one.slopes) for one in reports] == [2, 2]
    for truth, found in zip(reports[0].slopes, reports[1].slopes, strict=True):
        assert found.mev_per_atom_per_ps == pytest.approx(truth.mev_per_atom_per_ps, rel=1e-4)
    assert reports[0].slopes[0] != reports[0].slopes[1]
    assert [(one.plan, one.no_worse) for one in verdicts] == [("exact", True)]
    last = told[-1]
    assert isinstance(last, Advanced)
    assert (last.done, last.total) == (48, 48)


def test_a_drift_of_nothing_is_refused(model: nn.Module, molecule: Atoms) -> None:
    with pytest.raises(DynamicsError, match="at least 4 steps"):
        nve_drift(ReferenceEvaluator(model), molecule, n_steps=2, time_step_fs=0.5)
    with pytest.raises(DynamicsError, match="at least one draw"):
        compare_drift(model, [], molecule, starts=0)


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the command sets for its own process must not reach other tests."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.chdir(tmp_path)


MD = ["md", "h2co-small", "shipped:liquid", "--size", "6", "--steps", "5", "--frame-every", "2"]


@pytest.mark.usefixtures("environment")
def test_md_runs_from_a_shell_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(MD) == 0
    out, _ = capsys.readouterr()
    assert out.splitlines()[0].split()[:2] == ["plan", "ensemble"]
    assert "ns/day holds for the time step of 0.5 fs" in out
    assert len(moments(tmp_path / "trajectory.xyz")) == 3
    assert main(MD) == 1
    assert "trajectory.xyz is there already: --resume" in capsys.readouterr().err
    assert main([*MD, "--resume", "--steps", "8"]) == 0
    assert len(moments(tmp_path / "trajectory.xyz")) == 5


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--ensemble", "nvt"], "no ensemble 'nvt'"),
        (["--time-step", "nan"], "time_step_fs should be a number"),
        (["-o", "nowhere/t.xyz"], "nowhere/t.xyz cannot be written: No such file or directory"),
        (["--plan", "warp"], "no plan 'warp'"),
    ],
)
def test_md_that_cannot_be_run_is_one_sentence(
    more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*MD, *more]) == 1
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.usefixtures("environment")
def test_eval_writes_every_frame_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(MD)
    assert main(["eval", "h2co-small", "trajectory.xyz", "-o", "out.xyz", "--plan", "reference"]) == 0
    assert "3 frames, 18 atoms" in capsys.readouterr().out
    for one, other in zip(moments(tmp_path / "trajectory.xyz"), moments(tmp_path / "out.xyz"), strict=True):
        np.testing.assert_allclose(one.get_forces(), other.get_forces(), atol=1e-5)
        assert one.get_potential_energy() == pytest.approx(other.get_potential_energy(), abs=1e-5)


def test_eval_of_a_bad_frame_names_it_and_leaves_what_was_there(
    model: nn.Module, molecule: Atoms, tmp_path: Path
) -> None:
    ase.io.write(tmp_path / "in.xyz", [molecule, Atoms("Fe")])
    (tmp_path / "out.xyz").write_text("before")
    with pytest.raises(StructureError, match=r"Frame 2 of .*in\.xyz: .*Fe \(iron\)"):
        evaluate_file(model, EXACT, str(tmp_path / "in.xyz"), tmp_path / "out.xyz")
    assert (tmp_path / "out.xyz").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.xyz", "out.xyz"]
