"""Adoption: a job that somebody has submitted by hand becomes a run of ours, if its folder holds one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

from jobs.spec import RunSpec, SpecError
from workbench.errors import FileFailed, NotAllowed, StoreError
from workbench.ledger import Ledger
from workbench.model.job import Job, JobKey, JobSpec, JobState, JobStatus, Resources
from workbench.model.queue import QueuedJob
from workbench.model.record import job_from_json
from workbench.ports import Connection
from workbench.run_files import EVENTS_FILE
from workbench.site import Site

_SPEC_FILE, _JOB_FILE = "spec.json", "job.json"


async def adopted(site: Site, queued: QueuedJob, ledger: Ledger, now: float) -> Job:
    """The job of ours that `queued` is, from now on.

    A job that is known by its folder goes on under its own id, as after a requeue; one that only its
    folder knows is taken from there; else it begins with the spec that lies beside its events.

    Raises:
        NotAllowed: Its folder holds no run of ours, or another job does that run.
    """
    if not queued.native_id.isdecimal():
        raise NotAllowed(f"Job {queued.native_id} is part of an array: only whole jobs can be adopted.")
    folder, spec_text = await _run_in(site.connection, queued)
    known = next((job for job in ledger.newest_first() if _same(job, site, folder)), None)
    job = known or await _recorded(site, folder) or _begun(site, folder, spec_text, ledger, now)
    native_id = queued.native_id
    if job.key is not None and job.key.native_id == native_id:
        raise NotAllowed(f"Job {native_id} is the run {job.id} already.")
    if known is not None and not known.state.is_over:
        raise NotAllowed(
            f"Job {native_id} runs in the folder of {known.id}, which is {known.state.lower()} itself: "
            "two runs in one folder spoil each other, cancel one of them."
        )
    if known is None and job.id in ledger:
        raise NotAllowed(f"There is another run {job.id} already: {folder} holds a copy of it.")
    key = JobKey(site.connection.host, native_id, queued.submitted_at or now)
    return replace(job, key=key, status=JobStatus(JobState.PENDING), as_of=0.0)


def _same(job: Job, site: Site, folder: str) -> bool:
    return job.profile == site.profile.name and PurePosixPath(job.folder) == PurePosixPath(folder)


async def _run_in(connection: Connection, queued: QueuedJob) -> tuple[str, bytes]:
    """The folder of a job's run, and the spec in it: where it was submitted, or beside its script."""
    places = [queued.folder] + ([str(PurePosixPath(queued.command).parent)] if queued.command else [])
    for place in dict.fromkeys(filter(None, places)):
        try:
            return place, (await connection.read(f"{place}/{_SPEC_FILE}")).data
        except FileFailed:
            continue
    raise NotAllowed(
        f"Job {queued.native_id} is no run of this program: there is no {_SPEC_FILE} with its {EVENTS_FILE} "
        f"in {' or '.join(dict.fromkeys(filter(None, places))) or 'its folder'}."
    )


async def _recorded(site: Site, folder: str) -> Job | None:
    """The job whose folder it is by its own word."""
    try:
        job = job_from_json((await site.connection.read(f"{folder}/{_JOB_FILE}")).data)
    except (FileFailed, StoreError):
        return None
    return replace(job, profile=site.profile.name, folder=folder)


def _begun(site: Site, folder: str, spec_text: bytes, ledger: Ledger, now: float) -> Job:
    try:
        spec = RunSpec.from_json(spec_text)
    except SpecError as error:
        raise NotAllowed(f"{folder}/{_SPEC_FILE} is not what this program writes: {error}") from None
    resources = Resources(cpus=spec.threads)
    status = JobStatus(JobState.PENDING)
    return Job(ledger.new_id(), site.profile.name, folder, JobSpec(spec, resources), status, created_at=now)
