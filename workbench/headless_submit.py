"""What the commands do to start runs, and to start them again."""

from __future__ import annotations

import argparse
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from jobs.spec import RunSpec
from jobs.sweep import SweepSpec
from workbench import headless_queue, report
from workbench.cli import EXIT_OK
from workbench.errors import ConnectionFailed, LinkLost, SpecRefused
from workbench.headless_output import print_json, refresh, say
from workbench.headless_runs import wait
from workbench.model.job import Job, JobSpec, JobState, Resources
from workbench.model.record import job_record
from workbench.plain import plain
from workbench.recipes import find_recipe, recipes
from workbench.services import Services


async def submit(services: Services, arguments: argparse.Namespace) -> int:
    """Start a run or a sweep, or list what could be started."""
    if arguments.list or arguments.spec is None:
        known = recipes()
        if not arguments.list:
            raise SpecRefused(f"Say what to run: a file SPEC.json, or one of {', '.join(known)}.")
        if arguments.json:
            print_json({name: json.loads(spec.to_json()) for name, spec in known.items()})
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
    return await _started(services, await now_or_later(doing, later, arguments), arguments)


def _kind(spec: RunSpec | SweepSpec) -> str:
    if isinstance(spec, RunSpec):
        return spec.experiment
    return f"{spec.experiment} × {len(spec.points)}"


async def resubmit(services: Services, arguments: argparse.Namespace) -> int:
    """Start a job again as is best for it."""
    job = services.job(arguments.job)
    await refresh(services)
    if arguments.queue_offline:
        resources = _asked_for(job.spec.resources, arguments)
        spec = replace(job.spec, resources=resources)
        later = partial(services.outbox.submit, spec, job.profile, resubmitted_from=job.id)
        started = await now_or_later(services.resubmit(job.id, spec=spec), later, arguments)
        return await _started(services, started, arguments)
    again = await services.again(job.id)
    resources = _asked_for(job.spec.resources, arguments)
    if resources == job.spec.resources != again.resources:
        say(f"{again.why} It is asked for as before: --time-limit and --memory change that.")
    if again.in_place:
        started = await services.requeue(job.id, resources=resources)
    else:
        started = await services.resubmit(job.id, spec=replace(job.spec, resources=resources))
    return await _started(services, started, arguments)


async def requeue(services: Services, arguments: argparse.Namespace) -> int:
    """Start a job again in its own folder."""
    job = services.job(arguments.job)
    job = await services.requeue(job.id, resources=_asked_for(job.spec.resources, arguments))
    return await _started(services, job, arguments)


def _asked_for(resources: Resources, arguments: argparse.Namespace) -> Resources:
    """What the command line asks the scheduler for, on top of what is asked already."""
    asked = {name: getattr(arguments, name) for name in ("time_limit_s", "memory_mb", "links")}
    return replace(resources, **{name: value for name, value in asked.items() if value is not None})


async def _started(services: Services, job: Job, arguments: argparse.Namespace) -> int:
    """Say that a job was started, and wait for it where that is wanted."""
    if arguments.wait and job.state is not JobState.WAITS_FOR_LINK:
        return await wait(services, job, as_json=arguments.json)
    if arguments.json:
        print_json(job_record(job))
    else:
        print(job.id)
    return EXIT_OK


async def now_or_later(
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
        say(f"mace-workbench: {error}. It is kept, and done as soon as any command or the screens can.")
        return job
