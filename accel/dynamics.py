"""What a run of dynamics is asked to do, reports while it runs, and hands over at its end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeAlias

from accel.accuracy import ErrorStats
from accel.drift import Slope
from accel.errors import DynamicsError
from accel.integrators import ENSEMBLES, Conditions
from accel.measurement import Advanced, Noted, Quartiles

_FS_PER_NS = 1e6
_MS_PER_DAY = 86_400_000.0


@dataclass(frozen=True, slots=True)
class MdSettings:
    """What is run."""

    ensemble: str = "nve"
    """`nve`, `langevin`, `nose-hoover`, `npt`; or a minimisation, `fire` or `lbfgs`."""
    n_steps: int = 1000
    time_step_fs: float = 0.5
    temperature_k: float = 300.0
    """Of the velocities drawn where the structure has none, and of the thermostat."""
    pressure_bar: float = 1.0
    damping_fs: float = 100.0
    pressure_damping_fs: float = 1000.0
    force_tolerance_ev_per_a: float = 0.01
    frame_every: int = 100
    """Steps between two frames of the trajectory; each is a checkpoint too."""
    check_every: int = 0
    """Steps between two comparisons with mace-torch in fp64; 0 for none."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ensemble not in ENSEMBLES:
            raise DynamicsError(f"There is no ensemble {self.ensemble!r}; there are: {', '.join(ENSEMBLES)}.")
        least = {"n_steps": 1, "frame_every": 1, "check_every": 0, "seed": 0, "temperature_k": 0.0}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in least and not value >= least[item.name]:
                raise DynamicsError(f"{item.name} should be {least[item.name]:g} or more, not {value}.")
            if isinstance(value, float) and not math.isfinite(value):
                raise DynamicsError(f"{item.name} should be a number, not {value}.")
            positive = ("time_step_fs", "damping_fs", "pressure_damping_fs", "force_tolerance_ev_per_a")
            if item.name in positive and not value > 0:
                raise DynamicsError(f"{item.name} should be more than 0, not {value}.")

    @property
    def has_time(self) -> bool:
        """Whether this is dynamics: a minimisation has steps, and no time."""
        return self.ensemble not in ("fire", "lbfgs")

    @property
    def conditions(self) -> Conditions:
        """What the integrator needs of this."""
        return Conditions(**{item.name: getattr(self, item.name) for item in fields(Conditions)})


@dataclass(frozen=True, slots=True)
class Stepped:
    """The time of the steps since the last report."""

    plan: str
    phase: str
    """`first` (compilation and first evaluation) or `timed`."""
    step: int
    """The last of them."""
    ms: float
    """Their median."""
    n_atoms: int
    n_edges: int
    """At the start."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The state of the system after a step."""

    step: int
    n_steps: int
    metrics: dict[str, float]
    """By name, with the unit in the name."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The plan's error on the frames of this trajectory that have been checked so far."""

    plan: str
    step: int
    error: ErrorStats
    exceeded: str
    """What is over the plan's tolerance; empty where nothing is."""


@dataclass(frozen=True, slots=True)
class Saved:
    """From here a later attempt can go on."""

    path: Path
    step: int


Report: TypeAlias = Callable[[Stepped | Observed | Checked | Saved | Advanced | Noted], None]


@dataclass(frozen=True, slots=True)
class MdResult:
    """What a run found, over all its attempts unless said otherwise."""

    plan: str
    settings: MdSettings
    n_atoms: int
    n_edges: int
    """At the start."""
    n_steps: int
    """Steps done."""
    n_frames: int
    """In the trajectory."""
    first_ms: float | None
    """First evaluation, compilation included, of this attempt; None where there was nothing left to do."""
    ms: Quartiles | None
    """A step of this attempt, integrator included and writing not; None where it made none."""
    drift: Slope | None
    """Of the conserved energy; None where there is none, or too few steps."""
    temperature_k: float | None
    """Mean over all steps, as ASE counts: 3N degrees of freedom; None for a minimisation."""
    error: ErrorStats | None
    """Against mace-torch in fp64, along this attempt's part of the trajectory; None where not checked."""
    energy_ev: float
    """Potential energy at the end."""
    force_max_ev_per_a: float
    """Largest force on an atom at the end."""
    converged: bool
    """Whether a minimisation has come to its end."""
    stopped: bool
    """Whether it was asked to end before it was done."""

    @property
    def ns_per_day(self) -> float | None:
        """Simulated time; None for a minimisation."""
        return ns_per_day(self.settings, self.ms.median) if self.ms else None


def ns_per_day(settings: MdSettings, ms: float) -> float | None:
    """Simulated time at `ms` a step; None for a minimisation."""
    if not settings.has_time:
        return None
    return settings.time_step_fs / _FS_PER_NS * _MS_PER_DAY / ms
