"""`init` and `doctor` as a user starts them, against a real Slurm behind a real sshd."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import site
from tests.cluster.cluster import Cluster
from tests.contract.test_slurm_scheduler import Nobody
from tests.waiting import until
from workbench.config import load_config
from workbench.init import survey
from workbench.model.job import Job, JobState
from workbench.remote import asyncssh_connection
from workbench.remote.ssh_config import SshTarget
from workbench.services import open_services

ROOT = Path(__file__).parents[2]


@dataclass
class Laptop:
    """A user's home folder, and the program started from there."""

    home: Path
    cluster: Cluster

    @property
    def config(self) -> Path:
        return self.home / ".config/mace-workbench/config.toml"

    @property
    def env(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": os.environ["PATH"]}

    async def program(self, *arguments: str) -> tuple[int, str, str]:
        """Its exit status, results and progress."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "workbench", *arguments, cwd=ROOT, env=self.env,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def init(self, name: str, *arguments: str) -> tuple[int, str, str]:
        where = ["--host", "login", "--ssh-config", str(self.cluster.ssh_config)]
        return await self.program("init", name, *where, *arguments)


@pytest.fixture
def laptop(cluster: Cluster, tmp_path: Path) -> Laptop:
    return Laptop(tmp_path, cluster)


def noisy(laptop: Laptop) -> Path:
    """The ssh_config of a user whose dotfiles print."""
    config = laptop.home / "ssh_config"
    config.write_text(f"User {site.NOISY_USER.name}\n{laptop.cluster.ssh_config.read_text()}")
    return config


async def test_a_profile_is_written_from_what_the_cluster_says_and_runs_a_job(laptop: Laptop) -> None:
    status, out, told = await laptop.init("csd3", "--json")
    assert status == 0, told
    written = json.loads(out)
    assert written["changed"] is True
    assert "mace-sl3-cpu on icelake (2 nodes of 76 cores" in written["not_asked"]["Account and partition"]
    profile = load_config(laptop.env).profile()
    assert (profile.name, profile.scheduler, profile.account) == ("csd3", "slurm", "mace-sl3-cpu")
    assert (profile.partition, profile.time_limit_minutes) == ("icelake", 720)
    assert profile.work_folder == "/home/mw123/rds/hpc-work/mace-workbench"
    status, out, err = await laptop.program("submit", "demo", "--json")
    assert status == 0, err
    job_id = json.loads(out)["id"]
    async with open_services(load_config(laptop.env)) as services:

        async def ask() -> Job:
            await services.refresh()
            return services.job(job_id)

        job = await until(ask, lambda job: job.state.is_over)
        # It went through the queue to a node, where the site's own Python lacks torch, as init has said.
        assert job.state == JobState.FAILED
        assert job.status.node in site.CPU_NODES
        assert b"No module named" in await services.log(job_id)
    assert "it lacks something; `mace-workbench doctor csd3 --create-env`" in told


async def test_a_profile_that_is_there_is_shown_and_kept_unless_the_user_is_sure(laptop: Laptop) -> None:
    laptop.config.parent.mkdir(parents=True)
    mine = '# mine\n[profiles.csd3]\nconnection = "local" # by hand\n\n[profiles.other]\nslots = 3\n'
    laptop.config.write_text(mine)
    arguments = ("--connection", "openssh")
    status, _, err = await laptop.init("csd3", *arguments)
    assert status == 1
    assert '-connection = "local" # by hand\n+connection = "openssh" # by hand' in err
    assert "left as it is: choose another name" in err
    assert laptop.config.read_text() == mine
    status, out, err = await laptop.init("csd3", *arguments, "--yes")
    assert (status, out.strip()) == (0, str(laptop.config)), err
    text = laptop.config.read_text()
    assert text.startswith('# mine\n[profiles.csd3]\nconnection = "openssh" # by hand\nhost = "login"\n')
    assert text.endswith("\n\n[profiles.other]\nslots = 3\n")
    assert [path.name for path in laptop.config.parent.iterdir()] == ["config.toml"]
    status, _, err = await laptop.init("csd3", *arguments)
    assert (status, laptop.config.read_text()) == (0, text)


async def test_a_name_that_cannot_be_one_is_refused_before_anybody_is_asked(laptop: Laptop) -> None:
    status, _, err = await laptop.init("a b")
    assert (status, err) == (
        1,
        "mace-workbench: 'a b' cannot be the name of a profile: use letters, digits, - and _.\n",
    )


async def test_dotfiles_that_print_do_not_get_into_the_profile(laptop: Laptop) -> None:
    config = str(noisy(laptop))
    status, _, err = await laptop.program("init", "noisy", "--host", "login", "--ssh-config", config)
    assert status == 0, err
    assert load_config(laptop.env).profile("noisy").account == "mace-sl3-cpu"
    assert "Welcome" not in laptop.config.read_text()


async def test_the_doctor_looks_at_the_scheduler_and_names_what_it_refuses(laptop: Laptop) -> None:
    await laptop.init("csd3", "--yes")
    _, out, err = await laptop.program("doctor", "csd3", "--json")
    found = {finding["subject"]: finding for finding in json.loads(out)}
    assert found["sbatch"]["found"].startswith("slurm"), err
    assert found["a job"]["good"], found["a job"]
    assert "not known" in found["quota"]["found"]
    assert not found["torch"]["good"]
    laptop.config.write_text(laptop.config.read_text().replace('"icelake"', '"ampere"'))
    status, out, _ = await laptop.program("doctor", "csd3", "--json")
    refused = {finding["subject"]: finding for finding in json.loads(out)}["a job"]
    assert (status, refused["good"]) == (1, False)
    assert "--partition=ampere" in refused["found"]
    assert "change account, partition, qos" in refused["advice"]


async def test_an_environment_is_made_on_the_cluster_and_put_into_the_profile(laptop: Laptop) -> None:
    await laptop.init("csd3", "--yes")
    make = ("doctor", "csd3", "--create-env", "envs/tiny", "--requirement", "pip")
    status, out, _ = await laptop.program(*make, "--dry-run")
    folder = "/home/mw123/rds/hpc-work/mace-workbench/envs/tiny"
    assert (status, out.splitlines()) == (
        0,
        [f"python3 -m venv {folder}", f"{folder}/bin/python -m pip install --progress-bar=off pip"],
    )
    status, out, err = await laptop.program(*make)
    assert (status, out) == (0, f'python = "{folder}/bin/python"\n'), err
    assert "Requirement already satisfied: pip" in err
    assert "was left as it is" in err
    assert load_config(laptop.env).profile("csd3").python == "/usr/bin/python3"
    status, _, err = await laptop.program(*make, "--yes")
    assert status == 0, err
    assert load_config(laptop.env).profile("csd3").python == f"{folder}/bin/python"


async def test_what_login_shells_alone_know_is_found(laptop: Laptop) -> None:
    # The test cluster has neither modules nor conda: these stand for them, as a site's profile defines them.
    home = laptop.cluster.state / f"home/{site.NOISY_USER.name}"
    profile = home / ".bash_profile"
    before = profile.read_text()
    stand_ins = (
        "module() { printf '/sw:\\npython/3.11\\ngromacs/1\\n' >&2; }\n"
        'conda() { "$CONDA_EXE" "$@"; }\nexport CONDA_EXE=$HOME/conda\n'
        "export SCRATCH=/tmp MODULESHOME=$HOME/modules\n"
    )
    (home / "modules/init").mkdir(parents=True)
    (home / "modules/init/bash").touch()
    (home / "conda").write_text('#!/bin/sh\nprintf \'{"envs": [\\n  "/opt/none"\\n]}\'\n')
    (home / "conda").chmod(0o755)
    profile.write_text(before + stand_ins)
    try:
        connection = await asyncssh_connection.connect(SshTarget("login", noisy(laptop)), Nobody())
        found = await survey(connection)
        await connection.close()
    finally:
        profile.write_text(before)
    assert found.modules == ["python/3.11"]
    assert found.module_init
    assert found.conda == ["/opt/none"]
    assert [folder.path for folder in found.folders][:2] == ["/home/noisy1/rds/hpc-work", "/tmp"]
