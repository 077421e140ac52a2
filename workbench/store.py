"""The local store: every job, and a copy of every run's events, in one SQLite file.

The truth about a run is its folder on the host. What is here lets the program start at once, without
asking anybody, and may be thrown away: jobs are found again by their folders. Events are kept as the
pieces of bytes that were read, each at its offset, so that replaying them is following the run anew.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.errors import StoreError
from workbench.model.job import Job
from workbench.model.record import job_from_json, job_to_json

log = logging.getLogger(__name__)

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE jobs (id TEXT PRIMARY KEY, revision INTEGER NOT NULL, record TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX jobs_by_revision ON jobs (revision);
CREATE TABLE pieces (
    job TEXT NOT NULL, start INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (job, start)
) WITHOUT ROWID;
"""
_REQUESTS = """
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    what TEXT NOT NULL, record TEXT NOT NULL, taken_until REAL NOT NULL
)
"""
"""Beside the rest, so that programs of either age can use a store that the other has made."""
_BUSY_TIMEOUT_S = 5.0


class Store:
    """Jobs and events on this machine's disk. Safe to use from several threads and several programs."""

    def __init__(self, path: Path) -> None:
        """Open or make the store. A file that is no store is moved aside, and said so in the log.

        Raises:
            StoreError: The folder cannot be written, or a newer program made the store.
        """
        self._path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._database = self._open()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                aside = path.with_name(f"{path.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}")
                path.rename(aside)
                log.warning("%s was no store (%s): moved to %s, jobs are found anew.", path, error, aside)
                self._database = self._open()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"The local store {path} cannot be used ({error}): free some space, mend its permissions, "
                "or set XDG_STATE_HOME to another folder."
            ) from error

    def jobs(self, after: int = 0) -> tuple[list[Job], int]:
        """The jobs saved since revision `after`, and the newest revision.

        A record that cannot be read is passed over and logged.
        """
        with self._transaction() as database:
            rows = database.execute(
                "SELECT id, revision, record FROM jobs WHERE revision > ? ORDER BY revision", (after,)
            ).fetchall()
        jobs = []
        for job_id, revision, record in rows:
            after = revision
            try:
                jobs.append(job_from_json(record))
            except StoreError as error:
                log.warning("Job %s is left out: %s", job_id, error)
        return jobs, after

    def save(self, *jobs: Job) -> None:
        """Keep jobs as they are now, all or none."""
        with self._transaction(writes=True) as database:
            database.executemany(
                "INSERT OR REPLACE INTO jobs SELECT ?, coalesce(max(revision), 0) + 1, ? FROM jobs",
                [(job.id, job_to_json(job)) for job in jobs],
            )

    def append(self, job_id: str, offset: int, data: bytes) -> None:
        """Keep the part of `data`, which begins at `offset` of the run's events, that is not kept yet."""
        with self._transaction(writes=True) as database:
            end = self._end(database, job_id)
            if offset <= end < offset + len(data):
                database.execute("INSERT INTO pieces VALUES (?, ?, ?)", (job_id, end, data[end - offset :]))

    def pieces(self, job_id: str, offset: int = 0) -> list[tuple[int, bytes]]:
        """What is kept of a run's events from the piece that holds `offset` on: offsets and bytes."""
        with self._transaction() as database:
            return database.execute(
                "SELECT start, data FROM pieces WHERE job = ? AND start + length(data) > ? ORDER BY start",
                (job_id, offset),
            ).fetchall()

    # -- the outbox --------------------------------------------------------------------------------

    def requests(self) -> list[tuple[int, str, str]]:
        """What waits to be carried out: number, what it is, and the job's record, in the order of asking."""
        with self._transaction() as database:
            return database.execute("SELECT number, what, record FROM requests ORDER BY number").fetchall()

    def put_request(self, what: str, record: str) -> None:
        """Keep something that is to be carried out."""
        with self._transaction(writes=True) as database:
            database.execute(
                "INSERT INTO requests (what, record, taken_until) VALUES (?, ?, 0)", (what, record)
            )

    def take_request(self, number: int, now: float, until: float) -> bool:
        """Have a request for oneself until some time; false where it is taken, or not there any more."""
        with self._transaction(writes=True) as database:
            taken = database.execute(
                "UPDATE requests SET taken_until = ? WHERE number = ? AND taken_until <= ?",
                (until, number, now),
            )
            return taken.rowcount == 1

    def free_request(self, number: int) -> None:
        """Leave a request to whoever comes next."""
        with self._transaction(writes=True) as database:
            database.execute("UPDATE requests SET taken_until = 0 WHERE number = ?", (number,))

    def drop_request(self, number: int) -> None:
        """Forget a request: it was carried out, or is not wanted any more."""
        with self._transaction(writes=True) as database:
            database.execute("DELETE FROM requests WHERE number = ?", (number,))

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._database.close()

    @staticmethod
    def _end(database: sqlite3.Connection, job_id: str) -> int:
        row = database.execute(
            "SELECT start + length(data) FROM pieces WHERE job = ? ORDER BY start DESC LIMIT 1", (job_id,)
        ).fetchone()
        return int(row[0]) if row else 0

    @contextmanager
    def _transaction(self, *, writes: bool = False) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
                try:
                    yield self._database
                except BaseException:
                    self._database.execute("ROLLBACK")
                    raise
                self._database.execute("COMMIT")
            except sqlite3.Error as error:
                raise StoreError(f"The local store {self._path} cannot be used: {error}.") from error

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(
            self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("BEGIN IMMEDIATE")
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version > _SCHEMA_VERSION:
                raise StoreError(
                    f"The local store {self._path} was made by a newer mace-workbench: update this one, "
                    "or set XDG_STATE_HOME to another folder."
                )
            if version == 0:
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            database.execute(_REQUESTS)
            database.execute("COMMIT")
        except BaseException:
            database.close()
            raise
        return database
