from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.protocol import Caution, Event, EventDecoder, Finish, Progress, Start, encode
from jobs.writer import EventWriter, WriterBusy

ROOT = Path(__file__).parents[2]
_ENDLESS = """
import sys
from jobs.protocol import Progress
from jobs.writer import EventWriter
with EventWriter(sys.argv[1]) as writer:
    n = 0
    while True:
        n += 1
        writer.emit(Progress(n, 10**9, "x" * (n % 500)))
"""
_SMALL_FILES = """
import resource, sys
from jobs.protocol import Progress
from jobs.writer import EventWriter
writer = EventWriter(sys.argv[1])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
n = 0
try:
    while True:
        n += 1
        writer.emit(Progress(n, 100))
except OSError as error:
    failed = n
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
writer.emit(Progress(100, 100))
print(failed)
"""


def events_in(path: Path) -> list[Event]:
    return EventDecoder().feed(path.read_bytes())


def child(script: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def assert_in_order(events: list[Event]) -> None:
    seqs = [event.seq for event in events]
    assert seqs == sorted(set(seqs))
    attempts = [event.attempt for event in events]
    assert attempts == sorted(attempts)


def test_events_are_numbered_on_over_attempts(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for attempt in (1, 2, 3):
        with EventWriter(path, clock=lambda: 7.5) as writer:
            assert writer.attempt == attempt
            start, finish = Start("benchmark", str(attempt)), Finish("completed")
            assert writer.emit(start) == Event(2 * attempt - 1, attempt, 7.5, start)
            assert writer.emit(finish, durable=True) == Event(2 * attempt, attempt, 7.5, finish)
    assert [event.seq for event in events_in(path)] == [1, 2, 3, 4, 5, 6]


def test_a_file_torn_at_any_byte_of_its_last_lines_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventWriter(path) as writer:
        for n in range(4):
            writer.emit(Progress(n, 4, 'ends "in" {brackets}'))
    whole, events = path.read_bytes(), events_in(path)
    for length in range(len(whole) - 2 * len(encode(events[-1])), len(whole) + 1):
        path.write_bytes(whole[:length])
        survived = EventDecoder().feed(whole[:length] + b"\n")
        with EventWriter(path) as writer:
            added = [writer.emit(Start("benchmark")), writer.emit(Caution("again"))]
            assert writer.attempt == 2
        assert path.read_bytes().startswith(whole[:length])
        assert events_in(path) == [*survived, *added]
        assert_in_order(events_in(path))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.binary(max_size=40) | st.integers(1, 99).map(lambda n: encode(Event(n, n, 0.0, Progress(n, n)))),
        max_size=8,
    )
)
def test_whatever_is_in_the_file_new_events_are_readable_after_it(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("writer") / "events.jsonl"
    path.write_bytes(b"".join(pieces))
    before = EventDecoder().feed(b"".join(pieces) + b"\n")
    with EventWriter(path) as writer:
        added = writer.emit(Start("benchmark"))
    assert events_in(path) == [*before, added]
    if before:
        assert (added.seq, added.attempt) == (before[-1].seq + 1, before[-1].attempt + 1)


def test_the_last_event_is_found_before_megabytes_of_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(encode(Event(41, 3, 0.0, Progress(1, 2))) + b"rubbish\n" * 200_000 + b"x" * 300_000)
    with EventWriter(path) as writer:
        assert writer.emit(Start("benchmark")).seq == 42
        assert writer.attempt == 4


def test_a_writer_killed_at_work_loses_nothing_that_a_reader_had(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    seen: list[Event] = []
    decoder = EventDecoder()
    for attempt in (1, 2, 3):
        process = child(_ENDLESS, path)
        enough = decoder.offset + random.Random(attempt).randrange(20_000, 60_000)
        while not path.exists() or path.stat().st_size < enough:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with path.open("rb") as file:
            file.seek(decoder.offset)
            seen += decoder.feed(file.read())
        assert seen[-1].attempt == attempt
    with EventWriter(path) as writer:
        last = writer.emit(Finish("completed"))
    assert last.attempt == 4
    assert events_in(path)[: len(seen)] == seen
    assert events_in(path)[-1] == last
    assert_in_order(events_in(path))
    for attempt in (1, 2, 3):
        done = [event.body.done for event in events_in(path) if event.attempt == attempt]  # type: ignore[union-attr]
        assert done == list(range(1, len(done) + 1))


def test_a_full_disk_raises_and_costs_only_the_event_that_did_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    process = child(_SMALL_FILES, path)
    said, _ = process.communicate()
    assert process.returncode == 0
    failed = int(said)
    assert failed > 3
    events = events_in(path)
    assert [event.body for event in events] == [
        *(Progress(n, 100) for n in range(1, failed)),
        Progress(100, 100),
    ]
    assert_in_order(events)


def test_a_device_that_is_full_raises(tmp_path: Path) -> None:
    link = tmp_path / "events.jsonl"
    link.symlink_to("/dev/full")
    with EventWriter(link) as writer, pytest.raises(OSError, match="No space left"):
        writer.emit(Start("benchmark"))


def test_two_writers_never_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventWriter(path) as writer:
        with pytest.raises(WriterBusy, match="already going"):
            EventWriter(path)
        writer.emit(Start("benchmark"))
    with EventWriter(path) as writer:
        assert writer.attempt == 2


def test_a_writer_in_another_process_is_noticed_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    process = child(_ENDLESS, path)
    while not path.exists() or path.stat().st_size < 1000:
        assert process.poll() is None
    with pytest.raises(WriterBusy, match=str(path)):
        EventWriter(path)
    process.kill()
    process.communicate()
    with EventWriter(path) as writer:
        assert writer.attempt == 2


def test_threads_write_whole_lines_with_numbers_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventWriter(path) as writer:

        def write(stage: str) -> None:
            for n in range(300):
                writer.emit(Progress(n, 300, stage))

        threads = [threading.Thread(target=write, args=(stage,)) for stage in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    events = events_in(path)
    assert [event.seq for event in events] == list(range(1, 1201))
    for stage in "abcd":
        mine = [event.body.done for event in events if event.body.stage == stage]  # type: ignore[union-attr]
        assert mine == list(range(300))


def test_a_folder_that_is_not_there_raises_and_leaves_no_file_open(tmp_path: Path) -> None:
    before = open_files()
    with pytest.raises(FileNotFoundError):
        EventWriter(tmp_path / "missing" / "events.jsonl")
    assert open_files() == before
