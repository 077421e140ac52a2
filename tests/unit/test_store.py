from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.spec import RunSpec
from workbench.errors import StoreError
from workbench.model.job import Job, JobKey, JobSpec, JobState, JobStatus, Resources
from workbench.model.record import job_from_json, job_to_json
from workbench.store import Store


def a_job(job_id: str = "abc234", state: JobState = JobState.PENDING) -> Job:
    return Job(
        id=job_id,
        profile="local",
        folder=f"/work folder/runs/{job_id}",
        spec=JobSpec(RunSpec(name="a | name\nwith ünicode"), Resources(time_limit_s=60)),
        status=JobStatus(state),
        created_at=1.5,
        key=JobKey("this machine", "77", 2.5),
    )


def test_a_job_is_the_same_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "store.sqlite"
    store = Store(path)
    store.save(a_job())
    store.close()
    assert Store(path).jobs()[0] == [a_job()]


def test_only_what_changed_since_a_revision_is_given(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.save(a_job("one"))
    store.save(a_job("two"))
    _, revision = store.jobs()
    assert store.jobs(revision) == ([], revision)
    over = replace(a_job("one"), status=JobStatus(JobState.COMPLETED))
    store.save(over)
    jobs, newer = store.jobs(revision)
    assert jobs == [over]
    assert newer > revision


@settings(max_examples=40, deadline=None)
@given(
    data=st.binary(min_size=1, max_size=60), cuts=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)))
)
def test_pieces_put_together_are_a_beginning_of_the_file_whatever_the_cuts(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cuts: list[tuple[int, int]]
) -> None:
    store = Store(tmp_path_factory.mktemp("store") / "store")
    for offset, length in cuts:
        store.append("job", offset, data[offset : offset + length])
    kept = store.pieces("job")
    together = b"".join(piece for _, piece in kept)
    assert data.startswith(together)
    assert [offset for offset, _ in kept] == [
        len(b"".join(piece for _, piece in kept[:index])) for index in range(len(kept))
    ]
    store.append("job", len(together), data[len(together) :])
    assert b"".join(piece for _, piece in store.pieces("job")) == data
    store.close()


def test_pieces_from_an_offset_begin_with_the_one_that_holds_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.append("job", 0, b"0123")
    store.append("job", 4, b"456789")
    assert store.pieces("job", 4) == [(4, b"456789")]
    assert store.pieces("job", 3) == [(0, b"0123"), (4, b"456789")]
    assert store.pieces("job", 10) == []


def test_a_file_that_is_no_store_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "store"
    path.write_bytes(b"this is no database, and it is longer than a header would be" * 20)
    store = Store(path)
    assert store.jobs() == ([], 0)
    store.save(a_job())
    assert "moved to" in caplog.text
    assert [aside for aside in tmp_path.iterdir() if ".broken-" in aside.name]


def test_a_store_of_a_newer_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store"
    Store(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreError, match="newer mace-workbench"):
        Store(path)
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA user_version").fetchone() == (99,)
    database.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"file/store.*XDG_STATE_HOME"):
        Store(tmp_path / "file" / "store")


def test_a_record_that_cannot_be_read_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store"
    store = Store(path)
    store.save(a_job("one"))
    store.save(a_job("two"))
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("UPDATE jobs SET record = '{\"v\": 1}' WHERE id = 'one'")
    database.close()
    assert [job.id for job in store.jobs()[0]] == ["two"]
    assert "one" in caplog.text


def test_threads_and_programs_write_one_store_without_losing_anything(tmp_path: Path) -> None:
    path = tmp_path / "store"
    store = Store(path)
    script = (
        "import sys; from pathlib import Path; from tests.unit.test_store import a_job, Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for i in range(50): store.save(a_job(f'other-{i}'))\n"
    )
    other = subprocess.Popen([sys.executable, "-c", script, str(path)], env={**os.environ, "PYTHONPATH": "."})

    def save(name: str) -> None:
        for i in range(50):
            store.save(a_job(f"{name}-{i}"))

    threads = [threading.Thread(target=save, args=(f"thread-{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.wait(timeout=60) == 0
    jobs, revision = store.jobs()
    assert len(jobs) == 200
    assert revision == 200


@pytest.mark.parametrize(
    "record",
    ["", "[]", "null", '{"v": 1}', "\x00", json.dumps({**json.loads(job_to_json(a_job())), "status": 3})],
)
def test_what_is_no_record_is_refused_with_a_sentence(record: str) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        job_from_json(record)


def test_a_record_of_a_newer_program_says_so() -> None:
    record = {**json.loads(job_to_json(a_job())), "v": 2}
    with pytest.raises(StoreError, match="version 2"):
        job_from_json(json.dumps(record))
