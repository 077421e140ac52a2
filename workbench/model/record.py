"""Jobs as JSON: what the store keeps, and what lies in a run's folder as `job.json`.

The copy in the folder is what a thrown-away store is rebuilt from. The folder of a sweep has its members'
records, one a line, as `sweep.jsonl`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from jobs.spec import RunSpec, SpecError
from workbench.errors import StoreError
from workbench.model.job import Job, JobKey, JobSpec, JobState, JobStatus, Part, Resources
from workbench.model.sweep import Sweep

RECORD_VERSION = 1


def job_record(job: Job) -> dict[str, Any]:
    """The whole job as plain JSON values."""
    spec = {"run": json.loads(job.spec.run.to_json()), "resources": asdict(job.spec.resources)}
    record = {**asdict(job), "v": RECORD_VERSION, "spec": spec}
    if isinstance(job, Sweep):
        record |= {"summary": job.summary, "members": [job_record(member) for member in job.members]}
    return record


def job_to_json(job: Job) -> str:
    """The whole job as one line of JSON."""
    return json.dumps(job_record(job))


def job_from_json(text: str | bytes) -> Job:
    """The job in `text`.

    Raises:
        StoreError: It is no job, or one of a newer program.
    """
    try:
        record = json.loads(text)
        version = record.pop("v")
        if version != RECORD_VERSION:
            raise StoreError(
                f"A job's record is of version {version} and this program knows {RECORD_VERSION}: update it."
            )
        spec, status, key = record.pop("spec"), record.pop("status"), record.pop("key")
        part = record.pop("part", None)
        if not isinstance(record["created_at"], int | float) or not isinstance(record["folder"], str):
            raise StoreError(
                "A job's record cannot be read (when it was made, or its folder, is no such thing)."
            )
        return Job(
            spec=JobSpec(
                run=RunSpec.from_json(json.dumps(spec["run"])), resources=Resources(**spec["resources"])
            ),
            status=JobStatus(**{**status, "state": JobState(status["state"])}),
            key=JobKey(**key) if key else None,
            part=_part(part) if part else None,
            **record,
        )
    except (ValueError, TypeError, KeyError, AttributeError, SpecError) as error:
        raise StoreError(f"A job's record cannot be read ({error}).") from error


def _part(record: dict[str, Any]) -> Part:
    at = {key: tuple(value) if isinstance(value, list) else value for key, value in record.pop("at").items()}
    return Part(**record, at=at)
