"""Runs that this machine does not know, found by their folders on a real cluster, and never submitted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.spec import RunSpec
from jobs.sweep import SweepSpec
from tests.cluster import site
from tests.cluster.cluster import Cluster
from tests.contract.ssh import Laptop
from tests.end_to_end.test_slurm_job import opened
from tests.end_to_end.test_sweep import Program
from tests.waiting import until
from workbench.config import load_config
from workbench.errors import SchedulerError
from workbench.model.job import Job, JobState, JobStatus, Resources
from workbench.model.record import job_to_json
from workbench.services import STORE_FILE, Services

HOME = f"/home/{site.USER.name}"
ASKED = Resources(time_limit_s=600)
WAITS = """#!/bin/sh
until [ -e "$(dirname "$3")/go" ] || [ -e go ]; do sleep 0.05; done
"""
"""In the place of an experiment: it is done when it is told so."""


class Place:
    """A user's work folder on the cluster that no other test uses, and the runs in it."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        home = cluster.state / "home" / site.USER.name
        (home / "waits").write_text(WAITS)
        (home / "waits").chmod(0o755)
        laptop = Laptop(cluster, folder)
        self.env = laptop.program(laptop.target(), f"{HOME}/waits")
        config = folder / ".config/mace-workbench/config.toml"
        config.write_text(config.read_text().replace("rds/hpc-work", f"rds/{folder.name}"))

    def let_go(self, job: Job) -> None:
        (self.cluster.state / job.folder.lstrip("/") / "go").touch()

    async def submissions(self, jobs: Mapping[str, Job]) -> Sequence[str]:
        """All that Slurm has ever had of these: number and token, an array once."""
        queued = ("squeue", "-h", "-t", "all", "-o", "%F|%k")
        ended = ("sacct", "-X", "-n", "-P", "-S", "now-1days", "-o", "JobID,Comment")
        said = "".join(self.cluster.login.run(*each, user=site.USER.name).stdout for each in (queued, ended))
        rows = [(number.partition("_")[0], token) for number, token in map(_halves, said.split())]
        ours = {f"mw:{job.id}" for job in jobs.values()}
        return sorted({f"{number} {token}" for number, token in rows if token.rpartition(":")[0] in ours})

    def forget(self) -> None:
        """Throw the store away, as if this were another machine."""
        (load_config(self.env).state_folder / STORE_FILE).unlink()


async def state(services: Services, job: Job, *states: JobState) -> Job:
    """The job, as soon as it is in one of these states."""

    async def ask() -> Job:
        await services.refresh()
        return services.job(job.id)

    return await until(ask, lambda job: job.state in states)


async def started(services: Services, place: Place) -> Mapping[str, Job]:
    """A run of each kind, by what is to be known of it."""
    over = await services.submit(RunSpec(name="over"), ASKED)
    place.let_go(over)
    runs = await services.submit(RunSpec(name="runs"), ASKED)
    sweep = await services.submit(SweepSpec(RunSpec(name="sweep"), {"seed": [0, 1]}), ASKED)
    assert runs.key is not None
    later = replace(ASKED, dependency=f"after:{runs.key.native_id}+99")
    waits = await services.submit(RunSpec(name="waits"), later)
    with pytest.raises(SchedulerError):
        await services.submit(RunSpec(name="refused"), replace(ASKED, account="NOBODY"))
    refused = next(job for job in services.jobs() if job.spec.run.name == "refused")
    over = await state(services, over, JobState.COMPLETED)
    runs = await state(services, runs, JobState.RUNNING)
    # As where sbatch's answer was lost: Slurm alone knows its number.
    for ending in ("status", "out"):
        (place.cluster.state / waits.folder.lstrip("/") / f"submission-1.{ending}").unlink()
    # What a program leaves that is killed before anything came of its submission.
    folder = runs.folder.replace(runs.id, "nevrsb")
    never = replace(runs, id="nevrsb", folder=folder, key=None, status=JobStatus(JobState.SUBMITTING))
    lies = place.cluster.state / folder.lstrip("/")
    lies.mkdir()
    (lies / "job.json").write_text(job_to_json(replace(never, created_at=1e9)))
    return {"over": over, "runs": runs, "waits": waits, "refused": refused, "never": never, "sweep": sweep}


async def test_runs_of_a_store_that_was_thrown_away_come_back_and_nothing_is_submitted(
    cluster: Cluster, tmp_path: Path
) -> None:
    place = Place(cluster, tmp_path)
    async with opened(place.env) as services:
        before = await started(services, place)
    submissions = await until(lambda: place.submissions(before), lambda said: len(said) == 4)
    place.forget()

    status, out, err = await Program(place.env)("runs", "--find", "--json")
    assert status == 0, err
    assert "Found 6 runs that were not known here." in err
    assert {record["job"]["id"] for record in json.loads(out)} == {job.id for job in before.values()}

    # Long after, so that whatever looks as if its submission was cut short would be submitted again.
    async with opened(place.env, later_s=3600) as services:
        assert await services.rediscover() == []
        await services.refresh()
        found = {what: services.job(job.id) for what, job in before.items()}
        assert {what: job.state for what, job in found.items()} == {
            "over": JobState.COMPLETED,
            "runs": JobState.RUNNING,
            "waits": JobState.PENDING,
            "refused": JobState.FAILED,
            "never": JobState.LOST,
            "sweep": JobState.RUNNING,
        }
        for what in ("over", "runs", "waits"):
            assert found[what].key == before[what].key
        assert "Invalid account" in found["refused"].status.reason
        assert "it was never submitted" in found["never"].status.reason
        assert await place.submissions(before) == submissions
        await services.cancel(before["waits"].id)
        for job in (before["runs"], *before["sweep"].members):  # type: ignore[attr-defined]
            place.let_go(job)
        for what in ("runs", "sweep"):
            await state(services, before[what], JobState.COMPLETED)
        assert await place.submissions(before) == submissions


def _halves(line: str) -> tuple[str, str]:
    number, _, token = line.partition("|")
    return number, token
