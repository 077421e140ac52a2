"""ProcessScheduler: jobs on a host without Slurm, or on this machine.

What starts, watches and ends a job is `jobs.detach`, which is on the host with the rest of the code.
This side only asks it: one command for whatever is wanted of any number of jobs, so that it costs the
same over SSH as here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.errors import SchedulerError
from workbench.model.job import Job, JobKey, JobState, JobStatus
from workbench.model.pulse import Pulse
from workbench.ports import Connection, StartEstimate
from workbench.remote.bundle import DeployedCode

_GRACE_S = 10.0
"""Between SIGTERM and SIGKILL."""
_SUBMIT_S = 120.0
"""How long a submission may be under way before a job of which nothing is there counts as lost."""
_NO_COMMAND = (126, 127)
"""What a shell answers where a program is not there, or is none."""


class ProcessScheduler:
    """Implements `ports.Scheduler` over any connection."""

    def __init__(
        self,
        connection: Connection,
        code: DeployedCode,
        work_folder: str,
        *,
        slots: int = 1,
        python: str = "python3",
        grace_s: float = _GRACE_S,
    ) -> None:
        self._connection = connection
        self._code = code
        self._work_folder = work_folder
        self._slots = slots
        self._python = python
        self._grace_s = grace_s
        self.pulse = Pulse()
        """How often the host was asked."""
        self.desk = None
        """There are no jobs but ours."""

    async def submit(self, job: Job, argv: Sequence[str], env: Mapping[str, str]) -> JobKey:
        """Have `argv` run in the job's folder when its turn has come."""
        if job.spec.resources.links > 1:
            raise SchedulerError("Only Slurm chains jobs: give this one all the time that it needs.")
        return self._key(await self._start("submit", job, argv=list(argv), env=dict(env)))

    async def submit_sweep(
        self, members: Sequence[Job], argv: Sequence[str], env: Mapping[str, str]
    ) -> Mapping[str, JobKey]:
        """Have `argv` run for each of these members of a sweep when its turn has come; all or none."""
        part = members[0].part
        command = "submit" if part is None or part.submission == 1 else "requeue"
        requests = [self._request(member, argv=list(argv), env=dict(env)) for member in members]
        try:
            answers = await self._ask(command, requests)
        except SchedulerError:
            # Those before the one that was refused have been started.
            await self._ask("cancel", requests)
            raise
        return {member.id: self._key(answer) for member, answer in zip(members, answers, strict=True)}

    async def cancel_sweep(self, members: Sequence[Job]) -> None:
        """Ask several members of a sweep to end, the last of the queue first."""
        await self._ask("cancel", [_request(member) for member in reversed(members)])

    async def requeue(
        self, job: Job, argv: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> JobKey:
        """Start a job that is over once more, in the same folder and by the same script.

        All that a job can ask for here stands beside the script.
        """
        return self._key(await self._start("requeue", job))

    def stir(self) -> None:
        """Nothing: every poll asks the host."""

    def attend(self, looking: bool) -> None:
        """Nothing: what is asked of a host costs it little."""

    async def hold(self, job: Job) -> None:
        """Keep a job that waits from starting; it gives up its place in the queue."""
        await self._ask("hold", [_request(job)])

    async def release(self, job: Job) -> None:
        """Let a job go that is held; it takes its place at the end of the queue."""
        await self._ask("release", [_request(job)])

    async def estimate(self, job: Job, argv: Sequence[str], env: Mapping[str, str]) -> StartEstimate:
        """Refuse: there is nobody to ask.

        Raises:
            SchedulerError: Always.
        """
        raise SchedulerError(
            f"{self._connection.host} has no scheduler that could say when: a run of profile {job.profile} "
            "starts there as soon as those before it leave a slot free."
        )

    async def cancel(self, job: Job) -> None:
        """Ask a job to end."""
        await self._ask("cancel", [_request(job)])

    async def recognised(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Runs whose folders were found: what they are is in those folders, where a poll looks."""
        return jobs

    async def poll(self, jobs: Sequence[Job]) -> Mapping[str, JobStatus]:
        """What is known of these jobs; one command."""
        if not jobs:
            return {}
        began = time.monotonic()
        answers = await self._ask("status", [_request(job) for job in jobs])
        now = time.time()
        self.pulse = Pulse(self.pulse.n_polls + 1, None, now, time.monotonic() - began)
        return {
            job.id: _status(answer)
            for job, answer in zip(jobs, answers, strict=True)
            if answer["state"] != "ABSENT" or job.key is not None or now - job.created_at > _SUBMIT_S
        }

    async def _start(self, command: str, job: Job, **more: object) -> Mapping[str, Any]:
        return (await self._ask(command, [self._request(job, **more)]))[0]

    def _request(self, job: Job, **more: object) -> dict[str, object]:
        return {
            **_request(job),
            "queue": f"{self._work_folder}/queue",
            "slots": self._slots,
            "time_limit_s": job.spec.resources.time_limit_s,
            "grace_s": self._grace_s,
            **more,
        }

    async def _ask(self, command: str, requests: Sequence[Mapping[str, object]]) -> list[Mapping[str, Any]]:
        """One answer to each request."""
        argv = [self._python, "-E", "-S", "-m", "jobs.detach", command]
        lines = "".join(json.dumps(request) + "\n" for request in requests)
        folder = await self._code.folder()
        done = await self._connection.run(argv, stdin=lines.encode(), cwd=folder, check=False)
        if done.exit_status != 0:
            self._code.doubt()
            said = done.stderr.decode(errors="replace").strip().splitlines()
            sentence = said[-1] if said else f"the command ended with {done.exit_status}"
            if done.exit_status in _NO_COMMAND:
                sentence += " (`python` in the profile should name an interpreter on that host)"
            raise SchedulerError(f"{self._connection.host} could not do `{command}`: {sentence}")
        try:
            answers = [json.loads(line) for line in done.stdout.splitlines()]
        except ValueError:
            answers = []
        if len(answers) != len(requests):
            raise SchedulerError(
                f"{self._connection.host} answered to {command} with something else than was asked: "
                f"{done.stdout[:200].decode(errors='replace')!r}."
            )
        return answers

    def _key(self, answer: Mapping[str, Any]) -> JobKey:
        return JobKey(self._connection.host, answer["id"], answer["submitted_at"])


def _request(job: Job) -> dict[str, object]:
    return {"id": job.id, "folder": job.folder}


def _status(answer: Mapping[str, Any]) -> JobStatus:
    state = answer["state"]
    return JobStatus(
        state=JobState.LOST if state == "ABSENT" else JobState(state),
        reason=answer["reason"],
        started_at=answer.get("started_at"),
        ended_at=answer.get("ended_at"),
        exit_code=answer.get("exit_code"),
        node=answer.get("node", ""),
        held_by=answer.get("held_by", ""),
    )
