"""The columns of a cluster's queue: what they hold, how wide they are and how they order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from workbench.model.queue import QueueEntry
from workbench.plain import plain
from workbench.report import duration, in_a_while
from workbench.widgets import words


@dataclass(frozen=True, slots=True)
class QueueColumn:
    """One column."""

    title: str
    width: int
    """In columns of the terminal; of one that stretches its least."""
    text: Callable[[QueueEntry, float], str]
    """What it says of an entry at a time."""
    order: Callable[[QueueEntry, float], Any]
    """By what it orders, the smaller first."""
    right: bool = False
    stretches: int = 0
    """Its part of the room that is left."""
    rank: int = 0
    """The columns with the highest rank go first where room is short."""
    moves: bool = False
    """Whether the order changes while time goes on."""


def state_text(entry: QueueEntry) -> str:
    """Symbol and word; a job that is held says so."""
    return words.HELD if entry.held_by else words.state_text(entry.state)


def _times(entry: QueueEntry, now: float) -> str:
    """Of a job that waits when it is expected to start, else how long it has left."""
    if entry.waits:
        return in_a_while(entry.started_at, now)
    return duration(entry.left_s(now)) if entry.left_s(now) is not None else ""


def _size(entry: QueueEntry) -> str:
    return f"{entry.n_nodes or '?'}/{entry.n_cpus or '?'}"


def _why(entry: QueueEntry, _now: float) -> str:
    return plain(entry.why or entry.node)


COLUMNS: Sequence[QueueColumn] = (
    QueueColumn("id", 10, lambda entry, _: plain(entry.id), lambda entry, _: -(entry.submitted_at or 0.0)),
    QueueColumn("state", 12, lambda entry, _: state_text(entry), lambda entry, _: _urgency(entry)),
    QueueColumn("name", 12, lambda entry, _: plain(entry.name), lambda e, _: e.name.lower(), stretches=1),
    QueueColumn(
        "run", 6, lambda entry, _: plain(entry.run_id), lambda e, _: (not e.run_id, e.run_id), rank=2
    ),
    QueueColumn("partition", 9, lambda e, _: plain(e.partition), lambda e, _: e.partition.lower(), rank=3),
    QueueColumn("qos", 7, lambda entry, _: plain(entry.qos), lambda entry, _: entry.qos.lower(), rank=5),
    QueueColumn("n/cpus", 6, lambda e, _: _size(e), lambda e, _: -(e.n_cpus or 0), right=True, rank=4),
    QueueColumn(
        "elapsed",
        8,
        lambda entry, now: duration(entry.elapsed_s(now)) if entry.elapsed_s(now) is not None else "",
        lambda entry, now: -(entry.elapsed_s(now) or 0.0),
        right=True,
        moves=True,
    ),
    QueueColumn("left/in", 9, _times, lambda entry, now: _end_or_start(entry, now), right=True),
    QueueColumn("why / where", 14, _why, lambda entry, now: _why(entry, now), stretches=2),
    QueueColumn("folder", 16, lambda e, _: plain(e.folder), lambda e, _: e.folder, stretches=1, rank=6),
)


@cache
def layout(width: int) -> Sequence[tuple[QueueColumn, int]]:
    """The columns that fit into `width`, each with its own width; there is a blank between them."""
    chosen = list(COLUMNS)
    while _needed(chosen) > width and any(column.rank for column in chosen):
        chosen.remove(max(chosen, key=lambda column: column.rank))
    spare, parts = max(0, width - _needed(chosen)), sum(column.stretches for column in chosen)
    widths = [column.width + spare * column.stretches // parts for column in chosen]
    return list(zip(chosen, widths, strict=True))


def _needed(columns: Sequence[QueueColumn]) -> int:
    return sum(column.width + 1 for column in columns) - 1


def _urgency(entry: QueueEntry) -> tuple[bool, bool, str, bool]:
    return (entry.state.is_over, entry.waits, entry.state.value, bool(entry.held_by))


def _end_or_start(entry: QueueEntry, now: float) -> tuple[bool, float]:
    at = entry.started_at if entry.waits else entry.ended_at
    return (entry.waits, (at or now + 1e9) - now)


def ordered(
    entries: Sequence[QueueEntry], column: QueueColumn, now: float, *, reverse: bool = False
) -> list[QueueEntry]:
    """The jobs by a column; the newest first among equals."""
    newest = sorted(entries, key=lambda entry: -(entry.submitted_at or 0.0))
    return sorted(newest, key=lambda entry: column.order(entry, now), reverse=reverse)


def matching(entries: Sequence[QueueEntry], wanted: str) -> Sequence[QueueEntry]:
    """The jobs in whose text every one of the words stands."""
    parts = wanted.lower().split()
    if not parts:
        return entries
    texts = map(_search_text, entries)
    return [entry for entry, text in zip(entries, texts, strict=True) if all(part in text for part in parts)]


@lru_cache(maxsize=1 << 15)
def _search_text(entry: QueueEntry) -> str:
    said = f"{entry.id} {state_text(entry)} {entry.said_state} {entry.name} {entry.run_id} {entry.partition} "
    return plain(f"{said}{entry.qos} {entry.account} {entry.node} {entry.reason} {entry.folder}").lower()
