"""Services on folders of this machine; whole runs are in tests/end_to_end."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from jobs.protocol import Progress, Start, Timing
from jobs.spec import RunSpec
from jobs.writer import EventWriter
from workbench import run_files
from workbench.config import Config, load_config
from workbench.errors import NotAllowed, NotFound, StoreError
from workbench.model.job import Job, JobSpec, JobState, JobStatus
from workbench.model.record import job_to_json
from workbench.services import STORE_FILE, Services, open_services
from workbench.store import Store


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config({"HOME": str(tmp_path)})


def a_job(config: Config, job_id: str = "abc234", state: JobState = JobState.COMPLETED) -> Job:
    """A job with a folder in which 100 evaluations were timed."""
    folder = config.data_folder / "runs" / job_id
    folder.mkdir(parents=True)
    job = Job(job_id, "local", str(folder), JobSpec(RunSpec(name="x")), JobStatus(state), created_at=1.0)
    (folder / "job.json").write_text(job_to_json(job))
    (folder / "stdout.log").write_bytes(b"0123456789")
    with EventWriter(folder / "events.jsonl") as writer:
        writer.emit(Start("benchmark"))
        for index in range(100):
            writer.emit(Timing("reference", 1.0 + index, index=index))
    return job


@asynccontextmanager
async def knowing(config: Config, *jobs: Job) -> AsyncIterator[Services]:
    store = Store(config.state_folder / STORE_FILE)
    for job in jobs:
        store.save(job)
    store.close()
    async with open_services(config) as services:
        yield services


async def test_events_are_kept_and_not_read_twice(config: Config) -> None:
    job = a_job(config)
    async with knowing(config, job) as services:
        assert (await services.fetch_all(job.id)).n_events == 101
    (Path(job.folder) / "events.jsonl").unlink()
    async with knowing(config) as services:
        run = await services.fetch_all(job.id)
        assert run.n_events == 101
        assert run.timings["reference", ""].ys[-1] == 100.0


async def test_a_machine_that_is_too_busy_for_a_fetch_takes_in_everything_all_the_same(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_files, "_FETCH_S", 0.0)
    monkeypatch.setattr(run_files, "_SLICE_BYTES", 1000)
    job = a_job(config)
    async with knowing(config, job) as services:
        assert (await services.fetch_all(job.id)).n_events == 101


class FullStore(Store):
    """A store on a disk that has become full."""

    def append(self, job_id: str, offset: int, data: bytes) -> None:
        raise StoreError("The disk is full.")


@pytest.fixture
def full(config: Config) -> Iterator[Store]:
    store = FullStore(config.state_folder / STORE_FILE)
    yield store
    store.close()


async def test_events_are_shown_although_the_store_is_full(
    config: Config, full: Store, caplog: pytest.LogCaptureFixture
) -> None:
    job = a_job(config)
    full.save(job)
    services = Services(config, full)
    assert (await services.fetch_all(job.id)).n_events == 101
    with EventWriter(Path(job.folder) / "events.jsonl") as writer:
        writer.emit(Progress(1, 2))
    assert (await services.fetch_all(job.id)).n_events == 102
    assert [record.message for record in caplog.records] == [
        "The disk is full. What is heard is shown, and read again at the next start."
    ]


async def test_a_job_that_another_program_saved_is_heard_of(config: Config) -> None:
    job = a_job(config)
    async with knowing(config) as services:
        assert services.jobs() == []
        Store(config.state_folder / STORE_FILE).save(job)
        assert job in await services.refresh()
        assert services.job("abc") == job


async def test_a_job_is_found_by_its_folder_and_what_is_no_record_is_left_out(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    job = a_job(config)
    broken = config.data_folder / "runs" / "broken"
    broken.mkdir()
    (broken / "job.json").write_text("{")
    async with open_services(config) as services:
        await services.refresh()
        assert [known.id for known in services.jobs()] == [job.id]
    assert "broken/job.json is left out" in caplog.text


async def test_a_copy_of_a_runs_folder_is_not_taken_for_another_run(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    job = a_job(config)
    shutil.copytree(job.folder, Path(job.folder).with_name("copied"))
    async with open_services(config) as services:
        assert [found.id for found in await services.rediscover()] == [job.id]
        assert await services.rediscover() == []
    assert "copied/job.json is left out: It is of a run of another name: a copy." in caplog.text


async def test_a_record_of_which_the_values_make_no_sense_is_left_out(config: Config) -> None:
    job = a_job(config)
    record = Path(job.folder) / "job.json"
    record.write_text(record.read_text().replace('"created_at": 1.0', '"created_at": "[red]"'))
    async with open_services(config) as services:
        assert await services.rediscover() == []
        assert services.jobs() == []


async def test_the_log_is_read_from_an_offset_or_its_end(config: Config) -> None:
    job = a_job(config)
    async with knowing(config, job) as services:
        assert (await services.log_chunk(job.id, 4)).data == b"456789"
        assert await services.log(job.id, tail_bytes=3) == b"789"
        assert await services.log(job.id, tail_bytes=99) == b"0123456789"
        (Path(job.folder) / "stdout.log").unlink()
        assert await services.log(job.id) == b""


async def test_an_id_that_could_be_several_jobs_is_refused(config: Config) -> None:
    jobs = a_job(config, "abc234"), a_job(config, "abd234")
    async with knowing(config, *jobs) as services:
        with pytest.raises(NotFound, match="any of 2 jobs"):
            services.job("ab")
        assert services.job("abd").id == "abd234"
        with pytest.raises(NotFound, match="no job ''"):
            services.job("")


async def test_a_job_that_is_over_is_not_cancelled_and_has_no_results_without_the_file(
    config: Config,
) -> None:
    job = a_job(config)
    async with knowing(config, job) as services:
        with pytest.raises(NotAllowed, match="over already"):
            await services.cancel(job.id)
        with pytest.raises(NotAllowed, match="has no results"):
            await services.results(job.id)
        (Path(job.folder) / "results.json").write_text('{"rows": []}')
        assert await services.results(job.id) == {"rows": []}
