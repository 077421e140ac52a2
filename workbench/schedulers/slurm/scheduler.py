"""SlurmScheduler: submits, watches and ends jobs through Slurm's own commands on a login node.

Every operation is one command on the host, a script of `host/`, so that it costs one round trip and
happens there as a whole even where the link is cut in the middle of it. What the answers mean is decided
here and in the pure modules beside.

A job is found again by the token in its comment, `mw:ID:NUMBER`: our id and the number of the submission,
which is above 1 where a job was put into the queue again after Slurm had forgotten it.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from workbench.errors import SchedulerError, SubmissionUnclear
from workbench.model.job import Job, JobKey, JobStatus
from workbench.model.pulse import Pulse
from workbench.model.sweep import sweep_of
from workbench.ports import Connection, StartEstimate
from workbench.schedulers.slurm.asking import ask, garbled
from workbench.schedulers.slurm.desk import SlurmDesk
from workbench.schedulers.slurm.found import recognised
from workbench.schedulers.slurm.judge import Judge, token_prefix
from workbench.schedulers.slurm.pace import Pace
from workbench.schedulers.slurm.parse import (
    ACCOUNT_FIELDS,
    QUEUE_FIELDS,
    Answer,
    Marks,
    Submitted,
    parse_answer,
    parse_estimate,
    parse_records,
    parse_submitted,
)
from workbench.schedulers.slurm.render import SlurmSettings, render, tasks_text
from workbench.schedulers.slurm.states import refusal

log = logging.getLogger(__name__)


class SlurmScheduler:
    """Implements `ports.Scheduler` over any connection to a host where Slurm's commands are."""

    def __init__(
        self,
        connection: Connection,
        settings: SlurmSettings | None = None,
        *,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connection = connection
        self._settings = settings or SlurmSettings()
        self._clock = clock
        self.pace = pace or Pace()
        """How often the queue is asked for."""
        self._judge = Judge()
        self._answer = Answer()
        self._accounting_said = ""
        self._heard_at: float | None = None
        self._took_s = 0.0
        self.desk = SlurmDesk(connection)
        """All jobs of the user's, also those that this program did not start."""

    @property
    def pulse(self) -> Pulse:
        """How often the queue is asked for, and when that was last."""
        return Pulse(self.pace.n_polls, self.pace.interval_s, self._heard_at, self._took_s)

    async def submit(self, job: Job, argv: Sequence[str], env: Mapping[str, str]) -> JobKey:
        """Put the job into the queue; once, however often it is asked for.

        Raises:
            SchedulerError: Slurm, or the host's file system, has refused it.
            SubmissionUnclear: It may be in the queue or not; asking again finds that out.
        """
        script = render(job, argv, env, self._settings).encode()
        return await self._submit(job, 1, script)

    async def submit_sweep(
        self, members: Sequence[Job], argv: Sequence[str], env: Mapping[str, str]
    ) -> Mapping[str, JobKey]:
        """Put these members of a sweep into the queue as one array; once, however often it is asked for.

        Raises:
            SchedulerError: Slurm, or the host's file system, has refused it.
            SubmissionUnclear: It may be in the queue or not; asking again finds that out.
        """
        whole = sweep_of(members)
        parts = [member.part for member in members if member.part is not None]
        script = render(whole, argv, env, self._settings, tasks=tasks_text(part.index for part in parts))
        key = await self._submit(whole, parts[0].submission, script.encode())
        return {
            member.id: replace(key, native_id=f"{key.native_id}_{part.index}")
            for member, part in zip(members, parts, strict=True)
        }

    async def recognised(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Runs whose folders were found, each as the job of Slurm that it is; nothing is submitted."""
        return await recognised(self._connection, jobs, self._clock())

    async def poll(self, jobs: Sequence[Job]) -> Mapping[str, JobStatus]:
        """What is new of these jobs: one command, however many they are, or none while it is too early."""
        if not self.pace.is_due(job.id for job in jobs):
            return {}
        began = time.monotonic()
        answer = await self._asked(jobs)
        self._heard_at, self._took_s = self._clock(), time.monotonic() - began
        statuses = self._judge.statuses(jobs, answer, self._heard_at)
        news = "squeue" not in answer.failures and self.desk.hear(answer.queue, self._judge.offset)
        changed = news or any(
            (status := statuses.get(job.id)) is not job.status and status not in (None, job.status)
            for job in jobs
        )
        self.pace.asked((job.id for job in jobs), changed=changed)
        return statuses

    async def _asked(self, jobs: Sequence[Job]) -> Answer:
        """What queue, accounting and folders say.

        Raises:
            SchedulerError: None of them can be asked.
        """
        marks = Marks.new()
        asked = "".join(_line(job) for job in jobs)
        queue_format = f"{marks.record}queue{marks.field}{marks.field.join(QUEUE_FIELDS)}"
        account_format = ",".join(ACCOUNT_FIELDS)
        stdin = gzip.compress(asked.encode(), compresslevel=1)
        data = await ask(self._connection, "poll", marks, queue_format, account_format, stdin=stdin)
        try:
            # A long queue takes its time, in which the screens go on.
            answer = await asyncio.to_thread(_read, data, marks, self._answer)
        except (OSError, EOFError, zlib.error):
            raise SchedulerError(garbled(self._connection.host, "the poll", data)) from None
        if answer.now is None:
            raise SchedulerError(garbled(self._connection.host, "the poll", data))
        self._answer = answer
        self._note(answer.failures.get("sacct", ""))
        failed = answer.failures.get("squeue")
        if failed is not None and not answer.accounts and not answer.sentinels:
            raise SchedulerError(
                f"{self._connection.host} could not say what is in the queue (`squeue -t all`): "
                f"{refusal(failed)}."
            )
        return answer

    def _note(self, said: str) -> None:
        """Have it in the log, once, that the accounting fails: everything goes on without it."""
        if said and said != self._accounting_said:
            log.warning("%s: `sacct -X -j …` failed: %s.", self._connection.host, refusal(said))
        self._accounting_said = said

    def attend(self, looking: bool) -> None:
        """Ask more rarely while nobody looks."""
        self.pace.attend(looking)

    def stir(self) -> None:
        """Let the next poll ask, and those after it more often for a while."""
        self.pace.stir()

    async def cancel(self, job: Job) -> None:
        """Ask a job to end; one that has ended already is left as it is."""
        self.pace.stir()
        await self.desk.cancel(_number(job), token_prefix(job))

    async def cancel_sweep(self, members: Sequence[Job]) -> None:
        """Ask several members of a sweep to end: one command for each array that they are tasks of."""
        self.pace.stir()
        arrays: defaultdict[str, list[int]] = defaultdict(list)
        for member in members:
            array, _, task = _number(member).partition("_")
            arrays[array].append(int(task))
        for array, tasks in arrays.items():
            await self.desk.cancel(f"{array}_[{tasks_text(tasks)}]", token_prefix(members[0]))

    async def hold(self, job: Job) -> None:
        """Keep a job that waits from starting.

        Raises:
            SchedulerError: It has started, or is gone.
        """
        self.pace.stir()
        await self.desk.hold(_number(job), token_prefix(job))

    async def release(self, job: Job) -> None:
        """Let a job go that is held.

        Raises:
            SchedulerError: An administrator holds it, or it is gone.
        """
        self.pace.stir()
        await self.desk.release(_number(job), token_prefix(job))

    async def requeue(
        self, job: Job, argv: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> JobKey:
        """Start a job that is over once more; under its number as long as Slurm remembers it.

        With `argv` by a new script, under a new number: what a job asks for cannot be changed afterwards.
        """
        script = render(job, argv, env or {}, self._settings).encode() if argv else b""
        if job.key is None:
            raise SchedulerError(f"Job {job.id} was never in the queue: resubmit it.")
        self._judge.absences.forget(job.id)
        self.pace.stir()
        marks = Marks.new()
        how = "anew" if script else "as-it-was"
        data = await ask(
            self._connection, "requeue", marks, job.key.native_id, token_prefix(job), job.folder, how
        )
        submitted = parse_submitted(data, marks)
        if submitted is not None and submitted.outcome == "job":
            return self._key(submitted)
        for kind, rest in parse_records(data, marks):
            if kind == "forgotten" and rest and rest[0].isdigit():
                return await self._submit(job, int(rest[0]), script)
        raise SchedulerError(garbled(self._connection.host, "the requeue", data))

    async def estimate(self, job: Job, argv: Sequence[str], env: Mapping[str, str]) -> StartEstimate:
        """When and where the job would start if it were submitted now; nothing is submitted.

        Raises:
            SchedulerError: Slurm would refuse it.
        """
        script = render(job, argv, env, self._settings).encode()
        marks = Marks.new()
        data = await ask(self._connection, "estimate", marks, stdin=script)
        for kind, rest in parse_records(data, marks):
            if kind == "estimate" and len(rest) == 1:
                estimate = parse_estimate(rest[0])
                at = estimate.starts_at
                return replace(estimate, starts_at=None if at is None else at + self._judge.offset)
            if kind == "refused" and len(rest) == 1:
                raise SchedulerError(
                    f"{self._connection.host} would not take this job (`sbatch --test-only run.sh`): "
                    f"{refusal(rest[0])}."
                )
        raise SchedulerError(garbled(self._connection.host, "the estimate", data))

    # -- inside ----------------------------------------------------------------------------------

    async def _submit(self, job: Job, number: int, script: bytes) -> JobKey:
        self.pace.stir()
        marks = Marks.new()
        asked = (job.folder, str(number), f"{token_prefix(job)}{number}", _name(job), str(len(script)))
        data = await ask(self._connection, "submit", marks, *asked, stdin=script)
        submitted = parse_submitted(data, marks)
        if submitted is None:
            raise SubmissionUnclear(garbled(self._connection.host, "the submission", data))
        if submitted.outcome == "refused":
            raise SchedulerError(
                f"{self._connection.host} did not take the job (`sbatch run.sh` in {job.folder}): "
                f"{refusal(submitted.said)}."
            )
        if submitted.outcome == "unclear":
            raise SubmissionUnclear(
                f"It is not known whether {self._connection.host} has taken job {job.id} (`sbatch run.sh` in "
                f"{job.folder}: {refusal(submitted.said)}): it is asked again, and never submitted twice."
            )
        return self._key(submitted)

    def _key(self, submitted: Submitted) -> JobKey:
        at = submitted.at if submitted.at is not None else self._clock()
        return JobKey(submitted.cluster or self._connection.host, submitted.native_id, at)


def _read(data: bytes, marks: Marks, before: Answer) -> Answer:
    return parse_answer(gzip.decompress(data), marks, before)


def _line(job: Job) -> str:
    # A folder that would break the line is not looked into.
    folder = "" if "\t" in job.folder or "\n" in job.folder else job.folder
    return f"{job.id}\t{job.key.native_id if job.key else '-'}\t{folder}\n"


def _name(job: Job) -> str:
    """On one line, as far as Slurm takes it."""
    return " ".join(job.spec.name.replace("\0", " ").split())[:200] or job.id


def _number(job: Job) -> str:
    if job.key is None:
        raise SchedulerError(
            f"It is not known yet whether job {job.id} is in the queue: try again in a moment."
        )
    return job.key.native_id
