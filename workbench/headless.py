"""What the commands do without a terminal: results to standard output, progress to standard error."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from workbench import (
    headless_profiles,
    headless_queue,
    headless_runs,
    headless_sessions,
    headless_submit,
    report,
)
from workbench.cli import EXIT_OK
from workbench.headless_output import jobs_of, print_json, refresh, say
from workbench.headless_runs import FOLLOW_S, wait
from workbench.headless_submit import now_or_later
from workbench.model.record import job_record
from workbench.patience import through_outages
from workbench.plain import for_terminal
from workbench.services import Services


async def run(services: Services, arguments: argparse.Namespace) -> int:
    """Do what a command asks; its exit status."""
    return await _COMMANDS[arguments.command](services, arguments)


async def _demo(services: Services, arguments: argparse.Namespace) -> int:
    job = await services.start_demo()
    return await wait(services, job, as_json=arguments.json)


async def _jobs(services: Services, arguments: argparse.Namespace) -> int:
    if arguments.all:
        await headless_queue.list_all(services, arguments)
        return EXIT_OK
    await refresh(services)
    jobs = [
        job for job in jobs_of(services, arguments.profile) if not (arguments.active and job.state.is_over)
    ]
    if arguments.json:
        print_json([job_record(job) for job in jobs])
    elif jobs:
        print(report.jobs_table(jobs, time.time()))
    else:
        say("No jobs yet: `mace-workbench demo` starts one.")
    return EXIT_OK


async def _logs(services: Services, arguments: argparse.Namespace) -> int:
    if arguments.profile:
        await headless_queue.print_log(services, arguments)
        return EXIT_OK
    await refresh(services)
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
        await asyncio.sleep(FOLLOW_S)
        await refresh(services)


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
        print_json(job_record(job))
    else:
        print(f"{job.id}: {'held' if arguments.command == 'hold' else 'released'}")
    return EXIT_OK


async def _cancel(services: Services, arguments: argparse.Namespace) -> int:
    if arguments.native:
        await headless_queue.act(services, arguments)
        return EXIT_OK
    await (refresh(services) if arguments.queue_offline else services.refresh())
    job = services.job(arguments.job)
    later = partial(services.outbox.cancel, job)
    job = await now_or_later(services.cancel(job.id), later, arguments)
    if arguments.json:
        print_json(job_record(job))
    elif services.outbox.holds(job.id):
        print(f"{job.id}: to be ended when its host can be reached")
    else:
        print(f"{job.id}: {job.state.lower() if job.state.is_over else 'asked to end'}")
    return EXIT_OK


_COMMANDS: Mapping[str, Callable[[Services, Any], Awaitable[int]]] = {
    "demo": _demo,
    "submit": headless_submit.submit,
    "jobs": _jobs,
    "logs": _logs,
    "resubmit": headless_submit.resubmit,
    "requeue": headless_submit.requeue,
    "cancel": _cancel,
    "hold": _hold,
    "release": _hold,
    "adopt": _adopt,
    "runs": headless_runs.runs,
    "compare": headless_runs.compare,
    "doctor": headless_profiles.doctor,
    "session": headless_sessions.session,
    "tunnel": headless_sessions.tunnel,
}
