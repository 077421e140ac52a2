from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs import clean
from jobs.spec import RunSpec
from tests.waiting import until
from workbench.model.job import Job, JobSpec, JobState, JobStatus, Resources
from workbench.remote import bundle
from workbench.remote.bundle import DeployedCode
from workbench.remote.local import LocalConnection
from workbench.schedulers.process import ProcessScheduler

NOW = time.time()
DAY_S = 86400.0
OLD, LATELY = 40 * DAY_S, 10 * DAY_S
KEEP = "f" * 16


def name(number: int) -> str:
    return f"{number:016x}"


def made(path: Path, age_s: float) -> None:
    os.utime(path, (NOW - age_s, NOW - age_s))


def code(work: Path, number: int, age_s: float) -> Path:
    folder = work / "code" / name(number)
    (folder / "jobs").mkdir(parents=True)
    (folder / "jobs/entry.py").write_text("pass\n")
    made(folder, age_s)
    return folder


def run(work: Path, run_id: str, number: int, age_s: float, *files: str) -> Path:
    """A run's folder; of `files` each is younger than the one before."""
    folder = work / "runs" / run_id
    folder.mkdir(parents=True)
    (folder / "run.sh").write_text(f"export PYTHONPATH={work}/code/{name(number)}\n")
    for place, file in enumerate(("run.sh", *files)):
        (folder / file).touch()
        made(folder / file, age_s - place)
    return folder


def left(work: Path) -> list[str]:
    return sorted(path.name for path in (work / "code").iterdir())


def test_what_is_old_goes_and_so_do_all_but_the_newest_five(tmp_path: Path) -> None:
    code(tmp_path, 0xF, OLD)
    for number, age_s in enumerate([DAY_S, DAY_S, DAY_S, DAY_S, DAY_S, LATELY, LATELY, OLD], 1):
        code(tmp_path, number, age_s)
    (tmp_path / "code/mine").mkdir()
    made(tmp_path / "code/mine", OLD)
    assert sorted(clean.clean(str(tmp_path), name(0xF), NOW)) == [name(6), name(7), name(8)]
    assert left(tmp_path) == [*map(name, range(1, 6)), name(0xF), "mine"]


def test_a_few_that_are_not_old_stay(tmp_path: Path) -> None:
    for number in range(4):
        code(tmp_path, number, LATELY)
    assert clean.clean(str(tmp_path), KEEP, NOW) == []


@pytest.mark.parametrize(
    ("files", "age_s", "stays"),
    [
        (["state.json"], OLD, True),
        (["exit.json", "state.json"], OLD, True),  # started once more
        (["state.json", "exit.json"], OLD, False),
        (["state.json", "exit.json"], LATELY, True),  # may be requeued
        ([], OLD, True),  # of Slurm, which cannot be asked here
        (["exit.json"], OLD, True),
    ],
)
def test_code_stays_as_long_as_a_run_may_need_it(
    tmp_path: Path, files: list[str], age_s: float, stays: bool
) -> None:
    code(tmp_path, 1, OLD)
    run(tmp_path, "a run's", 1, age_s, *files)
    clean.clean(str(tmp_path), KEEP, NOW)
    assert (left(tmp_path) == [name(1)]) is stays


@pytest.mark.parametrize("files", [[], ["exit.json"]])
def test_slurm_is_believed_where_it_can_be_asked(
    tmp_path: Path, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code(tmp_path, 1, OLD)
    code(tmp_path, 2, OLD)
    queued = run(tmp_path, "queued", 1, OLD, *files)
    run(tmp_path, "over", 2, OLD, *files)
    squeue = tmp_path / "bin/squeue"
    squeue.parent.mkdir()
    squeue.write_text(f"#!/bin/sh\necho '{queued}'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{squeue.parent}:/usr/bin:/bin")
    assert clean.clean(str(tmp_path), KEEP, NOW) == [name(2)]
    squeue.write_text("#!/bin/sh\nexit 1\n")
    code(tmp_path, 2, OLD)
    assert clean.clean(str(tmp_path), KEEP, NOW) == []


def test_code_that_is_touched_while_it_is_taken_away_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code(tmp_path, 1, OLD)
    move = clean._moved

    def touch_first(source: str, target: str) -> bool:
        made(Path(source), 0)
        return move(source, target)

    monkeypatch.setattr(clean, "_moved", touch_first)
    assert clean.clean(str(tmp_path), KEEP, NOW) == []
    assert left(tmp_path) == [name(1)]


def test_a_run_that_comes_while_its_code_is_taken_away_gets_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code(tmp_path, 1, OLD)
    move = clean._moved

    def and_a_run_comes(source: str, target: str) -> bool:
        if not (tmp_path / "runs").exists():
            run(tmp_path, "new", 1, 0)
        return move(source, target)

    monkeypatch.setattr(clean, "_moved", and_a_run_comes)
    assert clean.clean(str(tmp_path), KEEP, NOW) == []
    assert left(tmp_path) == [name(1)]


def test_a_cleaning_that_was_cut_off_is_finished_by_the_next(tmp_path: Path) -> None:
    for number in (1, 2):
        code(tmp_path, number, OLD).rename(tmp_path / "code" / f".away-{name(number)}")
    (tmp_path / "code/.gone-1234/jobs").mkdir(parents=True)
    run(tmp_path, "a", 2, OLD, "state.json")
    assert clean.clean(str(tmp_path), KEEP, NOW) == [name(1)]
    assert left(tmp_path) == [name(2)]


def test_many_cleanings_at_once_leave_what_is_needed(tmp_path: Path) -> None:
    for number in range(20):
        code(tmp_path, number, OLD)
    run(tmp_path, "a", 7, OLD, "state.json")
    argv = [sys.executable, "-E", "-S", clean.__file__, str(tmp_path), name(8)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: subprocess.run(argv, capture_output=True, check=False), range(4)))
    assert [each.returncode for each in done] == [0] * 4, done
    assert left(tmp_path) == [name(7), name(8)]


def test_a_work_folder_without_code_or_runs_is_fine(tmp_path: Path) -> None:
    assert clean.clean(str(tmp_path), KEEP, NOW) == []
    code(tmp_path, 1, OLD)
    assert clean.clean(str(tmp_path), KEEP, NOW) == [name(1)]


@pytest.fixture
async def connection() -> AsyncIterator[LocalConnection]:
    connection = LocalConnection()
    yield connection
    await connection.close()


async def test_a_deployment_leaves_the_code_of_a_job_that_goes_on(
    tmp_path: Path, connection: LocalConnection
) -> None:
    used, unused = code(tmp_path, 1, OLD), code(tmp_path, 2, OLD)
    deployed = DeployedCode(connection, str(tmp_path))
    scheduler = ProcessScheduler(connection, deployed, str(tmp_path), python=sys.executable)
    folder = tmp_path / "runs/a"
    spec = JobSpec(RunSpec(name="a"), Resources(time_limit_s=300))
    job = Job("a", "local", str(folder), spec, JobStatus(JobState.SUBMITTING), created_at=NOW)
    # The first deployment, which is the scheduler's own, cleans too.
    used_by = f"import sys, time; print({str(used)!r}); sys.stdout.flush(); time.sleep(300)"
    folder.mkdir(parents=True)
    (folder / "run.sh").write_text(f"# {used}\n")
    await scheduler.submit(job, [sys.executable, "-c", used_by], {"PYTHONPATH": str(used)})
    assert not unused.exists()
    for file in folder.iterdir():
        made(file, OLD)  # it has said nothing for a long time
    target = Path(await bundle.deploy(connection, str(tmp_path / "code")))
    made(code(tmp_path, 3, OLD), OLD)
    argv = ["python3", "-E", "-S", f"{target}/jobs/clean.py", str(tmp_path), target.name]
    assert (await connection.run(argv)).stdout.decode().split() == [name(3)]
    assert left(tmp_path) == sorted([used.name, target.name])
    await scheduler.cancel(job)

    async def ended() -> bool:
        return (await scheduler.poll([job]))[job.id].state.is_over

    await until(ended)
    for place, file in enumerate(sorted(folder.iterdir(), key=lambda file: file.name == "exit.json")):
        made(file, OLD - place)
    assert (await connection.run(argv)).stdout.decode().split() == [used.name]
