"""The answers of Slurm's commands, as values. Pure: whatever the bytes, nothing here raises.

Names, comments and folders are whatever somebody has typed. So every answer is asked for with `Marks`,
separators that nobody can have foreseen, and is cut at those alone.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache

from workbench.model.job import JobState
from workbench.model.queue import QueueEntry
from workbench.ports import StartEstimate
from workbench.schedulers.slurm.states import ending, explained, job_state

QUEUE_FIELDS = (
    "%F", "%K", "%T", "%r", "%V", "%S", "%e", "%N", "%P", "%q", "%a", "%D", "%C", "%l", "%Z", "%k", "%j"
)  # fmt: skip
"""For `squeue -o`: in the order of `QueueEntry`, names last."""
ACCOUNT_FIELDS = (
    "JobID", "State", "ExitCode", "Submit", "Start", "End", "NodeList", "Comment", "JobName"
)  # fmt: skip
"""For `sacct --format`."""
_NOTHING = frozenset({"", "N/A", "None", "NONE", "(null)", "Unknown", "UNLIMITED", "None assigned"})
_CUT = "\udcff"
"""A lone surrogate: decoding makes none."""
_FIRST_TIME = 1.0
_LAST_TIME = 4102444800.0


@dataclass(frozen=True, slots=True)
class Marks:
    """Separators of one answer."""

    record: str
    field: str

    @classmethod
    def new(cls) -> Marks:
        """Such as are in no text yet, and mean nothing to a shell or in a regular expression."""
        nonce = secrets.token_hex(4)
        return cls(record=f"~r{nonce}", field=f"~f{nonce}")


@dataclass(frozen=True, slots=True)
class AccountEntry:
    """What the accounting says of one job."""

    native_id: str
    state: JobState
    said_state: str
    exit_code: int | None
    submitted_at: float | None
    started_at: float | None
    ended_at: float | None
    node: str
    token: str


@dataclass(frozen=True, slots=True)
class Sentinel:
    """What the batch script left in the run's folder when it ended."""

    native_id: str
    state: JobState
    exit_code: int
    started_at: float | None
    ended_at: float | None
    node: str
    attempt: int


@dataclass(frozen=True)
class Answer:
    """One poll."""

    queue: Sequence[QueueEntry] = ()
    accounts: Mapping[str, AccountEntry] = field(default_factory=dict)
    """By job id."""
    sentinels: Mapping[str, Sentinel] = field(default_factory=dict)
    """By our own id of the job."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Of `squeue` and `sacct`: what they said where they failed."""
    now: float | None = None
    """By the host's clock; none where the answer is cut short."""
    entries: Mapping[str, QueueEntry] = field(default_factory=dict)
    """The queue by what was said of each job: what is said again need not be read again."""

    @cached_property
    def by_number(self) -> Mapping[str, Sequence[QueueEntry]]:
        """The queue by the number of the job; an array's parts share one."""
        named = defaultdict(list)
        for entry in self.queue:
            named[entry.native_id].append(entry)
        return named

    @cached_property
    def by_token(self) -> Mapping[str, Sequence[QueueEntry]]:
        """The queue by `mw:ID`, of the jobs whose token says whose they are."""
        named = defaultdict(list)
        for entry in self.queue:
            if entry.token.startswith("mw:"):
                named[entry.token.rpartition(":")[0]].append(entry)
        return named

    def of_task(self, name: str, index: int) -> Sequence[QueueEntry]:
        """What the queue says of one task of an array, by the array's number or `mw:ID`."""
        if name not in self._tasks:
            self._tasks[name] = defaultdict(list)
            for entry in self.by_number.get(name) or self.by_token.get(name, ()):
                for task in parse_tasks(entry.tasks):
                    self._tasks[name][task].append(entry)
        return self._tasks[name].get(index, ())

    @cached_property
    def _tasks(self) -> dict[str, defaultdict[int, list[QueueEntry]]]:
        return {}


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a submission: `job`, `refused`, `unclear`."""

    outcome: str
    native_id: str = ""
    cluster: str = ""
    said: str = ""
    at: float | None = None


def parse_answer(data: bytes, marks: Marks, before: Answer | None = None) -> Answer:
    """The answer of `poll.sh`; what has not changed since the one `before` is taken from there."""
    known = before.entries if before is not None else {}
    entries: dict[str, QueueEntry] = {}
    queue: list[QueueEntry] = []
    accounts: dict[str, AccountEntry] = {}
    sentinels: dict[str, Sentinel] = {}
    failures: dict[str, str] = {}
    now = None
    # The separators are others each time; what stands for them here is in no text that was decoded.
    text = data.decode(errors="replace").replace(marks.field, _CUT)
    for record in text.split(marks.record)[1:]:
        record = record.removesuffix("\n")
        entry = known.get(record)
        if entry is not None:
            entries[record] = entry
            queue.append(entry)
            continue
        kind, *rest = record.split(_CUT)
        if kind == "queue" and len(rest) == len(QUEUE_FIELDS):
            entries[record] = entry = _queue_entry(rest)
            queue.append(entry)
        elif kind == "accounts":
            accounts.update(_accounts(_CUT.join(rest)))
        elif kind == "sentinel" and len(rest) == 2:
            sentinel = parse_sentinel(rest[1])
            if sentinel is not None:
                sentinels[rest[0]] = sentinel
        elif kind == "failed" and len(rest) == 2:
            failures[rest[0]] = rest[1].strip()
        elif kind == "now" and rest:
            now = parse_time(rest[0])
    return Answer(queue, accounts, sentinels, failures, now, entries)


def parse_submitted(data: bytes, marks: Marks) -> Submitted | None:
    """The answer of `submit.sh`; none where it is cut short."""
    for kind, rest in parse_records(data, marks):
        if kind == "job" and len(rest) == 2:
            native_id, _, cluster = rest[0].strip().partition(";")
            if re.fullmatch(r"\d+", native_id, re.ASCII):
                return Submitted("job", native_id, cluster, at=parse_time(rest[1]))
            return Submitted("unclear", said=f"sbatch answered {rest[0].strip()!r}")
        if kind in ("refused", "unclear") and len(rest) == 1:
            return Submitted(kind, said=rest[0].strip())
    return None


def parse_estimate(said: str) -> StartEstimate:
    """What `sbatch --test-only` says on its stderr."""
    found = re.search(r"to start at (\S+) using .*? (?:on nodes|on) (\S+)(?: in partition (\S+))?", said)
    if not found:
        return StartEstimate(None, "", "", said.strip())
    return StartEstimate(parse_time(found[1]), found[2], found[3] or "", said.strip())


def parse_sentinel(text: str) -> Sentinel | None:
    """The content of `exit.json`; none where it is no such thing."""
    try:
        record = json.loads(text)
        state, code, attempt = JobState(record["state"]), record["exit_code"], record["attempt"]
        if not state.is_over or type(code) is not int or type(attempt) is not int:
            return None
        return Sentinel(
            native_id=str(record["job"]),
            state=state,
            exit_code=code,
            started_at=parse_time(str(record["started_at"])),
            ended_at=parse_time(str(record["ended_at"])),
            node=str(record["node"]),
            attempt=attempt,
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def parse_tasks(text: str) -> Iterator[int]:
    """The tasks of an array as Slurm writes them: `7`, `0-3,8%2`, `[0-9:3]`; none where it says none."""
    for part in text.strip("[]").partition("%")[0].split(","):
        found = re.fullmatch(r"(\d{1,7})(?:-(\d{1,7})(?::(\d{1,7}))?)?", part.strip(), re.ASCII)
        if found:
            first, step = int(found[1]), int(found[3] or 1) or 1
            yield from range(first, int(found[2] or first) + 1, step)


@lru_cache(maxsize=4096)
def parse_time(text: str) -> float | None:
    """Seconds since 1970, from the same in digits or from ISO 8601 in UTC; none for no time."""
    text = text.strip()
    if text in _NOTHING:
        return None
    try:
        if re.fullmatch(r"\d{1,12}(\.\d+)?", text, re.ASCII):
            seconds = float(text)
        else:
            seconds = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if _FIRST_TIME <= seconds <= _LAST_TIME else None


@lru_cache(maxsize=256)
def parse_duration(text: str) -> float | None:
    """Seconds, from `2-03:04:05`, `3:04:05` or `4:05`; none for no limit."""
    found = re.fullmatch(r"(?:(?:(\d{1,5})-)?(\d{1,4}):)?(\d{1,4}):(\d{1,2})", text.strip(), re.ASCII)
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((24 * days + hours) * 60 + minutes) * 60 + seconds)


def parse_exit(text: str) -> int | None:
    """A `code:signal` of sacct as a shell's exit status."""
    found = re.fullmatch(r"(\d{1,5}):(\d{1,3})", text.strip(), re.ASCII)
    if not found:
        return None
    code, signal = int(found[1]), int(found[2])
    return 128 + signal if signal else code


def parse_records(data: bytes, marks: Marks) -> Iterator[tuple[str, list[str]]]:
    """Kind and fields of each record; the newline that ends one is not part of it."""
    for record in data.decode(errors="replace").split(marks.record)[1:]:
        kind, *rest = record.removesuffix("\n").split(marks.field)
        yield kind, rest


def _queue_entry(fields: Sequence[str]) -> QueueEntry:
    native_id, tasks, said, reason, submitted, started, ended, node, *more, name = fields
    partition, qos, account, n_nodes, n_cpus, limit, folder, token = more
    state = job_state(said)
    if said == "CONFIGURING":
        reason = said
    reason = _text(reason)
    return QueueEntry(
        native_id=native_id,
        tasks=_text(tasks),
        state=state,
        said_state=said,
        reason=reason,
        why=ending(state, said) if state.is_over else explained(reason),
        submitted_at=parse_time(submitted),
        started_at=parse_time(started),
        ended_at=parse_time(ended),
        node=_text(node),
        partition=_text(partition),
        qos=_text(qos),
        account=_text(account),
        n_nodes=_whole(n_nodes),
        n_cpus=_whole(n_cpus),
        time_limit_s=parse_duration(limit),
        folder=folder,
        token=_text(token),
        name=name,
    )


def _accounts(text: str) -> Iterator[tuple[str, AccountEntry]]:
    # A name with a newline makes lines that have not as many fields, and are passed over.
    for line in text.split("\n"):
        fields = line.split(_CUT)
        if len(fields) != len(ACCOUNT_FIELDS):
            continue
        native_id, said, exit_code, submitted, started, ended, node, token, _ = fields
        state = job_state(said)
        entry = AccountEntry(
            native_id=native_id,
            state=state,
            said_state=said,
            exit_code=parse_exit(exit_code) if state.is_over else None,
            submitted_at=parse_time(submitted),
            started_at=parse_time(started),
            ended_at=parse_time(ended),
            node=_text(node),
            token=_text(token),
        )
        yield native_id, entry
        array, several, tasks = native_id.partition("_[")
        if several:  # tasks that never started are told of together
            yield from ((f"{array}_{task}", entry) for task in parse_tasks(tasks))


@lru_cache(maxsize=256)
def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None


def _text(value: str) -> str:
    return "" if value in _NOTHING else value
