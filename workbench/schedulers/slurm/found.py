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

    One that may be on its way to Slurm at this moment is left out.
    """
    marks = Marks.new()
    told: dict[str, tuple[str, list[str]]] = {}
    data = await ask(connection, "found", marks, stdin="".join(map(_line, jobs)).encode())
    for kind, rest in parse_records(data, marks):
        if rest:
            told[rest[0]] = kind, rest[1:]
    found = (_recognised(job, connection.host, *told.get(job.id, ("", []))) for job in jobs)
    return [job for job in found if job.state != JobState.LOST or now - job.created_at > _ON_ITS_WAY_S]


def _recognised(job: Job, host: str, kind: str, rest: Sequence[str]) -> Job:
    if kind == "job" and len(rest) == 2:
        number, _, cluster = rest[0].strip().partition(";")
        if number.isascii() and number.isdigit():
            native_id = f"{number}_{job.part.index}" if job.part else number
            key = JobKey(cluster or host, native_id, parse_time(rest[1]) or job.created_at)
            return replace(job, key=key, status=JobStatus(JobState.PENDING), as_of=0.0)
    if kind == "refused" and rest:
        status = JobStatus(JobState.FAILED, reason=refusal(rest[0]))
    else:
        status = JobStatus(JobState.LOST, reason=_NEVER)
    return replace(job, key=None, status=status, as_of=0.0)


def _line(job: Job) -> str:
    """Of a sweep the submission counts that the member was last part of, and lies in the sweep's folder."""
    folder, submission = job.folder, ""
    if job.part is not None:
        folder, submission = folder.rpartition("/")[0], str(job.part.submission)
    return f"{job.id}\t{token_prefix(job)}{submission}\t{folder}\n"
