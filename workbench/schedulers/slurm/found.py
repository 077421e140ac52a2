"""Runs whose folders were found: which jobs of Slurm they are, and what of them can be known at once.

Nothing is ever submitted for one. Where its folder and Slurm know of no job, it is over: it is for the user
to start it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from workbench.model.job import Job, JobKey, JobState, JobStatus
from workbench.ports import Connection
from workbench.schedulers.slurm.asking import ask
from workbench.schedulers.slurm.judge import token_prefix
from workbench.schedulers.slurm.parse import Marks, parse_records, parse_time
from workbench.schedulers.slurm.states import refusal

_ON_ITS_WAY_S = 300.0
"""How long a submission of which nothing is there may be under way still, by another program."""
_NEVER = "it was never submitted, as far as its folder and Slurm know: resubmit it"


async def recognised(connection: Connection, jobs: Sequence[Job], now: float) -> Sequence[Job]:
    """The same jobs, each with its number where it has one, and as over where it has none.

    One that may be on its way to Slurm at this moment, or of which Slurm cannot be asked, is left out.
    """
    marks = Marks.new()
    told: dict[str, tuple[str, list[str]]] = {}
    data = await ask(connection, "found", marks, stdin="".join(map(_line, jobs)).encode())
    for kind, rest in parse_records(data, marks):
        if rest:
            told[rest[0]] = kind, rest[1:]
    found: list[Job] = []
    for job in jobs:
        kind, rest = told.get(job.id, ("", []))
        if kind == "job" and len(rest) == 2:
            found += _numbered(job, connection.host, *rest)
        elif kind == "refused" and rest:
            found.append(_over(job, JobState.FAILED, refusal(rest[0])))
        elif kind == "never" and now - job.created_at > _ON_ITS_WAY_S:
            found.append(_over(job, JobState.LOST, _NEVER))
    return found


def _numbered(job: Job, host: str, said: str, at: str) -> Sequence[Job]:
    number, _, cluster = said.strip().partition(";")
    if not (number.isascii() and number.isdigit()):
        return []
    native_id = f"{number}_{job.part.index}" if job.part else number
    key = JobKey(cluster or host, native_id, parse_time(at) or job.created_at)
    return [replace(job, key=key, status=JobStatus(JobState.PENDING), as_of=0.0)]


def _over(job: Job, state: JobState, reason: str) -> Job:
    return replace(job, key=None, status=JobStatus(state, reason=reason), as_of=0.0)


def _line(job: Job) -> str:
    """A sweep's submissions are in its own folder, and a member is part of none that came after its last."""
    folder, most = job.folder, 0
    if job.part is not None:
        folder, most = folder.rpartition("/")[0], job.part.submission
    return f"{job.id}\t{token_prefix(job)}\t{most}\t{folder}\n"
