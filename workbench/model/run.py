"""Run: what a run's events add up to. `Run.apply` is the only way in which it changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from jobs.protocol import (
    Accuracy,
    Caution,
    Checkpoint,
    Epoch,
    Event,
    Failure,
    Finish,
    Json,
    Progress,
    Resource,
    Result,
    Start,
    Timing,
)
from workbench.model.series import Series

_MOST_NOTES = 200
_PACE_S = 20.0
"""How far back the pace is taken that the rest is estimated by."""
_LEAST_PACE_S = 1.0


@dataclass(frozen=True, slots=True)
class SystemSize:
    """How large a system is that was timed."""

    n_atoms: int
    n_edges: int


@dataclass(slots=True)
class Run:
    """The fold of a run's events, attempts and all."""

    last_seq: int = 0
    attempt: int = 0
    start: Start | None = None
    """Of the current attempt."""
    started_at: float | None = None
    """When the current attempt started, by the clock of its host."""
    heard_at: float | None = None
    """The time of the last event, by the same clock."""
    progress: Progress | None = None
    _pace: deque[tuple[float, int]] = field(default_factory=deque)
    """When how much was done, of late."""
    timings: dict[tuple[str, str], Series] = field(default_factory=dict)
    """Timed evaluations in ms, by plan and case; x counts them. Of the current attempt."""
    sizes: dict[str, SystemSize] = field(default_factory=dict)
    """Of the systems that were timed, by case."""
    accuracies: dict[tuple[str, str, str], Accuracy] = field(default_factory=dict)
    """By plan, case and what the error is against; the newest each."""
    metrics: dict[str, Series] = field(default_factory=dict)
    """Numbers by epoch, by name."""
    cpu_percent: Series = field(default_factory=Series)
    rss_mb: Series = field(default_factory=Series)
    resource: Resource | None = None
    notes: list[str] = field(default_factory=list)
    """Warnings, oldest first; at most the last 200."""
    checkpoint: Checkpoint | None = None
    """From where a further attempt would go on."""
    failure: str | None = None
    result: Result | None = None
    finish: Finish | None = None
    n_events: int = 0

    @property
    def provenance(self) -> Mapping[str, Json]:
        """What the numbers were measured on."""
        return self.start.provenance if self.start else {}

    def apply_all(self, events: Iterable[Event]) -> bool:
        """Apply several; true where any was new."""
        changed = False
        for event in events:
            changed |= self.apply(event)
        return changed

    def apply(self, event: Event) -> bool:
        """Take in one event; false where it was seen before."""
        if event.seq <= self.last_seq:
            return False
        self.last_seq = event.seq
        self.n_events += 1
        self.heard_at = event.t
        if event.attempt != self.attempt:
            self._begin_attempt(event)
        body = event.body
        if isinstance(body, Timing):
            if body.phase == "timed" and body.ms is not None:
                series = self.timings.get((body.plan, body.case))
                if series is None:
                    series = self.timings[body.plan, body.case] = Series()
                    self.sizes[body.case] = SystemSize(body.n_atoms, body.n_edges)
                series.append(len(series), body.ms)
        elif isinstance(body, Progress):
            self.progress = body
            self._keep_pace(event.t, body.done)
        elif isinstance(body, Resource):
            self.resource = body
            since = event.t - (self.started_at or event.t)
            if body.cpu_percent is not None:
                self.cpu_percent.append(since, body.cpu_percent)
            if body.rss_mb is not None:
                self.rss_mb.append(since, body.rss_mb)
        elif isinstance(body, Accuracy):
            self.accuracies[body.plan, body.case, body.against] = body
        elif isinstance(body, Epoch):
            for name, value in body.metrics.items():
                if isinstance(value, int | float):
                    self.metrics.setdefault(name, Series()).append(body.epoch, value)
        elif isinstance(body, Checkpoint):
            self.checkpoint = body
        elif isinstance(body, Start):
            self.start = body
        elif isinstance(body, Caution):
            self.notes = [*self.notes[1 - _MOST_NOTES :], body.message]
        elif isinstance(body, Failure):
            self.failure = body.message
        elif isinstance(body, Result):
            self.result = body
        elif isinstance(body, Finish):
            self.finish = body
        return True

    @property
    def eta_s(self) -> float | None:
        """Seconds until it is done at the pace of late, by its host's clock; None where it is not known."""
        progress = self.progress
        if progress is None or self.finish or len(self._pace) < 2:
            return None
        (began, first), (now, done) = self._pace[0], self._pace[-1]
        if now - began < _LEAST_PACE_S or done <= first or progress.total < done:
            return None
        return (now - began) * (progress.total - done) / (done - first)

    def _keep_pace(self, t: float, done: int) -> None:
        """Remember how far it was when, of late: loading and compiling say nothing about the rest."""
        if done <= 0:
            return
        self._pace.append((t, done))
        while len(self._pace) > 2:
            (first, _), (second, _) = self._pace[0], self._pace[1]
            paused = second - first > _PACE_S and t - second >= _LEAST_PACE_S
            if not paused and t - second <= _PACE_S:
                break
            self._pace.popleft()

    def _begin_attempt(self, event: Event) -> None:
        """A new attempt measures anew: mixing its numbers with the last one's would compare two machines."""
        self.attempt = event.attempt
        self.started_at = event.t
        self.start = self.progress = self.resource = self.failure = self.result = self.finish = None
        self._pace.clear()
        self.timings.clear()
        self.sizes.clear()
        self.accuracies.clear()
        self.cpu_percent, self.rss_mb = Series(), Series()
