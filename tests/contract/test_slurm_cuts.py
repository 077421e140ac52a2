"""A submission whose link is cut at any moment of it: one job, whatever the moment.

The link goes through a relay, which cuts it after each of the pieces that a submission is made of, in both
directions, and in the middle of each. Then the program goes on as it does by itself, and Slurm and the
run's folder are asked how many jobs there are.

`MACE_CUT_ROUNDS=20` goes through all moments so many times; `MACE_CUT_SEED` tries a printed order again.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from jobs.spec import RunSpec
from tests.cluster import site
from tests.cluster.cluster import Cluster
from tests.contract.ssh import Laptop
from tests.relay import SPLITTABLE, Cut, Way, relayed
from tests.waiting import until
from workbench.config import load_config
from workbench.errors import WorkbenchError
from workbench.model.job import Job, Resources
from workbench.services import STORE_FILE, Services
from workbench.store import Store

ROUNDS = int(os.environ.get("MACE_CUT_ROUNDS", "1"))
SEED = int(os.environ.get("MACE_CUT_SEED", random.randrange(10**6)))
LATER_S = 60.0
"""So long after a cut the program takes the submission up again; its clock is put forward by that."""
PLAIN_LENGTHS = site.Login("plain-lengths", 2241, "publickey")
BRIEF = Resources(time_limit_s=60)


class Person:
    """Somebody who submits, and whose link is cut."""

    def __init__(self, laptop: Laptop, env: dict[str, str]) -> None:
        config = load_config(env)
        self.ahead_s = 0.0
        self.services = Services(
            config, Store(config.state_folder / STORE_FILE), clock=lambda: time.time() + self.ahead_s
        )

    async def submit(self, name: str) -> Job:
        """Ask for a run once; the job as the program knows it after that, whatever happened."""
        with suppress(WorkbenchError):
            await self.services.submit(RunSpec(name=name), BRIEF)
        (job,) = [job for job in self.services.jobs() if job.spec.name == name]
        return job

    async def reconcile(self, job: Job) -> Job:
        """Let the program find out by itself what became of it."""
        self.ahead_s += LATER_S

        async def ask() -> Job:
            with suppress(WorkbenchError):  # where the link that was cut is noticed only now
                # By itself the link comes back more and more slowly, with so many cuts.
                await self.services.reconnect("cluster")
                await self.services.refresh()
            return self.services.job(job.id)

        return await until(ask, lambda known: known.key is not None)


@pytest.mark.timeout(120 * ROUNDS)
async def test_a_submission_that_is_cut_at_any_message_makes_one_job(
    cluster: Cluster, tmp_path: Path
) -> None:
    laptop = Laptop(cluster, tmp_path)
    cluster.start_login(PLAIN_LENGTHS, f"Ciphers {SPLITTABLE}")
    async with relayed(cluster.address, PLAIN_LENGTHS.port, messages=True) as relay:
        person = Person(laptop, dict(laptop.program(laptop.through(relay), python="true")))
        try:
            await person.submit("logs in and deploys")
            relay.count()
            jobs = [await person.submit("counts the pieces")]
            moments = [
                Cut(way, after, half)
                for way, n_pieces in relay.pieces.items()
                for after, half in itertools.product(range(n_pieces), (False, True))
            ] * ROUNDS
            random.Random(SEED).shuffle(moments)
            n_cut = 0
            for number, moment in enumerate(moments):
                cut = Cut(moment.way, moment.after, moment.half)
                relay.count(cut)
                job = await person.submit(f"cut {number}")
                relay.count()
                n_cut += cut.done.is_set()
                jobs.append(await person.reconcile(job))
        finally:
            await person.services.close()
    print(f"{n_cut} of {len(moments)} submissions were cut, MACE_CUT_SEED={SEED}")  # noqa: T201
    assert {moment.way for moment in moments} == set(Way)
    assert n_cut > len(moments) // 2  # of the rest the pieces came together, so that there were fewer
    tokens = {f"mw:{job.id}:1" for job in jobs}
    found = await until(lambda: known_to_slurm(cluster, tokens), lambda found: found.keys() == tokens)
    assert set(found.values()) == {1}
    for job in jobs:
        assert job.key is not None
        assert await until(lambda job=job: claims(cluster, job)) == [job.key.native_id]  # type: ignore[misc]


async def known_to_slurm(cluster: Cluster, tokens: set[str]) -> Counter[str]:
    """How many jobs there are, or were, by their tokens."""
    listing = ["sacct", "-X", "-n", "-P", "-S", "now-1day", "--format=JobID,Comment"]
    rows = cluster.login.run(*listing, user=site.USER.name).stdout.splitlines()
    comments = [comment for _, _, comment in (row.partition("|") for row in dict.fromkeys(rows))]
    return Counter(comment for comment in comments if comment in tokens)


async def claims(cluster: Cluster, job: Job) -> list[str]:
    """The numbers of the jobs that have taken the run on, once one has."""
    found = (cluster.state / job.folder.lstrip("/")).glob("claim-*")
    return [str(claim.readlink()) for claim in found]
