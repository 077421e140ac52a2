"""Finding the runs on a host that the store does not know: it was thrown away, or is another machine's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
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
                return records_in(path, (await connection.read(path)).data)
            except (StoreError, FileFailed) as error:
                log.warning("%s is left out: %s", path, error)
                return []

    unknown = [path for path in paths if not is_known(PurePosixPath(path).parent.name)]
    return [job for jobs in await asyncio.gather(*map(read, unknown)) for job in jobs]
