"""Queues: the user's jobs on the clusters, whoever has submitted them, and what may be done with those.

What is shown is what the polls for our own jobs bring along: looking at a queue costs no command of its
own, but that it is polled also where no job of ours is in it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from workbench.adoption import adopted
from workbench.config import Config
from workbench.errors import FileFailed, NotAllowed
from workbench.ledger import Ledger
from workbench.model.job import Job, JobSpec, JobState, JobStatus
from workbench.model.queue import Choices, QueuedJob, QueueView
from workbench.ports import Desk, FileChunk, StartEstimate
from workbench.site import Sites


class Queues:
    """Implements `ports.Queues`."""

    def __init__(
        self,
        config: Config,
        sites: Sites,
        ledger: Ledger,
        refresh: Callable[[str], Awaitable[object]],
        clock: Callable[[], float],
    ) -> None:
        """Polls of one profile go through `refresh`, for they bring news of our own jobs, too."""
        self._config = config
        self._sites = sites
        self._ledger = ledger
        self._refresh = refresh
        self._clock = clock
        self.watched: str | None = None
        """The profile whose queue is looked at."""

    def profiles(self) -> Sequence[str]:
        """Of the places that have a queue, the default one first."""
        default = self._config.default_profile
        slurm = [name for name, each in self._config.profiles.items() if each.scheduler == "slurm"]
        return sorted(slurm, key=lambda name: name != default)

    def view(self, profile: str) -> QueueView:
        """What was heard last, without asking anybody."""
        site = self._sites.opened.get(profile)
        if site is None or site.scheduler.desk is None:
            return QueueView(profile)
        return QueueView(profile, site.scheduler.desk.entries, site.scheduler.pulse)

    def choices(self, profile: str) -> Choices:
        """What the profile says, and what the user's jobs there ask for."""
        described = self._config.profile(profile)
        entries = self.view(profile).entries
        gpus = str(described.gpus) if described.gpus else ""
        names = ("partition", "qos", "account")
        preset = {name: getattr(described, name) for name in names} | {"gpus": gpus}
        seen = {
            name: list(dict.fromkeys(filter(None, (preset[name], *(getattr(e, name) for e in entries)))))
            for name in names
        }
        return Choices(**seen, preset={name: value for name, value in preset.items() if value})

    def watch(self, profile: str | None) -> None:
        """Which one is looked at, and so asked with every refresh; none for none."""
        self.watched = profile

    def attend(self, looking: bool) -> None:
        """Whether anybody looks at the screens at all."""
        for site in self._sites.opened.values():
            site.scheduler.attend(looking)

    def stir(self) -> None:
        """Let the next refresh ask everywhere."""
        for site in self._sites.opened.values():
            site.scheduler.stir()

    async def ask(self, profile: str) -> QueueView:
        """What is in a queue now, or was by the pace a moment ago.

        Raises:
            NotAllowed: The profile has no queue.
        """
        await self._desk(profile)
        await self._refresh(profile)
        return self.view(profile)

    async def details(self, profile: str, native_id: str) -> QueuedJob:
        """Everything that the scheduler says of a job."""
        return await (await self._desk(profile)).details(native_id)

    async def log(self, profile: str, job: QueuedJob, *, tail_bytes: int) -> bytes:
        """The end of a job's standard output; empty before it has begun."""
        return (await self.log_chunk(profile, job, tail_bytes=tail_bytes)).data

    async def log_chunk(
        self, profile: str, job: QueuedJob, offset: int = 0, *, tail_bytes: int | None = None
    ) -> FileChunk:
        """A job's standard output from `offset` on, or at most its last `tail_bytes`."""
        connection = (await self._sites.of(profile)).connection
        try:
            if tail_bytes is not None:
                offset = max(offset, (await connection.read(job.log_path, 0, 0)).size - tail_bytes)
            return await connection.read(job.log_path, offset)
        except FileFailed:
            return FileChunk(offset, b"", 0)

    async def adopt(self, profile: str, native_id: str) -> Job:
        """Make a job whose folder holds a run of ours one of our own."""
        site = await self._sites.of(profile)
        queued = await (await self._desk(profile)).details(native_id)
        job = await adopted(site, queued, self._ledger, self._clock())
        site.scheduler.stir()
        return self._ledger.keep(job)

    async def cancel(self, profile: str, native_id: str) -> None:
        """Ask a job to end."""
        await (await self._desk(profile)).cancel(native_id)
        await self._stir(profile)

    async def hold(self, profile: str, native_id: str) -> None:
        """Keep a job that waits from starting."""
        # Slurm would take it, and hold the job should it ever be requeued.
        entry = next((each for each in (await self.ask(profile)).entries if each.id == native_id), None)
        if entry is not None and not entry.waits:
            raise NotAllowed(
                f"Job {native_id} does not wait ({entry.state.lower()}): only a job that waits can be held."
            )
        await (await self._desk(profile)).hold(native_id)
        await self._stir(profile)

    async def release(self, profile: str, native_id: str) -> None:
        """Let a job go that is held."""
        await (await self._desk(profile)).release(native_id)
        await self._stir(profile)

    async def estimate(self, spec: JobSpec, profile: str | None) -> StartEstimate:
        """When a run would start if it were submitted now; nothing is submitted, and no file is written."""
        site = await self._sites.of(profile)
        name = site.profile.name
        status = JobStatus(JobState.SUBMITTING)
        job = Job("estimate", name, f"{site.work_folder}/runs/estimate", spec, status, self._clock())
        return await site.scheduler.estimate(job, ["true"], {})

    async def _stir(self, profile: str) -> None:
        (await self._sites.of(profile)).scheduler.stir()

    async def _desk(self, profile: str) -> Desk:
        desk = (await self._sites.of(profile)).scheduler.desk
        if desk is None:
            raise NotAllowed(
                f"Profile {profile} has no queue of a cluster: there are no jobs but those of this program."
            )
        return desk
