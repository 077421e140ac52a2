"""The columns of the table of jobs: what they hold, how wide they are and how they order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from workbench.model.job import Job
from workbench.model.run import Run
from workbench.model.sweep import Sweep
from workbench.plain import plain
from workbench.report import duration
from workbench.widgets import words

_NO_RUN = Run()
_BAR_WIDTH = 10


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    title: str
    width: int
    """In columns of the terminal; of the stretching column its least."""
    text: Callable[[Job, Run, float], str]
    """What it says of a job with its run, at a time."""
    order: Callable[[Job, Run, float], Any]
    """By what it orders; larger comes first, as newer, longer and further do."""
    right: bool = False
    stretches: bool = False
    rank: int = 0
    """The columns with the highest rank go first where room is short."""


def _progress(job: Job, run: Run, _now: float) -> str:
    fraction = words.fraction_done(job, run)
    if fraction is None:
        return ""
    # Rounded down: 100 % is said only of what is done.
    return f"{words.bar(fraction, _BAR_WIDTH)} {int(fraction * 100):3d}%"


def _reversed_text(text: str) -> tuple[int, ...]:
    """Orders text against its alphabet, so that larger-first gives a to z."""
    return tuple(-ord(letter) for letter in text.lower()[:40])


COLUMNS: Sequence[Column] = (
    Column("id", 6, lambda job, _run, _now: job.id, lambda job, _run, _now: job.created_at),
    Column(
        "state",
        13,
        lambda job, _run, _now: job.summary if isinstance(job, Sweep) else words.job_state_text(job),
        lambda job, _run, _now: (not job.state.is_over, _reversed_text(job.state)),
    ),
    Column(
        "name",
        14,
        lambda job, _run, _now: plain(job.spec.name),
        lambda job, _run, _now: _reversed_text(job.spec.name),
        stretches=True,
    ),
    Column(
        "experiment",
        10,
        lambda job, _run, _now: plain(job.spec.run.experiment),
        lambda job, _run, _now: _reversed_text(job.spec.run.experiment),
        rank=2,
    ),
    Column(
        "profile",
        9,
        lambda job, _run, _now: plain(job.profile),
        lambda job, _run, _now: _reversed_text(job.profile),
        rank=1,
    ),
    Column(
        "elapsed",
        8,
        lambda job, _run, now: duration(job.elapsed_s(now)),
        lambda job, _run, now: job.elapsed_s(now) or 0.0,
        right=True,
    ),
    Column(
        "progress",
        _BAR_WIDTH + 5,
        _progress,
        lambda job, run, _now: words.fraction_done(job, run) or 0.0,
    ),
    Column(
        "left",
        7,
        lambda job, run, _now: words.eta(job, run),
        lambda job, run, _now: (not job.state.is_over and run.eta_s) or 0.0,
        right=True,
    ),
    Column(
        "as of",
        5,
        lambda job, _run, now: words.job_age(job, now),
        lambda job, _run, _now: job.as_of,
        right=True,
    ),
)


@cache
def layout(width: int) -> Sequence[tuple[Column, int]]:
    """The columns that fit into `width`, each with its own width; there is a blank between them."""
    chosen = list(COLUMNS)
    while _needed(chosen) > width and any(column.rank for column in chosen):
        chosen.remove(max(chosen, key=lambda column: column.rank))
    spare = max(0, width - _needed(chosen))
    return [(column, column.width + (spare if column.stretches else 0)) for column in chosen]


def _needed(columns: Sequence[Column]) -> int:
    return sum(column.width + 1 for column in columns) - 1


def ordered(
    jobs: Sequence[Job], runs: Mapping[str, Run], column: Column, now: float, *, reverse: bool = False
) -> list[Job]:
    """The jobs by a column; the newest first among equals."""
    newest = sorted(jobs, key=lambda job: job.created_at, reverse=True)
    if column is COLUMNS[0]:
        return newest[::-1] if reverse else newest
    return sorted(
        newest, key=lambda job: column.order(job, runs.get(job.id, _NO_RUN), now), reverse=not reverse
    )


def search_text(job: Job) -> str:
    """What a filter looks in."""
    run = job.spec.run
    state = words.job_state_text(job)
    return plain(
        f"{job.id} {state} {job.state} {job.spec.name} {run.experiment} {run.model} {job.profile} "
        f"{job.status.node} {job.status.reason}"
    ).lower()


def matching(jobs: Sequence[Job], words_wanted: str, texts: Mapping[str, str]) -> list[Job]:
    """The jobs in whose text (by id) every one of the words stands."""
    wanted = words_wanted.lower().split()
    return [job for job in jobs if all(word in texts[job.id] for word in wanted)]
