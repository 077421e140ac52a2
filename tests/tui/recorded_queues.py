"""Queues in memory, for the screens: entries change only when a test says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.tui.moment import NOW
from workbench.errors import NotAllowed, WorkbenchError
from workbench.model.job import Job, JobSpec, JobState
from workbench.model.pulse import Pulse
from workbench.model.queue import Choices, QueuedJob, QueueEntry, QueueView
from workbench.ports import StartEstimate

if TYPE_CHECKING:
    from tests.tui.recorded import RecordedWorkbench


class RecordedQueues:
    """Implements `ports.Queues`."""

    def __init__(self, workbench: RecordedWorkbench) -> None:
        self.entries: dict[str, list[QueueEntry]] = {}
        """By profile."""
        self.pulse = Pulse(31, 12.0, NOW - 4, 0.18)
        self.logs: dict[str, bytes] = {}
        self.adoptable: dict[str, Job] = {}
        self.asked: list[tuple[str, str]] = []
        """What was asked for, by name and job."""
        self.watched: str | None = None
        self.looking = True
        self.trouble: WorkbenchError | None = None
        """Raised by whatever changes a job, while it is set."""
        self.estimates: list[StartEstimate] = []
        self._workbench = workbench

    def profiles(self) -> Sequence[str]:
        return list(self.entries)

    def view(self, profile: str) -> QueueView:
        return QueueView(profile, self.entries[profile], self.pulse)

    def choices(self, profile: str) -> Choices:
        return Choices(
            ["icelake", "cclake"],
            ["normal", "intr"],
            ["SAM-CPU"],
            {"partition": "icelake", "account": "SAM-CPU"},
        )

    def watch(self, profile: str | None) -> None:
        self.watched = profile

    def attend(self, looking: bool) -> None:
        self.looking = looking

    def stir(self) -> None:
        self.asked.append(("stir", ""))

    async def details(self, profile: str, native_id: str) -> QueuedJob:
        entry = self._entry(profile, native_id)
        facts = (("JobId", entry.id), ("JobName", entry.name), ("WorkDir", entry.folder), ("NumCPUs", "4"))
        return QueuedJob(entry.id, facts, f"{entry.folder}/slurm-{entry.id}.out", "", entry.folder)

    async def log(self, profile: str, job: QueuedJob, *, tail_bytes: int) -> bytes:
        return self.logs.get(job.native_id, b"")[-tail_bytes:]

    async def adopt(self, profile: str, native_id: str) -> Job:
        self._ask("adopt", native_id)
        if native_id not in self.adoptable:
            raise NotAllowed(f"Job {native_id} is no run of this program.")
        return self._workbench.add(self.adoptable[native_id])

    async def cancel(self, profile: str, native_id: str) -> None:
        self._ask("cancel", native_id)
        self._change(profile, native_id, state=JobState.CANCELLED, ended_at=NOW)

    async def hold(self, profile: str, native_id: str) -> None:
        self._ask("hold", native_id)
        self._change(profile, native_id, reason="JobHeldUser", why="held by you (JobHeldUser)")

    async def release(self, profile: str, native_id: str) -> None:
        self._ask("release", native_id)
        self._change(profile, native_id, reason="Priority", why="others are before it (Priority)")

    async def estimate(self, spec: JobSpec, profile: str | None) -> StartEstimate:
        self._ask("estimate", profile or "")
        return self.estimates.pop(0)

    def _ask(self, what: str, native_id: str) -> None:
        self.asked.append((what, native_id))
        if self.trouble is not None:
            raise self.trouble

    def _entry(self, profile: str, native_id: str) -> QueueEntry:
        return next(entry for entry in self.entries[profile] if entry.id == native_id)

    def _change(self, profile: str, native_id: str, **changes: object) -> None:
        self.entries[profile] = [
            replace(entry, **changes) if entry.id == native_id else entry  # type: ignore[arg-type]
            for entry in self.entries[profile]
        ]


def entry(
    native_id: str,
    state: JobState = JobState.RUNNING,
    *,
    name: str = "a job",
    tasks: str = "",
    reason: str = "",
    why: str = "",
    starts_in_s: float | None = None,
    run_id: str = "",
    ran_s: float = 600.0,
    **changes: object,
) -> QueueEntry:
    """A job in a queue; where it waits it is expected to start some time from now."""
    waits = state is JobState.PENDING
    start = NOW + starts_in_s if starts_in_s is not None else None
    made = QueueEntry(
        native_id=native_id,
        tasks=tasks,
        state=state,
        said_state=state.value,
        reason=reason,
        why=why,
        submitted_at=NOW - 3600 + int(native_id),
        started_at=start if waits else NOW - ran_s,
        ended_at=None if waits else NOW - ran_s + 3600,
        node="" if waits else "cpu-q-1",
        partition="icelake",
        qos="normal",
        account="mace-sl3-cpu",
        n_nodes=1,
        n_cpus=4,
        time_limit_s=3600.0,
        folder=f"/home/sam/by-hand/{native_id}",
        token=f"mw:{run_id}:1" if run_id else "",
        name=name,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def busy_cluster() -> RecordedWorkbench:
    """A cluster with a run of ours, a job by hand that runs, one that waits and one that is held."""
    from tests.tui.recorded import RecordedWorkbench, job

    workbench = RecordedWorkbench(profiles=("local", "csd3"))
    workbench.add(job("aaaaaa", name="ours", profile="csd3"))
    waits = "others are before it in the queue: a shorter time limit may let it slip in earlier (Priority)"
    held = "held by you: `mace-workbench release` lets it go (JobHeldUser)"
    workbench.queues.entries["csd3"] = [
        entry("11", name="ours", run_id="aaaaaa"),
        entry("12", name="train.sh", ran_s=60),
        entry("13", JobState.PENDING, name="relax", reason="Priority", why=waits, starts_in_s=7800),
        entry("14", JobState.PENDING, name="scan", tasks="0-9%2", reason="JobHeldUser", why=held),
    ]
    workbench.queues.logs["12"] = b"".join(b"epoch %d: loss 0.0%d\n" % (n, 99 - n) for n in range(30))
    return workbench
