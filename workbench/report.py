"""What the command line prints: values in, text or plain JSON values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jobs.protocol import Json
from workbench.model.finding import Finding
from workbench.model.job import Job
from workbench.model.record import job_record
from workbench.model.run import Run
from workbench.model.sweep import Sweep, folded
from workbench.model.sweep_result import fold
from workbench.plain import plain
from workbench.ports import StartEstimate
from workbench.provenance import facts_of


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their content; the first one to the left, numbers to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    numeric = [all(_is_numeric(line[column]) for line in lines[1:]) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def duration(seconds: float | None) -> str:
    """`1:02:03`, `2:03`, or `-` where it is not known."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def estimate_text(estimate: StartEstimate, now: float) -> str:
    """`would start about 14:32 (in 2h10m) on icelake`, or what the scheduler says instead."""
    if estimate.starts_at is None:
        return f"the scheduler cannot say when: {plain(estimate.said) or 'no answer'}"
    when = f"about {clock_time(estimate.starts_at, now)} (in {in_a_while(estimate.starts_at, now)})"
    where = estimate.partition or estimate.node
    return f"would start {when}" + (f" on {plain(where)}" if where else "")


def found_text(found: Sequence[Job]) -> str:
    """How many runs were found that were not known, a sweep as one."""
    n_runs = len(folded(found))
    if not n_runs:
        return "All runs that are there are known already."
    return (
        "Found one run that was not known here."
        if n_runs == 1
        else (f"Found {n_runs} runs that were not known here.")
    )


def in_a_while(at: float | None, now: float) -> str:
    """How long until a moment, in a few letters: `4m`, `2h10m`, `3d4h`; empty where it is not known."""
    if at is None:
        return ""
    minutes = max(0, round((at - now) / 60))
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days}d{hours % 24}h"
    return f"{hours}h{minutes % 60:02}m" if hours else f"{minutes}m"


def clock_time(at: float, now: float) -> str:
    """A moment on this machine's clock: `14:32`, within a week `Tue 14:32`, else `3 Dec 14:32`."""
    then, today = datetime.fromtimestamp(at), datetime.fromtimestamp(now)
    days = (then.date() - today.date()).days
    day = "" if days == 0 else f"{then:%a} " if 0 < days < 7 else f"{then.day} {then:%b} "
    return f"{day}{then:%H:%M}"


def start_expected(at: float | None, now: float) -> str:
    """`expected to start about 14:32 (in 2h10m)`; empty where nobody knows."""
    if at is None:
        return ""
    return f"expected to start about {clock_time(at, now)} (in {in_a_while(at, now)})"


def jobs_table(jobs: Sequence[Job], now: float) -> str:
    """The jobs, one a line."""
    rows = [
        (
            job.id,
            _state(job),
            plain(job.spec.name),
            job.spec.run.experiment,
            job.profile,
            duration(job.elapsed_s(now)),
            plain(job.status.reason),
        )
        for job in jobs
    ]
    return table(("ID", "STATE", "NAME", "EXPERIMENT", "PROFILE", "ELAPSED", "REASON"), rows)


def runs_table(pairs: Sequence[tuple[Job, Run]], now: float) -> str:
    """Runs with what became of them, one a line."""
    rows = [
        (
            job.id,
            _state(job),
            plain(job.spec.name),
            plain(job.spec.run.model),
            str(run.attempt),
            str(run.n_events),
            duration(job.elapsed_s(now)),
            plain(run.failure or (run.progress and f"{run.progress.done}/{run.progress.total}") or ""),
        )
        for job, run in pairs
    ]
    return table(("ID", "STATE", "NAME", "MODEL", "ATTEMPT", "EVENTS", "ELAPSED", "PROGRESS"), rows)


def findings_text(findings: Sequence[Finding]) -> str:
    """What doctor found, one thing a line, with what to do beneath it."""
    width = max(len(finding.subject) for finding in findings)
    lines = []
    for finding in findings:
        mark = "ok " if finding.good else "BAD"
        lines.append(f"{mark}  {finding.subject.ljust(width)}  {plain(finding.found)}")
        if finding.advice:
            lines.append(f"     {' ' * width}  → {finding.advice}")
    return "\n".join(lines)


def progress_line(job: Job, run: Run) -> str:
    """Where a run is, in one line."""
    parts = [job.state.value.lower()]
    if run.progress:
        share = 100 * run.progress.done // max(1, run.progress.total)
        parts.append(f"{share} % {plain(run.progress.stage)}")
    if run.eta_s is not None:
        parts.append(f"{duration(run.eta_s)} left")
    return f"{job.id}: " + ", ".join(parts)


def run_values(job: Job, run: Run) -> dict[str, Any]:
    """A job and what its events add up to, as plain JSON values."""
    return {
        "job": job_record(job),
        "attempt": run.attempt,
        "n_events": run.n_events,
        "progress": {"done": run.progress.done, "total": run.progress.total} if run.progress else None,
        "provenance": dict(run.provenance),
        "summary": dict(run.result.summary) if run.result else None,
        "warnings": run.notes,
        "error": run.failure,
    }


def summary_table(summary: Mapping[str, Any]) -> str:
    """The result of a run: a table where the summary has `columns` and `rows`, else its keys and values."""
    header, rows = cells_of(summary)
    text = table([plain(name) for name in header], [[plain(cell) for cell in row] for row in rows])
    measured_on = summary.get("measured_on")
    if not isinstance(measured_on, Mapping):
        return text
    return f"{text}\n\nmeasured on {facts_of(measured_on)}"


def cells_of(summary: Mapping[str, Json]) -> tuple[Sequence[Json], Sequence[Sequence[Json]]]:
    """Header and rows of a summary, all of one length; its keys and values where it is no table."""
    columns, rows = summary.get("columns"), summary.get("rows")
    if not (isinstance(columns, list) and columns and isinstance(rows, list)):
        return ("key", "value"), list(summary.items())
    listed = [row if isinstance(row, list) else [row] for row in rows]
    return columns, [[*row, *[None] * len(columns)][: len(columns)] for row in listed]


def sweep_values(sweep: Sweep, runs: Mapping[str, Run]) -> dict[str, Any]:
    """A sweep and what its members have measured, as plain JSON values."""
    found = fold(sweep, runs)
    return {
        "job": job_record(sweep),
        "members": [run_values(member, runs.get(member.id, Run())) for member in sweep.members],
        "summary": {
            "columns": list(found.columns),
            "rows": [list(row) for row in found.cells],
            "measured_on": dict(found.measured_on),
            "about": found.about,
        },
    }


def sweep_text(sweep: Sweep, runs: Mapping[str, Run]) -> str:
    """What the members of a sweep have measured, folded; and what it was measured on."""
    found = fold(sweep, runs)
    if not found.cells:
        return f"{sweep.id}: none of its {found.n_members} members has measured anything ({sweep.summary})."
    text = table(list(found.columns), [[plain(cell) for cell in row] for row in found.cells])
    return f"{text}\n\n{found.about}\nmeasured on {facts_of(found.measured_on)}"


def _state(job: Job) -> str:
    return job.summary if isinstance(job, Sweep) else job.state.value


def _is_numeric(cell: str) -> bool:
    return cell in ("", "-") or cell[0].isdigit() or (cell[0] in "-+" and cell[1:2].isdigit())
