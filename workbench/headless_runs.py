"""What the commands say of runs: followed to their end, listed, shown, compared."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from functools import partial
from typing import Any

from workbench import report
from workbench.cli import EXIT_FAILED, EXIT_OK
from workbench.headless_output import jobs_of, print_json, refresh, say
from workbench.model.job import Job, JobState
from workbench.model.run import Run
from workbench.model.sweep import Sweep
from workbench.patience import through_outages
from workbench.plain import plain
from workbench.services import Services

FOLLOW_S = 0.2
_REFRESH_S = 1.0


async def runs(services: Services, arguments: argparse.Namespace) -> int:
    """The table of runs, or one of them with its result."""
    if arguments.find:
        say(report.found_text(await services.rediscover(arguments.profile)))
    await refresh(services)
    one = arguments.job is not None
    chosen = [services.job(arguments.job)] if one else jobs_of(services, arguments.profile)
    pairs = [(job, await services.fetch_all(job.id)) for job in chosen]
    if arguments.json:
        values = [_run_values(services, job, run) for job, run in pairs]
        print_json(values[0] if one else values)
    elif one:
        _print_run(services, *pairs[0])
    elif pairs:
        print(report.runs_table(pairs, time.time()))
    else:
        say("No runs yet: `mace-workbench demo` starts one.")
    return EXIT_OK


async def compare(services: Services, arguments: argparse.Namespace) -> int:
    """Runs side by side, and what differs between them."""
    from workbench import comparison  # late: it brings pandas

    await refresh(services)
    named = map(services.job, arguments.jobs)
    single = [job for each in named for job in (each.members if isinstance(each, Sweep) else (each,))]
    jobs = {job.id: job for job in single}  # one that is named twice counts once
    compared = comparison.compare([(job, await services.fetch_all(job.id)) for job in jobs.values()])
    if arguments.json:
        print_json(compared.values())
    else:
        print(compared.text())
    return EXIT_OK


async def wait(services: Services, job: Job, *, as_json: bool) -> int:
    """Follow a job to its end, with its progress on standard error, and print what came out."""
    say(f"{job.id}: {plain(job.spec.name)} in {job.folder}")
    shown, refreshed_at = "", 0.0
    while True:
        run = await through_outages(partial(services.fetch_all, job.id))
        if run.finish or time.monotonic() - refreshed_at >= _REFRESH_S:
            await through_outages(services.refresh)
            refreshed_at = time.monotonic()
        job = services.job(job.id)
        shown = _show_progress(job, run, shown)
        if job.state.is_over:
            break
        await asyncio.sleep(FOLLOW_S)
    _end_progress()
    run = await through_outages(partial(services.fetch_all, job.id))
    if as_json:
        print_json(_run_values(services, job, run))
    else:
        _print_run(services, job, run)
    return EXIT_OK if job.state is JobState.COMPLETED else EXIT_FAILED


def _run_values(services: Services, job: Job, run: Run) -> dict[str, Any]:
    if isinstance(job, Sweep):
        return report.sweep_values(job, _member_runs(services, job))
    return report.run_values(job, run)


def _member_runs(services: Services, sweep: Sweep) -> dict[str, Run]:
    return {member.id: services.run(member.id) for member in sweep.members}


def _print_sweep(services: Services, sweep: Sweep) -> None:
    runs = _member_runs(services, sweep)
    print(report.sweep_text(sweep, runs))
    for member in sweep.failed:
        _say_why(member, runs[member.id])
    if sweep.failed:
        say(f"`mace-workbench resubmit {sweep.id}` starts the {len(sweep.failed)} that failed again.")


def _say_why(job: Job, run: Run) -> None:
    """Why a job is over without having completed."""
    why = run.failure or job.status.reason or f"`mace-workbench logs {job.id}` may say why."
    name = f" {plain(job.spec.name)}:" if job.part else ""
    say(f"{job.id}:{name} {job.state.lower()}: {plain(why)}")


def _print_run(services: Services, job: Job, run: Run) -> None:
    if isinstance(job, Sweep):
        _print_sweep(services, job)
        return
    for note in run.notes:
        say(f"note: {plain(note)}")
    if run.result:
        print(report.summary_table(run.result.summary))
    if job.state.is_over and job.state is not JobState.COMPLETED:
        _say_why(job, run)
    elif not run.result:
        say(report.progress_line(job, run))


def _show_progress(job: Job, run: Run, shown: str) -> str:
    """One line that renews itself on a terminal, elsewhere a line for each new stage; what is shown now."""
    if sys.stderr.isatty():
        line = report.progress_line(job, run)
        if line != shown:
            print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)
        return line
    stage = f"{job.state} {run.progress.stage if run.progress else ''}"
    if stage != shown:
        say(report.progress_line(job, run))
    return stage


def _end_progress() -> None:
    if sys.stderr.isatty():
        print(file=sys.stderr)
