"""How states, ages and progress are written, the same on every screen and readable without colour."""

from __future__ import annotations

from workbench.model.job import Job, JobState
from workbench.model.run import Run
from workbench.report import duration

SYMBOLS = {
    JobState.WAITS_FOR_LINK: "◌",
    JobState.SUBMITTING: "◌",
    JobState.PENDING: "○",
    JobState.RUNNING: "▶",
    JobState.SUSPENDED: "‖",
    JobState.COMPLETING: "◐",
    JobState.UNKNOWN: "?",
    JobState.COMPLETED: "✓",
    JobState.CANCELLED: "⊘",
}
"""The rest ended badly, and share one."""
_FAILED = "✗"
HELD = "‖ held"
"""Of a job that somebody keeps from starting."""
_LABELS = {
    JobState.WAITS_FOR_LINK: "needs link",
    JobState.OUT_OF_MEMORY: "no memory",
    JobState.NODE_FAIL: "node failed",
}
_TONES = {
    JobState.RUNNING: "running",
    JobState.COMPLETING: "running",
    JobState.COMPLETED: "done",
    JobState.CANCELLED: "muted",
    JobState.PENDING: "waiting",
    JobState.WAITS_FOR_LINK: "waiting",
    JobState.SUBMITTING: "waiting",
    JobState.SUSPENDED: "waiting",
    JobState.UNKNOWN: "waiting",
}
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def state_text(state: JobState) -> str:
    """Symbol and word: `▶ running`."""
    return f"{SYMBOLS.get(state, _FAILED)} {_LABELS.get(state, state.value.lower())}"


def job_state_text(job: Job) -> str:
    """The same of a job, which may be held."""
    return HELD if job.status.held_by else state_text(job.state)


def state_tone(state: JobState) -> str:
    """Which of the colours `running`, `done`, `waiting`, `muted`, `failed` a state has."""
    return _TONES.get(state, "failed")


def age(seconds: float | None) -> str:
    """How long ago, in three or four letters: `3s`, `12m`, `5h`, `9d`; `never` where it was not."""
    if seconds is None:
        return "never"
    if seconds < 60:
        return f"{max(0, int(seconds))}s"
    if seconds < 3600:
        return f"{int(seconds / 60)}m"
    return f"{int(seconds / 3600)}h" if seconds < 86400 else f"{int(seconds / 86400)}d"


def job_age(job: Job, now: float) -> str:
    """How old what is known of a job is; nothing for a job that will not change any more."""
    if job.state.is_over:
        return ""
    return age(now - job.as_of if job.as_of else None)


def fraction_done(job: Job, run: Run) -> float | None:
    """How far a run is, from 0 to 1; None where it is not known."""
    if run.progress and run.progress.total > 0:
        return min(1.0, max(0.0, run.progress.done / run.progress.total))
    return 1.0 if job.state is JobState.COMPLETED else None


def bar(fraction: float, width: int) -> str:
    """A bar as wide as `width` columns, in eighths of a column."""
    eighths = round(fraction * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width, "·")


def eta(job: Job, run: Run) -> str:
    """Time left of a run, at the pace so far."""
    if job.state.is_over or run.eta_s is None:
        return ""
    return duration(run.eta_s)
