"""How a job that is over is best started again. Pure: what is known of it in, a proposal out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from workbench.model.job import Job, JobState, Resources
from workbench.model.run import Run

_INTERRUPTED = frozenset(
    {
        JobState.TIMEOUT,
        JobState.CANCELLED,
        JobState.OUT_OF_MEMORY,
        JobState.NODE_FAIL,
        JobState.PREEMPTED,
        JobState.LOST,
    }
)
"""Ends that are not the run's own doing: what has failed by itself would fail again from where it was."""
_SPARE = 1.2
"""Time asked for beyond what the progress so far foretells."""
_MORE = 2
"""By how much time or memory grows where nothing foretells what is needed."""
_MEMORY_STEP_MB = 512
_SOME_MEMORY_MB = 8192


@dataclass(frozen=True, slots=True)
class Again:
    """What to start."""

    in_place: bool
    """Whether it goes on in its own folder, from its checkpoint."""
    resources: Resources
    why: str
    """What is proposed and for what reason, for the person who decides; empty where all stays as it was."""


def again(job: Job, run: Run, most_minutes: int = 0) -> Again:
    """How to start `job` again, of which `run` is known; the profile allows `most_minutes`, 0 for any."""
    in_place = job.spec.run.goes_on and run.checkpoint is not None and job.state in _INTERRUPTED
    resources, why = job.spec.resources, ""
    if job.state == JobState.TIMEOUT:
        resources, why = _more_time(job, run, in_place, most_minutes)
    elif job.state == JobState.OUT_OF_MEMORY:
        resources, why = _more_memory(job, run)
    return Again(in_place, resources, why)


def _more_time(job: Job, run: Run, in_place: bool, most_minutes: int) -> tuple[Resources, str]:
    had = job.spec.resources.time_limit_s
    wanted = float(had if in_place else _MORE * had)
    progress = run.progress
    if progress is not None and 0 < progress.done < progress.total:
        rest = had * job.spec.resources.links * (progress.total - progress.done) / progress.done
        whole = rest if in_place else had + rest
        wanted = max(float(had), _SPARE * whole)
    minutes = math.ceil(wanted / 60)
    sentence = f"Its time of {_minutes(had)} min was up"
    if most_minutes and minutes > most_minutes:
        minutes = most_minutes
        limit = f"the profile allows no more than {minutes} min"
        sentence += f", and {limit}" if minutes * 60 <= had else f": {limit}"
        if job.spec.run.goes_on:
            sentence += "; more links go on after it"
    elif minutes * 60 > had:
        sentence += f": {minutes} min are proposed"
    return replace(job.spec.resources, time_limit_s=max(had, minutes * 60)), f"{sentence}."


def _more_memory(job: Job, run: Run) -> tuple[Resources, str]:
    had = job.spec.resources.memory_mb or 0
    used = max(run.rss_mb.ys, default=0.0)
    steps = math.ceil(_MORE * max(had, used) / _MEMORY_STEP_MB)
    proposed = steps * _MEMORY_STEP_MB or _SOME_MEMORY_MB
    what = f"{had} MB" if had else "what the site gives by default"
    sentence = f"It ran out of memory ({what}): {proposed} MB are proposed."
    return replace(job.spec.resources, memory_mb=proposed), sentence


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:g}"
