"""What the commands do with jobs in a cluster's queue that this program has not started."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from workbench import report
from workbench.errors import NotAllowed, NotFound
from workbench.model.job import JobSpec
from workbench.model.queue import QueuedJob, QueueEntry
from workbench.model.record import job_record
from workbench.plain import for_terminal, plain
from workbench.services import Services

_FOLLOW_S = 1.0


async def list_all(services: Services, arguments: argparse.Namespace) -> None:
    """Every job of the user's in the queue of one cluster, or of each."""
    profiles = [arguments.profile] if arguments.profile else services.queues.profiles()
    if not profiles:
        raise NotFound(
            "There is no cluster with a queue in the configuration: `mace-workbench init` adds one."
        )
    views = [await services.queues.ask(profile) for profile in profiles]
    if arguments.json:
        record = [entry_record(view.profile, entry) for view in views for entry in view.entries]
        print(json.dumps(record, indent=2))
        return
    rows = [
        entry_row(view.profile, entry, time.time())
        for view in views
        for entry in view.entries
        if not (arguments.active and entry.state.is_over)
    ]
    if rows:
        header = (
            "ID",
            "STATE",
            "NAME",
            "RUN",
            "PROFILE",
            "PARTITION",
            "QOS",
            "N/CPUS",
            "ELAPSED",
            "LEFT",
            "STARTS",
            "WHY",
            "FOLDER",
        )
        print(report.table(header, rows))
    else:
        print(f"No job of yours is in the queue of {', '.join(profiles)}.", file=sys.stderr)


def entry_record(profile: str, entry: QueueEntry) -> Mapping[str, Any]:
    """One job as plain JSON values."""
    return {
        "profile": profile,
        "id": entry.id,
        "run": entry.run_id,
        "held_by": entry.held_by,
        **asdict(entry),
    }


def entry_row(profile: str, entry: QueueEntry, now: float) -> list[str]:
    """One job as a line of a table."""
    state = "HELD" if entry.held_by else entry.state.value
    cells = [entry.id, state, entry.name, entry.run_id, profile, entry.partition, entry.qos]
    times = [report.duration(entry.elapsed_s(now)), report.duration(entry.left_s(now))]
    starts = report.clock_time(entry.started_at, now) if entry.waits and entry.started_at else "-"
    size = f"{entry.n_nodes or '?'}/{entry.n_cpus or '?'}"
    return [*map(plain, cells), size, *times, starts, plain(entry.why), plain(entry.folder)]


async def print_log(services: Services, arguments: argparse.Namespace) -> None:
    """The output of a job, as it comes where that is wanted."""
    queues, profile = services.queues, arguments.profile
    job = await queues.details(profile, arguments.job)
    if not job.log_path:
        raise NotAllowed(f"Job {job.native_id} writes no output to a file.")
    offset, tail = 0, arguments.tail * 1024 if arguments.tail else None
    while True:
        last = not arguments.follow or await _is_over(services, profile, job)
        chunk = await queues.log_chunk(profile, job, offset, tail_bytes=tail)
        offset, tail = chunk.offset + len(chunk.data), None
        if arguments.json and (chunk.data or not arguments.follow):
            piece = {
                "job": job.native_id,
                "offset": chunk.offset,
                "text": chunk.data.decode(errors="replace"),
            }
            print(json.dumps(piece))
        elif not arguments.json:
            sys.stdout.buffer.write(for_terminal(chunk.data) if sys.stdout.isatty() else chunk.data)
        sys.stdout.flush()
        if last:
            return
        await asyncio.sleep(_FOLLOW_S)


async def act(services: Services, arguments: argparse.Namespace) -> None:
    """Cancel, hold or release a job by the number that the scheduler has given it."""
    profile = _profile(services, arguments)
    match arguments.command:
        case "cancel":
            await services.queues.cancel(profile, arguments.job)
            said = "asked to end"
        case "hold":
            await services.queues.hold(profile, arguments.job)
            said = "held"
        case _:
            await services.queues.release(profile, arguments.job)
            said = "released"
    if arguments.json:
        print(json.dumps({"profile": profile, "id": arguments.job, "done": said}, indent=2))
    else:
        print(f"{arguments.job}: {said}")


async def adopt(services: Services, arguments: argparse.Namespace) -> None:
    """Make a job one of our own."""
    job = await services.queues.adopt(_profile(services, arguments), arguments.job)
    print(json.dumps(job_record(job), indent=2) if arguments.json else job.id)


async def estimate(services: Services, spec: JobSpec, arguments: argparse.Namespace) -> None:
    """When a run would start."""
    found = await services.queues.estimate(spec, arguments.profile)
    now = time.time()
    print(json.dumps(asdict(found), indent=2) if arguments.json else report.estimate_text(found, now))


async def _is_over(services: Services, profile: str, job: QueuedJob) -> bool:
    entries = (await services.queues.ask(profile)).entries
    entry = next((entry for entry in entries if job.native_id in (entry.id, entry.native_id)), None)
    return entry is None or entry.state.is_over


def _profile(services: Services, arguments: argparse.Namespace) -> str:
    if arguments.profile:
        return str(arguments.profile)
    profiles = services.queues.profiles()
    if len(profiles) != 1:
        raise NotAllowed(
            f"Say on which cluster with --profile: {', '.join(profiles) or 'there is none yet'}."
        )
    return profiles[0]
