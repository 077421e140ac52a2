"""Sweeps: many runs started, started again and ended together.

Each member is a job like any other, with its own folder, events, log and end. What they share is the one
submission (an array of Slurm, a row of places in the queue of a host without it) and the sweep's folder,
in which `sweep.jsonl` has the members' records: from it the sweep is found again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from jobs.sweep import SweepSpec, short
from workbench.again import Again, again
from workbench.errors import LinkLost, NotAllowed, SubmissionUnclear, WorkbenchError
from workbench.ledger import Ledger
from workbench.model.job import Job, JobSpec, JobState, JobStatus, Part, Resources
from workbench.model.record import job_from_json, job_to_json
from workbench.model.run import Run
from workbench.model.sweep import Sweep, sweep_of
from workbench.site import Site

SWEEP_FILE = "sweep.jsonl"
_SPEC_FILE = "spec.json"
_FETCHED_AT_ONCE = 8
_QUIET_AT_LAST = 5
"""Looks at a member that is over without anything new, after which it has told all."""


@dataclass
class Sweeps:
    """Does with sweeps what `Services` does with jobs on their own."""

    ledger: Ledger
    clock: Callable[[], float]
    submitting: set[str] = field(default_factory=set)
    """Ids of the jobs that are on their way to a scheduler."""
    _quiet: dict[str, tuple[Job, int]] = field(default_factory=dict)
    """How often in a row a member that is over had nothing new to tell."""

    async def submit(self, site: Site, spec: SweepSpec, resources: Resources) -> Sweep:
        """Start every member of a sweep."""
        sweep_id, now = self.ledger.new_id(), self.clock()
        runs, points = spec.members(), spec.points
        # An array asks for its tasks alike.
        resources = replace(resources, cpus=max(run.threads for run in runs))
        title = spec.base.name or f"{spec.base.experiment} over {', '.join(map(short, spec.over))}"
        members = [
            Job(
                id=f"{sweep_id}.{index}",
                profile=site.profile.name,
                folder=f"{site.work_folder}/runs/{sweep_id}/{index}",
                spec=JobSpec(run, resources),
                status=JobStatus(JobState.SUBMITTING),
                created_at=now,
                part=Part(sweep_id, title, index, len(runs), point),
            )
            for index, (run, point) in enumerate(zip(runs, points, strict=True))
        ]
        self.ledger.keep_all(members)
        return await self.submit_again(site, members)

    async def resubmit(self, site: Site, job: Job, resources: Resources | None = None) -> Sweep:
        """Start the failed members of a sweep, or one member that is over, as their next attempts.

        They ask for `resources` where those are given.

        Raises:
            NotAllowed: There is nothing to start again.
        """
        members = job.failed if isinstance(job, Sweep) else [job]
        if not members:
            assert isinstance(job, Sweep)
            raise NotAllowed(f"No member of the sweep {job.id} has failed ({job.summary}).")
        for member in members:
            if not member.state.is_over:
                raise NotAllowed(f"Job {member.id} is not over ({member.state.lower()}): cancel it first.")
        number = 1 + max(_part(member).submission for member in self.ledger.members(_part(members[0]).sweep))
        numbered = [
            replace(
                member,
                part=replace(_part(member), submission=number),
                spec=replace(member.spec, resources=resources or member.spec.resources),
            )
            for member in members
        ]
        # The number is used up whatever comes of it: what was once refused stays refused on the host.
        self.ledger.keep_all(numbered)
        again = [replace(job, key=None, status=JobStatus(JobState.SUBMITTING)) for job in numbered]
        self.ledger.keep_all(again)
        return await self.submit_again(site, again, instead=numbered)

    async def submit_again(
        self, site: Site, members: Sequence[Job], *, instead: Sequence[Job] | None = None
    ) -> Sweep:
        """Have members of one submission with their scheduler, as which they may be there already.

        Where it is refused they are known as failed, or as what is given `instead`.
        """
        first = _part(members[0])
        with ExitStack() as on_their_way:
            for member in members:
                self.submitting.add(member.id)
                on_their_way.callback(self.submitting.discard, member.id)
            try:
                argv, env = await site.command(members[0].spec.run, _SPEC_FILE)
                await self._write(site, first)
                keys = await site.scheduler.submit_sweep(members, argv, env)
            except (LinkLost, SubmissionUnclear):
                raise  # they may be there or not: `refresh` submits them again, which starts nothing twice
            except WorkbenchError as error:
                refused = JobStatus(JobState.FAILED, reason=str(error))
                self.ledger.keep_all(instead or [replace(member, status=refused) for member in members])
                raise
        waiting = JobStatus(JobState.PENDING)
        self.ledger.keep_all([replace(job, key=keys[job.id], status=waiting) for job in members])
        return self.sweep(first.sweep)

    async def _write(self, site: Site, part: Part) -> None:
        """Have the members' files in their folders, as far as they are not there."""
        members = self.sweep(part.sweep).members
        folder = members[0].folder.rpartition("/")[0]
        records = "".join(job_to_json(member) + "\n" for member in members).encode()
        if part.submission > 1:
            await site.connection.write(f"{folder}/{SWEEP_FILE}", records)
            return
        files = {SWEEP_FILE: records}
        for index, member in enumerate(members):
            files[f"{index}/{_SPEC_FILE}"] = member.spec.run.to_json().encode()
        await site.connection.put_tree(files, folder)

    async def cancel(self, site: Site, sweep: Sweep) -> None:
        """Ask all members that are not over to end."""
        going_on = [member for member in sweep.members if not member.state.is_over]
        await site.scheduler.cancel_sweep(going_on)

    async def fetch(self, sweep: Sweep, fetch: Callable[[str], Awaitable[bool]]) -> bool:
        """Take in what is new of the members' events, several members at a time; true where anything was."""
        room = asyncio.Semaphore(_FETCHED_AT_ONCE)

        async def news(member: Job) -> bool:
            async with room:
                heard = await fetch(member.id)
            known, quiet = self._quiet.get(member.id, (member, 0))
            quiet = quiet + 1 if not heard and known.status == member.status else 0
            self._quiet[member.id] = (member, quiet)
            return heard

        return any(
            await asyncio.gather(*(news(member) for member in sweep.members if self._may_tell(member)))
        )

    def _may_tell(self, member: Job) -> bool:
        """Whether a member may have events that are not known: some come late from another node."""
        if not member.state.is_over:
            return member.state not in (JobState.SUBMITTING, JobState.PENDING)
        known, quiet = self._quiet.get(member.id, (member, 0))
        return known.status != member.status or quiet < _QUIET_AT_LAST

    def sweep(self, sweep_id: str) -> Sweep:
        """A sweep as it is known now."""
        return sweep_of(self.ledger.members(sweep_id))


def by_submission(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs, those together that were submitted together."""
    together: defaultdict[tuple[str, int], list[Job]] = defaultdict(list)
    for job in jobs:
        together[(job.part.sweep, job.part.submission) if job.part else (job.id, 0)].append(job)
    return list(together.values())


def again_of(sweep: Sweep, runs: Mapping[str, Run], most_minutes: int = 0) -> Again:
    """How the failed members of a sweep are best started again: with enough for each of them."""
    proposals = [again(member, runs[member.id], most_minutes) for member in sweep.failed]
    reasons = [proposal.why for proposal in proposals if proposal.why]
    if not reasons:
        return Again(True, sweep.spec.resources, "")
    time_limit_s = max(proposal.resources.time_limit_s for proposal in proposals)
    memory_mb = max(proposal.resources.memory_mb or 0 for proposal in proposals) or None
    resources = replace(sweep.spec.resources, time_limit_s=time_limit_s, memory_mb=memory_mb)
    return Again(True, resources, f"{len(reasons)} of {len(proposals)} failed members: {reasons[0]}")


def records_in(path: str, data: bytes) -> list[Job]:
    """The jobs in a `job.json` or a `sweep.jsonl`.

    Raises:
        StoreError: It is neither.
    """
    lines = data.splitlines() if PurePosixPath(path).name == SWEEP_FILE else [data]
    return [job_from_json(line) for line in lines]


def _part(job: Job) -> Part:
    assert job.part is not None, f"{job.id} is a member of no sweep"
    return job.part
