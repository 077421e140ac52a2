"""What a benchmark reports while it runs and hands over at its end, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from accel.accuracy import ErrorStats
from accel.plan import Plan
from accel.systems import System


@dataclass(frozen=True, slots=True)
class Quartiles:
    """The middle half of a number of values."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Quartiles:
        """Linear interpolation between the values."""
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
        return cls(float(low), float(median), float(high))


@dataclass(frozen=True, slots=True)
class Timed:
    """Reported as soon as one evaluation is over."""

    plan: str
    system: System
    phase: str
    """`first`, `warm-up` or `timed`."""
    index: int
    ms: float


@dataclass(frozen=True, slots=True)
class Compared:
    """The error of a plan on a system, or on the labelled structures."""

    plan: str
    against: str
    """`reference` or `labels`."""
    case: str
    """The system's name; `labelled structures` for those."""
    error: ErrorStats
    exceeded: str = ""
    """What is over the plan's tolerance; empty where the plan passed, and against labels."""


@dataclass(frozen=True, slots=True)
class Advanced:
    """How far the benchmark is; `done` of `total` counts rounds in work of one size."""

    done: int
    total: int
    stage: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Something a reader of the numbers should know."""

    message: str


Report: TypeAlias = Callable[[Timed | Compared | Advanced | Noted], None]


def ignore(_: Timed | Compared | Advanced | Noted) -> None:
    """A `Report` for those who only want the result."""


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """A plan that was left out or could not even be built, and why."""

    plan: Plan
    reason: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """One plan on one system."""

    plan: Plan
    system: System
    failure: str = ""
    """Why the plan was not timed; empty where it passed."""
    error: ErrorStats | None = None
    """Against the reference, over every evaluation on this system; None where it gave no answer."""
    first_ms: float | None = None
    warm_up_ms: tuple[float, ...] = ()
    settled: bool = True
    """Whether the warm-up ended before its limit."""
    times_ms: tuple[float, ...] = ()
    """Round by round; empty where it failed."""
    speedups: tuple[float, ...] = ()
    """The reference's time over this plan's, round by round."""

    @property
    def ms(self) -> Quartiles | None:
        """Time of one evaluation; None where it failed."""
        return Quartiles.of(self.times_ms) if self.times_ms else None

    @property
    def speedup(self) -> Quartiles | None:
        """Over the reference; None where it failed."""
        return Quartiles.of(self.speedups) if self.speedups else None


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """All that was measured."""

    measurements: tuple[Measurement, ...]
    """By system, and by plan within one."""
    errors: tuple[Compared, ...]
    """On the labelled structures, against the reference and against the labels."""
    unbuilt: tuple[Unbuilt, ...] = ()
    """Plans that were to be measured and could not be built; only where that was allowed."""
