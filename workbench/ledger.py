"""The ledger: every job that is known, in memory, with the store beneath it."""

from __future__ import annotations

import logging
import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from workbench.errors import NotFound, StoreError
from workbench.model.job import Job
from workbench.model.sweep import folded, sweep_of
from workbench.store import Store

log = logging.getLogger(__name__)

_ID_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"
_ID_LENGTH = 6


class Ledger:
    """Jobs by their ids. What is safe on a host may fail to be kept here; what is asked for may not."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs: dict[str, Job] = {}
        self._revision = 0
        self._store_failed = False
        self.take_in_saved()

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._jobs

    def __getitem__(self, job_id: str) -> Job:
        return self._jobs[job_id]

    def get(self, job_id: str, otherwise: Job) -> Job:
        """A job by its whole id, or what is to be taken where it is not known."""
        return self._jobs.get(job_id, otherwise)

    def newest_first(self) -> Sequence[Job]:
        """All jobs, by when they were asked for."""
        return sorted(self._jobs.values(), key=lambda job: job.created_at, reverse=True)

    def active(self) -> Mapping[str, Sequence[Job]]:
        """The jobs that are not over, by profile."""
        active: defaultdict[str, list[Job]] = defaultdict(list)
        for job in self._jobs.values():
            if not job.state.is_over:
                active[job.profile].append(job)
        return active

    def find(self, id_or_prefix: str) -> Job:
        """One job, a sweep included, by its id, or by the beginning of its id.

        Raises:
            NotFound: There is none, or more than one.
        """
        if id_or_prefix in self._jobs:
            return self._jobs[id_or_prefix]
        if f"{id_or_prefix}.0" in self._jobs:
            return sweep_of(self.members(id_or_prefix))
        matching = [job for job in self._jobs.values() if id_or_prefix and job.id.startswith(id_or_prefix)]
        found = matching if "." in id_or_prefix else folded(matching)
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(sorted(job.id for job in found)[:5])
            raise NotFound(f"{id_or_prefix!r} could be any of {len(found)} jobs ({ids}): say more of the id.")
        raise NotFound(f"There is no job {id_or_prefix!r}; `mace-workbench jobs` lists them.")

    def keep(self, job: Job) -> Job:
        """Know a job as it is now, also after a restart.

        Raises:
            StoreError: It cannot be kept; nothing has changed.
        """
        self.keep_all([job])
        return job

    def keep_all(self, jobs: Sequence[Job]) -> None:
        """Know several jobs as they are now, all of them or none.

        Raises:
            StoreError: They cannot be kept; nothing has changed.
        """
        self._store.save(*jobs)
        self._jobs |= {job.id: job for job in jobs}

    def members(self, sweep_id: str) -> Sequence[Job]:
        """The jobs that are members of a sweep."""
        first = self._jobs.get(f"{sweep_id}.0")
        ids = [f"{sweep_id}.{index}" for index in range(first.part.size if first and first.part else 0)]
        return [self._jobs[member_id] for member_id in ids if member_id in self._jobs]

    def heard(self, job: Job) -> bool:
        """Know what a scheduler has said of a job; true where it is news."""
        news = job.status != self._jobs[job.id].status
        self._jobs[job.id] = job
        if news:
            self.copy(self._store.save, job)
        return news

    def copy(self, keep: Callable[..., None], *what: object) -> None:
        """Keep in the store what is safe on the host; what was heard counts also where the store is full."""
        try:
            keep(*what)
        except StoreError as error:
            if not self._store_failed:
                log.warning("%s What is heard is shown, and read again at the next start.", error)
            self._store_failed = True

    def take_in_saved(self) -> Sequence[Job]:
        """Jobs that were saved since the last look, by this program or another; those that are news."""
        jobs, self._revision = self._store.jobs(self._revision)
        news = []
        for job in jobs:
            known = self._jobs.get(job.id)
            if known is None or replace(known, as_of=job.as_of) != job:
                self._jobs[job.id] = job
                news.append(job)
        return news

    def new_id(self) -> str:
        """An id that no known job has."""
        while True:
            job_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
            if job_id not in self._jobs and f"{job_id}.0" not in self._jobs:
                return job_id
