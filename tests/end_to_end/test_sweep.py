"""A sweep of real benchmarks, headless: as an array on a real Slurm, and as a queue of this machine."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import site
from tests.cluster.cluster import Cluster

ROOT = Path(__file__).parents[2]
TINY = [
    *("--set", 'parameters.plans=["reference"]'),
    *("--set", "parameters.repeats=3"),
    *("--set", "parameters.n_labelled=2"),
    *("--set", "parameters.sizes=[3]"),
]


class Program:
    """The program without a terminal, for a user with a home of their own."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    async def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        command = [sys.executable, "-m", "workbench", *arguments]
        pipe = asyncio.subprocess.PIPE
        program = await asyncio.create_subprocess_exec(
            *command, env=dict(self._env), cwd=ROOT, stdout=pipe, stderr=pipe
        )
        out, err = await program.communicate()
        return program.returncode or 0, out.decode(), err.decode()


@pytest.fixture
def on_cluster(cluster: Cluster, tmp_path: Path) -> Program:
    """Of a user whose default place is the cluster."""
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(cluster.client)}
    return Program(env)


@pytest.fixture
def here(tmp_path: Path) -> Program:
    return Program({"HOME": str(tmp_path), "PATH": os.environ["PATH"]})


def arrays_of(cluster: Cluster, sweep_id: str) -> set[str]:
    said = cluster.login.run("sacct", "-X", "-n", "-P", "-o", "JobID,Comment", user=site.USER.name).stdout
    rows = [line.split("|") for line in said.splitlines()]
    return {row[0].partition("_")[0] for row in rows if row[1].startswith(f"mw:{sweep_id}:")}


async def values(program: Program, *arguments: str) -> Any:
    _, out, err = await program(*arguments, "--json")
    assert out, err
    return json.loads(out)


async def test_a_sweep_on_slurm_is_one_array_and_its_failed_member_runs_again_alone(
    on_cluster: Program, cluster: Cluster
) -> None:
    axes = ("--sweep", "model=h2co-small,gone.model", "--sweep", "seed=7")
    status, out, err = await on_cluster("submit", "demo", *TINY, *axes, "--wait")
    assert status == 1, err
    assert "1 of 2 members" in out
    assert "measured on model h2co-small" in out
    assert "model=gone.model seed=7: failed:" in err
    (job,) = await values(on_cluster, "jobs")
    assert (job["summary"], job["status"]["state"]) == ("1✓ 1✗", "FAILED")
    sweep_id = job["id"]
    numbers = [member["key"]["native_id"] for member in job["members"]]
    array = numbers[0].partition("_")[0]
    assert numbers == [f"{array}_0", f"{array}_1"]

    status, _, err = await on_cluster("resubmit", sweep_id, "--wait")
    assert (status, "model=gone.model seed=7: failed:" in err) == (1, True)
    (job,) = await values(on_cluster, "jobs")
    assert [member["part"]["submission"] for member in job["members"]] == [1, 2]
    run = await values(on_cluster, "runs", f"{sweep_id}.1")
    assert run["attempt"] == 2
    assert len(arrays_of(cluster, sweep_id)) == 2


async def test_a_sweep_on_this_machine_runs_one_after_the_other_and_prints_one_table(here: Program) -> None:
    status, out, err = await here("submit", "demo", *TINY, "--sweep", "threads=1,2", "--wait")
    assert status == 0, err
    header, *rows = out.partition("\n\n")[0].splitlines()
    assert header.split()[:2] == ["threads", "plan"]
    assert [row.split()[:2] for row in rows] == [["1", "reference"], ["2", "reference"]]
    assert "2 of 2 members" in out
    (sweep,) = await values(here, "runs")
    ends = [
        (member["job"]["status"]["started_at"], member["job"]["status"]["ended_at"])
        for member in sweep["members"]
    ]
    assert ends[0][1] <= ends[1][0]
    assert sweep["summary"]["measured_on"]["threads"] == "1, 2"
    _, out, _ = await here("jobs")
    (line,) = [line for line in out.splitlines() if sweep["job"]["id"] in line]
    assert "2✓" in line


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--sweep", "sed=1"), "cannot go over 'sed'"),
        (("--sweep", "seed"), "no axis of a sweep"),
        (("--sweep", "seed=0..2000"), "1,000 values at most"),
        (("--sweep", "seed=0..99", "--sweep", "threads=1..99"), "9,900 members .100 seed × 99 threads."),
        (("--sweep", "seed=1", "--sweep", "seed=2"), "axis seed twice"),
    ],
)
async def test_what_cannot_be_swept_is_said_in_one_sentence(
    here: Program, arguments: tuple[str, ...], sentence: str
) -> None:
    status, out, err = await here("submit", "demo", *arguments)
    assert (status, out) == (1, "")
    assert re.search(sentence, err)
    assert err.count("\n") == 1
