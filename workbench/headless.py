"""What the commands do without a terminal: results to standard output, progress to standard error."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from jobs.spec import RunSpec
from jobs.sweep import SweepSpec
from workbench import headless_queue, headless_sessions, report
from workbench.choosing import Chooser
from workbench.cli import EXIT_FAILED, EXIT_OK
from workbench.config import Config, config_path
from workbench.errors import ConnectionFailed, LinkLost, SpecRefused, WorkbenchError
from workbench.init import initialise, set_python
from workbench.model.job import Job, JobSpec, JobState, Resources
from workbench.model.profile import ClusterProfile
from workbench.model.record import job_record
from workbench.model.run import Run
from workbench.model.sweep import Sweep, folded
from workbench.patience import through_outages
from workbench.plain import for_terminal, plain
from workbench.ports import Prompter
from workbench.recipes import find_recipe, recipes
from workbench.services import Services

_REFRESH_S = 1.0
_FOLLOW_S = 0.2


async def run(services: Services, arguments: argparse.Namespace) -> int:
    """Do what a command asks; its exit status."""
    return await _COMMANDS[arguments.command](services, arguments)


async def init(config: Config, arguments: argparse.Namespace, prompter: Prompter) -> int:
    """Write a profile; it is not of the services, for its place is in no configuration yet."""
    known = config.profiles.get(arguments.name)
    kind = arguments.connection or (known.connection if known else "asyncssh")
    described = replace(
        known or ClusterProfile(arguments.name),
        connection=kind,
        host="" if kind == "local" else arguments.host or (known.host if known else "") or arguments.name,
        ssh_config="" if kind == "local" else arguments.ssh_config or (known.ssh_config if known else ""),
    )
    asking = not arguments.yes and sys.stdin.isatty()
    written = await initialise(described, prompter, asking=asking, sure=arguments.yes)
    if arguments.json:
        _print_json(asdict(written))
    else:
        state = "has the profile" if written.changed else "had the profile as it is already"
        _say(f"{written.path} {state}; `mace-workbench doctor {written.name}` checks it.")
        print(written.path)
    return EXIT_OK


async def _demo(services: Services, arguments: argparse.Namespace) -> int:
    job = await services.start_demo()
    return await _wait(services, job, as_json=arguments.json)


async def _submit(services: Services, arguments: argparse.Namespace) -> int:
    if arguments.list or arguments.spec is None:
        known = recipes()
        if not arguments.list:
            raise SpecRefused(f"Say what to run: a file SPEC.json, or one of {', '.join(known)}.")
        if arguments.json:
            _print_json({name: json.loads(spec.to_json()) for name, spec in known.items()})
        else:
            rows = [(name, _kind(spec), plain(spec.name)) for name, spec in known.items()]
            print(report.table(("RECIPE", "EXPERIMENT", "QUESTION"), rows))
        return EXIT_OK
    spec = find_recipe(arguments.spec, arguments.set, arguments.sweep)
    threads = spec.threads if isinstance(spec, RunSpec) else 1  # a sweep looks at its members
    resources = _asked_for(Resources(cpus=threads), arguments)
    if arguments.estimate:
        one = spec if isinstance(spec, RunSpec) else spec.members()[0]
        await headless_queue.estimate(services, JobSpec(one, resources), arguments)
        return EXIT_OK
    later = None
    if isinstance(spec, RunSpec):
        place = arguments.profile or services.profiles()[0]
        later = partial(services.outbox.submit, JobSpec(spec, resources), place)
    doing = services.submit(spec, resources, profile=arguments.profile)
    return await _started(services, await _now_or_later(doing, later, arguments), arguments)


async def _now_or_later(
    doing: Awaitable[Job], later: Callable[[], Job] | None, arguments: argparse.Namespace
) -> Job:
    """Do it; or keep it for later, where the host cannot be reached and the user wants that."""
    try:
        return await doing
    except LinkLost:
        raise
    except ConnectionFailed as error:
        if later is None or not arguments.queue_offline:
            raise
        job = later()
        _say(f"mace-workbench: {error}. It is kept, and done as soon as any command or the screens can.")
        return job


def _kind(spec: RunSpec | SweepSpec) -> str:
    if isinstance(spec, RunSpec):
        return spec.experiment
    return f"{spec.experiment} × {len(spec.points)}"


async def _jobs(services: Services, arguments: argparse.Namespace) -> int:
    if arguments.all:
        await headless_queue.list_all(services, arguments)
        return EXIT_OK
    await _refresh(services)
    jobs = [job for job in folded(services.jobs()) if not (arguments.active and job.state.is_over)]
    if arguments.json:
        _print_json([job_record(job) for job in jobs])
    elif jobs:
        print(report.jobs_table(jobs, time.time()))
    else:
        _say("No jobs yet: `mace-workbench demo` starts one.")
    return EXIT_OK


async def _logs(services: Services, arguments: argparse.Namespace) -> int:
    if arguments.profile:
        await headless_queue.print_log(services, arguments)
        return EXIT_OK
    await _refresh(services)
    job = services.job(arguments.job)
    tail = arguments.tail * 1024 if arguments.tail else None
    offset = 0
    while True:
        last = not arguments.follow or services.job(job.id).state.is_over
        read = partial(services.log_chunk, job.id, offset, tail_bytes=tail)
        chunk = await (through_outages(read) if arguments.follow else read())
        offset, tail = chunk.offset + len(chunk.data), None
        if not arguments.json:
            sys.stdout.buffer.write(for_terminal(chunk.data) if sys.stdout.isatty() else chunk.data)
        elif chunk.data or not arguments.follow:
            piece = {"job": job.id, "offset": chunk.offset, "text": chunk.data.decode(errors="replace")}
            print(json.dumps(piece))
        sys.stdout.flush()
        if last:
            return EXIT_OK
        await asyncio.sleep(_FOLLOW_S)
        await _refresh(services)


async def _refresh(services: Services) -> None:
    """Ask the schedulers; where one cannot be asked, say so and go on with what is known."""
    try:
        await services.refresh()
    except WorkbenchError as error:
        sentence = str(error).rstrip(".")
        _say(f"mace-workbench: {sentence}. What is shown of its jobs is what was heard last.")


async def _resubmit(services: Services, arguments: argparse.Namespace) -> int:
    job = services.job(arguments.job)
    await _refresh(services)
    if arguments.queue_offline:
        resources = _asked_for(job.spec.resources, arguments)
        spec = replace(job.spec, resources=resources)
        later = partial(services.outbox.submit, spec, job.profile, resubmitted_from=job.id)
        started = await _now_or_later(services.resubmit(job.id, spec=spec), later, arguments)
        return await _started(services, started, arguments)
    again = await services.again(job.id)
    resources = _asked_for(job.spec.resources, arguments)
    if resources == job.spec.resources != again.resources:
        _say(f"{again.why} It is asked for as before: --time-limit and --memory change that.")
    if again.in_place:
        started = await services.requeue(job.id, resources=resources)
    else:
        started = await services.resubmit(job.id, spec=replace(job.spec, resources=resources))
    return await _started(services, started, arguments)


def _asked_for(resources: Resources, arguments: argparse.Namespace) -> Resources:
    """What the command line asks the scheduler for, on top of what is asked already."""
    asked = {name: getattr(arguments, name) for name in ("time_limit_s", "memory_mb", "links")}
    return replace(resources, **{name: value for name, value in asked.items() if value is not None})


async def _requeue(services: Services, arguments: argparse.Namespace) -> int:
    job = services.job(arguments.job)
    job = await services.requeue(job.id, resources=_asked_for(job.spec.resources, arguments))
    return await _started(services, job, arguments)


async def _adopt(services: Services, arguments: argparse.Namespace) -> int:
    await headless_queue.adopt(services, arguments)
    return EXIT_OK


async def _hold(services: Services, arguments: argparse.Namespace) -> int:
    """Hold or release."""
    if arguments.native:
        await headless_queue.act(services, arguments)
        return EXIT_OK
    await services.refresh()
    job_id = services.job(arguments.job).id
    job = await (services.hold(job_id) if arguments.command == "hold" else services.release(job_id))
    if arguments.json:
        _print_json(job_record(job))
    else:
        print(f"{job.id}: {'held' if arguments.command == 'hold' else 'released'}")
    return EXIT_OK


async def _cancel(services: Services, arguments: argparse.Namespace) -> int:
    if arguments.native:
        await headless_queue.act(services, arguments)
        return EXIT_OK
    await (_refresh(services) if arguments.queue_offline else services.refresh())
    job = services.job(arguments.job)
    later = partial(services.outbox.cancel, job)
    job = await _now_or_later(services.cancel(job.id), later, arguments)
    if arguments.json:
        _print_json(job_record(job))
    elif services.outbox.holds(job.id):
        print(f"{job.id}: to be ended when its host can be reached")
    else:
        print(f"{job.id}: {job.state.lower() if job.state.is_over else 'asked to end'}")
    return EXIT_OK


async def _runs(services: Services, arguments: argparse.Namespace) -> int:
    await _refresh(services)
    chosen = [services.job(arguments.job)] if arguments.job else folded(services.jobs())
    pairs = [(job, await services.fetch_all(job.id)) for job in chosen]
    if arguments.json:
        values = [_run_values(services, job, run) for job, run in pairs]
        _print_json(values[0] if arguments.job else values)
    elif arguments.job:
        _print_run(services, *pairs[0])
    elif pairs:
        print(report.runs_table(pairs, time.time()))
    else:
        _say("No runs yet: `mace-workbench demo` starts one.")
    return EXIT_OK


async def _compare(services: Services, arguments: argparse.Namespace) -> int:
    from workbench import comparison  # late: it brings pandas

    await _refresh(services)
    named = map(services.job, arguments.jobs)
    single = [job for each in named for job in (each.members if isinstance(each, Sweep) else (each,))]
    jobs = {job.id: job for job in single}  # one that is named twice counts once
    compared = comparison.compare([(job, await services.fetch_all(job.id)) for job in jobs.values()])
    if arguments.json:
        _print_json(compared.values())
    else:
        print(compared.text())
    return EXIT_OK


async def _create_environment(services: Services, arguments: argparse.Namespace) -> int:
    """Make an environment for runs, its progress on standard error; prints the line for the profile."""
    environment = await services.environment(
        arguments.profile, arguments.create_env, arguments.base, arguments.requirement
    )
    if arguments.dry_run:
        print("\n".join(map(plain, environment.script.splitlines())))
        return EXIT_OK
    await services.create_environment(arguments.profile, environment, _say)
    print(f'python = "{plain(environment.python)}"')
    name = arguments.profile or services.profiles()[0]
    chooser = Chooser(asking=sys.stdin.isatty())
    set_python(config_path(), name, environment.python, chooser, sure=arguments.yes)
    return EXIT_OK


async def _doctor(services: Services, arguments: argparse.Namespace) -> int:
    if arguments.create_env is not None:
        return await _create_environment(services, arguments)
    findings = await services.examine(arguments.profile)
    if arguments.json:
        _print_json([asdict(finding) for finding in findings])
    else:
        print(report.findings_text(findings))
    return EXIT_OK if all(finding.good for finding in findings) else EXIT_FAILED


async def _started(services: Services, job: Job, arguments: argparse.Namespace) -> int:
    """Say that a job was started, and wait for it where that is wanted."""
    if arguments.wait and job.state is not JobState.WAITS_FOR_LINK:
        return await _wait(services, job, as_json=arguments.json)
    if arguments.json:
        _print_json(job_record(job))
    else:
        print(job.id)
    return EXIT_OK


async def _wait(services: Services, job: Job, *, as_json: bool) -> int:
    """Follow a job to its end, with its progress on standard error, and print what came out."""
    _say(f"{job.id}: {plain(job.spec.name)} in {job.folder}")
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
        await asyncio.sleep(_FOLLOW_S)
    _end_progress()
    run = await through_outages(partial(services.fetch_all, job.id))
    if as_json:
        _print_json(_run_values(services, job, run))
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
        _say(f"`mace-workbench resubmit {sweep.id}` starts the {len(sweep.failed)} that failed again.")


def _say_why(job: Job, run: Run) -> None:
    """Why a job is over without having completed."""
    why = run.failure or job.status.reason or f"`mace-workbench logs {job.id}` may say why."
    name = f" {plain(job.spec.name)}:" if job.part else ""
    _say(f"{job.id}:{name} {job.state.lower()}: {plain(why)}")


def _print_run(services: Services, job: Job, run: Run) -> None:
    if isinstance(job, Sweep):
        _print_sweep(services, job)
        return
    for note in run.notes:
        _say(f"note: {plain(note)}")
    if run.result:
        print(report.summary_table(run.result.summary))
    if job.state.is_over and job.state is not JobState.COMPLETED:
        _say_why(job, run)
    elif not run.result:
        _say(report.progress_line(job, run))


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, default=_plain_value))


def _plain_value(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _show_progress(job: Job, run: Run, shown: str) -> str:
    """One line that renews itself on a terminal, elsewhere a line for each new stage; what is shown now."""
    if sys.stderr.isatty():
        line = report.progress_line(job, run)
        if line != shown:
            print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)
        return line
    stage = f"{job.state} {run.progress.stage if run.progress else ''}"
    if stage != shown:
        _say(report.progress_line(job, run))
    return stage


def _end_progress() -> None:
    if sys.stderr.isatty():
        print(file=sys.stderr)


_COMMANDS: Mapping[str, Callable[[Services, Any], Awaitable[int]]] = {
    "demo": _demo,
    "submit": _submit,
    "jobs": _jobs,
    "logs": _logs,
    "resubmit": _resubmit,
    "requeue": _requeue,
    "cancel": _cancel,
    "hold": _hold,
    "release": _hold,
    "adopt": _adopt,
    "runs": _runs,
    "compare": _compare,
    "doctor": _doctor,
    "session": headless_sessions.session,
    "tunnel": headless_sessions.tunnel,
}
