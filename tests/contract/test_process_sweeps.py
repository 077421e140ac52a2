"""Sweeps without Slurm: the services on a real queue of processes of this machine.

What a member runs is a stand-in for Python, quick and told by files what to do; a sweep of real benchmarks
is in tests/end_to_end.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from jobs.spec import RunSpec
from jobs.sweep import SweepSpec
from tests.waiting import until
from workbench.config import Config, load_config
from workbench.errors import NotAllowed, NotFound, SchedulerError
from workbench.model.job import JobState, Resources
from workbench.model.sweep import Sweep, folded
from workbench.services import Services, open_services

STAND_IN = """\
#!/bin/sh
case "$*" in *jobs.detach*) exec {python} "$@" ;; esac
case "$*" in *.py*) exec {python} "$@" ;; esac
echo "attempt in $PWD by $*"
[ ! -e {marks}/wait ] || until [ -e go ]; do sleep 0.02; done
[ ! -e {marks}/fail-"${{PWD##*/}}" ]
"""
THREE = SweepSpec(RunSpec(name="a question?"), {"seed": (0, 1, 2)})
DONE, FAILED, WAITS, RUNS = JobState.COMPLETED, JobState.FAILED, JobState.PENDING, JobState.RUNNING


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """Where files tell the members what to do: `wait` for `go` in their folders, `fail-INDEX`."""
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


@pytest.fixture
def config(tmp_path: Path, marks: Path) -> Config:
    python = tmp_path / "python"
    python.write_text(STAND_IN.format(python=sys.executable, marks=marks))
    python.chmod(0o755)
    folder = tmp_path / ".config" / "mace-workbench"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(f'[profiles.local]\npython = "{python}"\n')
    return load_config({"HOME": str(tmp_path)})


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[Services]:
    async with open_services(config) as services:
        yield services
        for job in folded(services.jobs()):
            if not job.state.is_over:
                await services.cancel(job.id)


async def submitted(services: Services, spec: SweepSpec = THREE) -> Sweep:
    sweep = await services.submit(spec, Resources())
    assert isinstance(sweep, Sweep)
    return sweep


async def until_sweep(services: Services, sweep: Sweep, holds: Callable[[Sweep], bool]) -> Sweep:
    async def ask() -> Sweep:
        await services.refresh()
        known = services.job(sweep.id)
        assert isinstance(known, Sweep)
        return known

    return await until(ask, holds)


async def ended(services: Services, sweep: Sweep) -> Sweep:
    return await until_sweep(services, sweep, lambda known: known.state.is_over)


def states(sweep: Sweep) -> list[JobState]:
    return [member.state for member in sweep.members]


def left(sweep: Sweep, name: str) -> list[Path]:
    return list(Path(sweep.folder).glob(f"*/{name}"))


def attempts(sweep: Sweep) -> list[int]:
    return [(Path(m.folder) / "stdout.log").read_text().count("attempt in") for m in sweep.members]


async def test_members_run_one_after_the_other_each_in_its_folder(config: Config) -> None:
    async with opened(config) as services:
        sweep = await ended(services, await submitted(services))
        assert states(sweep) == [DONE] * 3
        times = [(member.status.started_at or 0, member.status.ended_at or 0) for member in sweep.members]
        assert times == sorted(times)
        assert all(end <= start for (_, end), (start, _) in pairwise(times))
        for index, member in enumerate(sweep.members):
            folder = Path(member.folder)
            assert folder == Path(sweep.folder) / str(index)
            assert RunSpec.from_json((folder / "spec.json").read_text()).seed == index
            assert (
                await services.log(member.id)
            ) == f"attempt in {folder} by -m jobs.benchmark spec.json\n".encode()


async def test_failed_members_alone_start_again_in_the_same_sweep(config: Config, marks: Path) -> None:
    (marks / "fail-1").touch()
    async with opened(config) as services:
        sweep = await ended(services, await submitted(services))
        assert states(sweep) == [DONE, FAILED, DONE]
        (marks / "fail-1").unlink()
        again = await services.resubmit(sweep.id)
        assert again.id == sweep.id
        sweep = await ended(services, sweep)
        assert states(sweep) == [DONE] * 3
        assert attempts(sweep) == [1, 2, 1]
        assert [member.part.submission for member in sweep.members if member.part] == [1, 2, 1]
        assert len(services.jobs()) == 3
        with pytest.raises(NotAllowed, match=f"No member of the sweep {sweep.id} has failed .3✓."):
            await services.resubmit(sweep.id)
        one = await services.requeue(sweep.members[2].id)
        assert (one.id, one.state.is_over) == (sweep.members[2].id, False)
        assert attempts(await ended(services, sweep)) == [1, 2, 2]


async def test_one_member_is_cancelled_and_then_the_whole_sweep(config: Config, marks: Path) -> None:
    (marks / "wait").touch()
    async with opened(config) as services:
        sweep = await until_sweep(services, await submitted(services), lambda known: states(known)[0] == RUNS)
        assert sweep.summary == "1▶ 2○"
        await services.cancel(sweep.members[1].id)
        sweep = await until_sweep(services, sweep, lambda known: known.members[1].state.is_over)
        assert states(sweep) == [RUNS, JobState.CANCELLED, WAITS]
        with pytest.raises(NotAllowed, match="is not over"):
            await services.resubmit(sweep.members[0].id)
        await services.cancel(sweep.id)
        sweep = await ended(services, sweep)
        assert states(sweep) == [JobState.CANCELLED] * 3
        assert sweep.members[2].status.started_at is None
        with pytest.raises(NotAllowed, match="over already"):
            await services.cancel(sweep.id)


async def test_a_sweep_is_found_again_by_its_folder(config: Config) -> None:
    async with opened(config) as services:
        sweep = await ended(services, await submitted(services))
    (config.state_folder / "store.sqlite").unlink()
    async with opened(config) as services:
        found = await ended(services, sweep)
        assert (found.id, found.over, found.spec.name) == (sweep.id, sweep.over, sweep.spec.name)
        assert states(found) == [DONE] * 3
        assert [member.folder for member in found.members] == [member.folder for member in sweep.members]


async def test_a_sweep_and_its_members_are_named_by_the_beginning_of_their_ids(
    config: Config, marks: Path
) -> None:
    (marks / "wait").touch()
    async with opened(config) as services:
        sweep = await submitted(services, SweepSpec(RunSpec(), {"seed": tuple(range(11))}))
        assert isinstance(services.job(sweep.id), Sweep)
        assert isinstance(services.job(sweep.id[:5]), Sweep)
        assert services.job(f"{sweep.id}.1").id == f"{sweep.id}.1"
        assert services.job(f"{sweep.id}.10").id == f"{sweep.id}.10"
        with pytest.raises(NotFound, match="any of 11 jobs"):
            services.job(f"{sweep.id}.")


async def test_what_only_a_member_has_is_not_asked_of_a_sweep(config: Config) -> None:
    async with opened(config) as services:
        sweep = await ended(services, await submitted(services))
        for asked in (services.log(sweep.id), services.results(sweep.id)):
            with pytest.raises(NotAllowed, match=f"is a sweep of 3 runs.*name one, as {sweep.id}.0"):
                await asked
        run = await services.fetch_all(sweep.id)
        assert run.progress is not None
        assert run.progress.done == run.progress.total


async def test_a_sweep_that_is_refused_says_so_and_starts_when_it_is_asked_for_again(config: Config) -> None:
    async with opened(config) as services:
        config.data_folder.mkdir(parents=True)
        (config.data_folder / "queue").write_text("in the way of the queue")
        with pytest.raises(SchedulerError, match="submit"):
            await services.submit(THREE, Resources())
        sweep = services.job(services.jobs()[0].id.partition(".")[0])
        assert isinstance(sweep, Sweep)
        assert states(sweep) == [FAILED] * 3
        assert left(sweep, "exit.json") == []
        (config.data_folder / "queue").unlink()
        again = await services.resubmit(sweep.id)
        assert isinstance(again, Sweep)
        assert states(await ended(services, again)) == [DONE] * 3


async def test_members_that_wait_say_behind_how_many(config: Config, marks: Path) -> None:
    (marks / "wait").touch()
    async with opened(config) as services:
        sweep = await until_sweep(
            services, await submitted(services), lambda known: known.members[0].state == RUNS
        )
        assert [member.status.reason for member in sweep.members[1:]] == [
            "waits for a slot, 1 before it",
            "waits for a slot, 2 before it",
        ]
