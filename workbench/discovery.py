"""Finding the runs on a host that the store does not know: it was thrown away, or is another machine's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from workbench.errors import FileFailed, StoreError
from workbench.model.job import Job
from workbench.ports import Connection
from workbench.sweeps import SWEEP_FILE, records_in

log = logging.getLogger(__name__)

JOB_FILE = "job.json"
_AT_ONCE = 16


async def unknown_jobs(
    connection: Connection, work_folder: str, is_known: Callable[[str], bool]
) -> Sequence[Job]:
    """The jobs whose folders are there and whose ids are not known, by what lies in those folders.

    Raises:
        ConnectionFailed: The host cannot be talked to.
    """
    names = ["-name", JOB_FILE, "-o", "-name", SWEEP_FILE]
    listing = await connection.run(
        ["find", f"{work_folder}/runs", "-mindepth", "2", "-maxdepth", "2", *names],
        check=False,  # no runs yet, no folder
    )
    paths = listing.stdout.decode(errors="replace").splitlines()
    reading = asyncio.Semaphore(_AT_ONCE)

    async def read(path: str) -> list[Job]:
        async with reading:
            try:
                return _placed(path, records_in(path, (await connection.read(path)).data))
            except (StoreError, FileFailed) as error:
                log.warning("%s is left out: %s", path, error)
                return []

    unknown = [path for path in paths if not is_known(PurePosixPath(path).parent.name)]
    return [job for jobs in await asyncio.gather(*map(read, unknown)) for job in jobs]


def _placed(path: str, jobs: list[Job]) -> list[Job]:
    """The jobs in the folder in which they were found, which may be mounted elsewhere on another host.

    Raises:
        StoreError: They are not the jobs of this folder, but of one that it was copied from.
    """
    folder = PurePosixPath(path).parent
    placed = [
        replace(job, folder=str(folder / str(job.part.index)) if job.part else str(folder)) for job in jobs
    ]
    if any(job.id != (f"{folder.name}.{job.part.index}" if job.part else folder.name) for job in jobs):
        raise StoreError("It is of a run of another name: a copy.")
    return placed
