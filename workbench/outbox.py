"""The outbox: what was asked for while a host could not be reached, kept until it is carried out, once.

A request lies in the store, with the id of the job that it is about: made when it was asked for, so that
doing it a second time, after a crash or a lost answer, is recognised by the scheduler and starts nothing.
The requests to a host are carried out in the order in which they came, so that no cancelling overtakes
the submission that it is about. Whichever program that has a link comes first takes one for itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from workbench.errors import ConnectionFailed, NotAllowed, StoreError, SubmissionUnclear, WorkbenchError
from workbench.ledger import Ledger
from workbench.model.job import Job, JobSpec, JobState, JobStatus
from workbench.model.record import job_from_json, job_to_json
from workbench.model.sweep import Sweep
from workbench.store import Store

log = logging.getLogger(__name__)

What = Literal["submit", "cancel"]
_TAKEN_S = 120.0
"""How long a request belongs to the program that has taken it: longer than any is under way."""
_REASON = {"submit": "asked for; waits for the link", "cancel": "to be ended; waits for the link"}


@dataclass(frozen=True, slots=True)
class Request:
    """Something that is to be done as soon as a host can be reached."""

    number: int
    """In the order of asking."""
    what: What
    job: Job
    """As it is to be submitted, or as it was known when it was to be cancelled."""


class Outbox:
    """Implements `ports.Outbox` on the store."""

    def __init__(self, store: Store, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._requests: Sequence[Request] = ()
        self._shown: dict[int, tuple[Job, Job]] = {}
        self._busy: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.reload()

    def reload(self) -> None:
        """Take in what other programs have put there, or carried out."""
        known = {request.number: request for request in self._requests}
        requests = []
        for number, what, record in self._store.requests():
            try:
                requests.append(known.get(number) or _request(number, what, record))
            except StoreError as error:
                log.warning("Request %d is left out: %s", number, error)
        self._requests = requests

    # -- what waits ------------------------------------------------------------------------------------

    def requests(self, profile: str | None = None) -> Sequence[Request]:
        """What waits, of one place or of all."""
        return [request for request in self._requests if profile in (None, request.job.profile)]

    def holds(self, job_id: str) -> bool:
        """Whether anything waits that is about this job."""
        return any(request.job.id == job_id for request in self._requests)

    def with_waiting(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Jobs, newest first, together with those that wait for the link, and what waits said of each."""
        if not self._requests:
            return jobs
        known = {job.id: job for job in jobs}
        for request in self._requests:
            job = known.get(request.job.id, request.job)
            if not job.state.is_over and (job.key is None or request.what == "cancel"):
                known[job.id] = self._as_waiting(request, job)
        return sorted(known.values(), key=lambda job: job.created_at, reverse=True)

    def job(self, job_id: str) -> Job | None:
        """A job that nobody but the outbox knows of."""
        if job_id in self._ledger:
            return None
        found = [request for request in self._requests if request.job.id.startswith(job_id) and job_id]
        return self._as_waiting(found[0], found[0].job) if len({one.job.id for one in found}) == 1 else None

    def _as_waiting(self, request: Request, job: Job) -> Job:
        """The same value for the same job, so that nothing is drawn again for nothing."""
        before = self._shown.get(request.number)
        if before is None or before[0] is not job:
            status = replace(job.status, reason=_REASON[request.what])
            self._shown[request.number] = (job, replace(job, status=status))
        return self._shown[request.number][1]

    # -- asking ----------------------------------------------------------------------------------------

    def submit(self, spec: JobSpec, profile: str, *, resubmitted_from: str | None = None) -> Job:
        """Have a run started when its host can be reached.

        Raises:
            NotAllowed: It is to be a copy of a job that is not over, or that was resubmitted already.
            StoreError: The request cannot be kept.
        """
        if resubmitted_from is not None:
            self._may_resubmit(self._ledger[resubmitted_from])
        job = Job(
            id=self._new_id(),
            profile=profile,
            folder="",
            spec=spec,
            status=JobStatus(JobState.WAITS_FOR_LINK, reason=_REASON["submit"]),
            created_at=self._clock(),
            resubmitted_from=resubmitted_from,
        )
        self._put("submit", job)
        return job

    def cancel(self, job: Job) -> Job:
        """Have a job ended when its host can be reached; one that was not submitted yet is forgotten at once.

        Raises:
            NotAllowed: It is over.
            StoreError: The request cannot be kept.
        """
        if job.state.is_over:
            raise NotAllowed(f"Job {job.id} is over already ({job.state.lower()}).")
        if isinstance(job, Sweep):
            raise NotAllowed(f"The sweep {job.id} can be ended only while its host can be reached.")
        submission = next((one for one in self._requests if one.job.id == job.id), None)
        if submission is not None and submission.what == "submit" and self._withdraw(submission):
            return replace(job, status=JobStatus(JobState.CANCELLED, reason="it was never submitted"))
        if not any(one.what == "cancel" and one.job.id == job.id for one in self._requests):
            self._put("cancel", job)
        return job

    def _may_resubmit(self, job: Job) -> None:
        if not job.state.is_over:
            raise NotAllowed(f"Job {job.id} is not over ({job.state.lower()}): cancel it first.")
        for other in self.with_waiting(self._ledger.newest_first()):
            if other.resubmitted_from == job.id and not other.state.is_over:
                raise NotAllowed(
                    f"Job {job.id} was resubmitted as {other.id}, which is {other.state.lower()}."
                )

    def _withdraw(self, request: Request) -> bool:
        """Forget a request, unless it is being carried out, or may have been."""
        if request.job.id in self._ledger or not self._store.take_request(request.number, *self._lease()):
            return False
        self._store.drop_request(request.number)
        self.reload()
        return True

    def _put(self, what: What, job: Job) -> None:
        self._store.put_request(what, job_to_json(job))
        self.reload()

    def _new_id(self) -> str:
        while self.holds(job_id := self._ledger.new_id()):
            continue
        return job_id

    # -- carrying out ----------------------------------------------------------------------------------

    async def carry_out(
        self,
        profile: str,
        submit: Callable[[Job], Awaitable[object]],
        cancel: Callable[[Job], Awaitable[object]],
    ) -> Sequence[WorkbenchError]:
        """Do what waits for one host; what was refused.

        Raises:
            ConnectionFailed: The host cannot be reached, or not any more: the rest goes on waiting.
            SubmissionUnclear: What became of a submission has to be found out first; so does this.
        """
        refused: list[WorkbenchError] = []
        async with self._busy[profile]:
            self.reload()
            for request in self.requests(profile):
                if not self._store.take_request(request.number, *self._lease()):
                    break  # another program is at it
                try:
                    await (submit if request.what == "submit" else cancel)(request.job)
                except (ConnectionFailed, SubmissionUnclear):
                    self._store.free_request(request.number)
                    raise
                except WorkbenchError as error:
                    log.warning("What waited for the link to %s was refused: %s", profile, error)
                    refused.append(error)
                except BaseException:
                    self._store.free_request(request.number)
                    raise
                self._store.drop_request(request.number)
                self.reload()
        return refused

    def _lease(self) -> tuple[float, float]:
        now = self._clock()
        return now, now + _TAKEN_S


def _request(number: int, what: str, record: str) -> Request:
    if what not in _REASON:
        raise StoreError(f"It asks for {what!r}, which this program does not know: update it.")
    return Request(number, "cancel" if what == "cancel" else "submit", job_from_json(record))
