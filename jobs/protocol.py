"""Events: the one language in which a run tells what it does.

A run appends events to `events.jsonl` in its folder, one JSON object a line; the local side follows
that file by byte offset and folds what it reads. This module is the whole of the format: the kinds of
event, how they become bytes and how bytes become events again. It needs only the standard library,
because it is imported on a cluster's node, on a laptop and in tests alike. docs/protocol.md is the
specification.

Two rules make it robust. Encoding never produces anything but one line of plain ASCII JSON. Decoding
never raises, whatever the bytes: a line that is no event is counted and passed over, and an event of a
kind or a version that is not known here is kept as `Unknown`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import lru_cache
from types import MappingProxyType, NoneType
from typing import Any, ClassVar, TypeAlias

PROTOCOL_VERSION = 1
MAX_LINE_BYTES = 1 << 20
"""A longer line is passed over, so that a runaway writer cannot exhaust the reader's memory."""
MOST_LEVELS = 32
"""A line that nests deeper is passed over: whoever walks through what it holds has a stack that ends."""

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
Number: TypeAlias = float | None
"""A measured number; None is what a NaN or an infinity becomes on the way."""

_NOTHING: Mapping[str, Json] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Start:
    """The first event of every attempt."""

    KIND: ClassVar[str] = "start"
    experiment: str
    """What is being run: `benchmark`, `profile`, …"""
    name: str = ""
    host: str = ""
    pid: int = 0
    provenance: Mapping[str, Json] = field(default_factory=lambda: _NOTHING)
    """What the numbers of this attempt are measured on: device, threads, versions, code."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the attempt is. `done` of `total` counts work of one size, so an ETA can be drawn from it."""

    KIND: ClassVar[str] = "progress"
    done: int
    total: int
    stage: str = ""


@dataclass(frozen=True, slots=True)
class Timing:
    """One timed evaluation or step."""

    KIND: ClassVar[str] = "timing"
    plan: str
    """Which way of computing was timed: the series it belongs to."""
    ms: Number
    case: str = ""
    """What it was timed on: the name of the structure, or of the step."""
    phase: str = "timed"
    """`first` (compilation and first call), `warm-up`, or `timed`."""
    index: int = 0
    """Counts the evaluations of one plan, case and phase from 0."""
    n_atoms: int = 0
    n_edges: int = 0


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How far one plan's answer is from something held to be right."""

    KIND: ClassVar[str] = "accuracy"
    plan: str
    against: str = "reference"
    """`reference` (the same model in mace-torch, fp64) or `labels` (the data)."""
    case: str = ""
    n_structures: int = 0
    energy_mev_per_atom: Number = None
    """Root mean square over structures, of the error per atom."""
    force_rmse_mev_per_a: Number = None
    force_max_mev_per_a: Number = None
    stress_rmse_mev_per_a3: Number = None
    passed: bool = True
    """False where the error is outside the plan's own tolerance."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of training."""

    KIND: ClassVar[str] = "epoch"
    epoch: int
    total: int = 0
    seconds: Number = None
    metrics: Mapping[str, Json] = field(default_factory=lambda: _NOTHING)
    """By name, with the unit in the name: `valid_force_rmse_mev_per_a`."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What the run uses of its machine at this moment."""

    KIND: ClassVar[str] = "resource"
    cpu_percent: Number = None
    """Of one core: 200 is two busy cores."""
    rss_mb: Number = None
    gpu_percent: Number = None
    gpu_memory_mb: Number = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """From here a later attempt can go on."""

    KIND: ClassVar[str] = "checkpoint"
    path: str
    """Relative to the run's folder."""
    step: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """The run's outcome is in a file, whole."""

    KIND: ClassVar[str] = "result"
    path: str
    """Relative to the run's folder."""
    summary: Mapping[str, Json] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class Caution:
    """Something a reader of the numbers should know."""

    KIND: ClassVar[str] = "warning"
    message: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the attempt cannot go on, as a sentence."""

    KIND: ClassVar[str] = "error"
    message: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The last event of an attempt that ended by itself."""

    KIND: ClassVar[str] = "finish"
    status: str
    """`completed`, `failed` or `stopped` (asked to end before it was done)."""
    exit_code: int = 0
    seconds: Number = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """A kind, a version or a shape that this program does not know: kept, and otherwise ignored."""

    kind: str
    fields: Mapping[str, Json]


Body: TypeAlias = (
    Start | Progress | Timing | Accuracy | Epoch | Resource | Checkpoint | Result | Caution | Failure | Finish
)
KINDS: Mapping[str, type[Body]] = MappingProxyType(
    {
        kind.KIND: kind
        for kind in (
            Start, Progress, Timing, Accuracy, Epoch, Resource, Checkpoint, Result, Caution, Failure, Finish,
        )
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    """One body in its envelope."""

    seq: int
    """Strictly increasing over the whole file, attempts included: the key by which a copy is recognised."""
    attempt: int
    """1 for the first time that the run was started, 2 after a requeue, …"""
    t: float
    """Seconds since 1970, by the clock of the host that wrote it."""
    body: Body | Unknown
    extra: Mapping[str, Json] = field(default_factory=lambda: _NOTHING)
    """Fields of a known kind that this program does not know."""


def encode(event: Event) -> bytes:
    """One line of ASCII JSON, its newline included."""
    body = event.body
    if isinstance(body, Unknown):
        kind, content = body.kind, dict(body.fields)
    else:
        kind, content = body.KIND, {name: getattr(body, name) for name in _FIELDS[type(body)]}
    envelope = {
        "v": PROTOCOL_VERSION,
        "seq": event.seq,
        "attempt": event.attempt,
        "t": event.t,
        "kind": kind,
    }
    return _ENCODER.encode(_finite({**content, **event.extra, **envelope})).encode("ascii") + b"\n"


def decode(line: bytes) -> Event | None:
    """The event in one line, with or without its newline; None where there is none. Never raises."""
    try:
        record = _record(line.decode())
    except (ValueError, RecursionError):  # wrong UTF-8 is a ValueError
        return None
    if record is None:
        return None
    version, seq, attempt = record.pop("v", 0), record.pop("seq", 0), record.pop("attempt", 0)
    t, kind = record.pop("t", None), record.pop("kind", None)
    if not (_is_count(version) and _is_count(seq) and _is_count(attempt)):
        return None
    if type(t) not in (float, int) or type(kind) is not str:
        return None
    body_type = KINDS.get(kind) if version <= PROTOCOL_VERSION else None
    if body_type is None:
        return Event(seq, attempt, float(t), Unknown(kind, record))
    known, extra, fields_of = record, _NOTHING, _FIELDS[body_type]
    if not record.keys() <= fields_of.keys():
        known = {name: value for name, value in record.items() if name in fields_of}
        extra = {name: value for name, value in record.items() if name not in fields_of}
    if not _fits(kind, tuple(known), tuple(map(type, known.values()))):
        return Event(seq, attempt, float(t), Unknown(kind, record))
    return Event(seq, attempt, float(t), body_type(**known), extra)


def _record(text: str) -> dict[str, Any] | None:
    """The object in a line; none where there is no such, or it nests too deep.

    Numbers that no float and no 64 bits hold are None. To have each made by a function of ours takes time,
    and few lines need it.
    """
    try:
        record, end = _QUICK.raw_decode(text)
    except ValueError:  # it begins with a blank, or has a number of thousands of digits
        return _carefully(text)
    if type(record) is not dict or text[end:] not in ("", "\n"):
        return _carefully(text)
    for value in record.values():
        kind = type(value)
        if kind is float:
            if not math.isfinite(value):
                return _carefully(text)
        elif kind is int:
            if not -_MAX_INT <= value <= _MAX_INT:
                return _carefully(text)
        elif kind is dict or kind is list:  # and what is in them is not known
            return _carefully(text)
    return record


def _carefully(text: str) -> dict[str, Any] | None:
    record = _CAREFUL.decode(text)
    return record if type(record) is dict and _is_within(MOST_LEVELS, record) else None


@lru_cache(maxsize=256)
def _fits(kind: str, names: tuple[str, ...], types: tuple[type, ...]) -> bool:
    """Whether fields of these names and types make a body of a kind; a run's events are of few forms."""
    types_of = _FIELDS[KINDS[kind]]
    return _NEEDED[KINDS[kind]] <= set(names) and all(
        type_ in types_of[name] for name, type_ in zip(names, types, strict=True)
    )


class EventDecoder:
    """Turns pieces of the byte stream into events, whatever the cuts.

    Pieces may come late, doubled or out of order, as they do when a link drops: each says at which
    byte it begins, what is already known of it is passed over, and a piece that would leave a gap is
    refused by leaving `offset` where it was, from where the caller reads again.
    """

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        """Of the next byte wanted."""
        self.rejected = 0
        """Lines that were no events."""
        self.line_start = offset
        """Of the first byte that belongs to no complete line yet: from here a later decoder goes on."""
        self._partial = bytearray()
        self._overlong = False

    def feed(self, data: bytes, offset: int | None = None) -> list[Event]:
        """The events completed by `data`, which begins at `offset` (by default where the last one ended)."""
        if offset is not None:
            if offset > self.offset:
                return []
            data = data[self.offset - offset :]
        self.offset += len(data)
        *lines, rest = data.split(b"\n")
        if lines:
            self.line_start = self.offset - len(rest)
        events = []
        for line in lines:
            if self._partial:
                line = bytes(self._partial) + line
                self._partial.clear()
            if self._overlong or len(line) > MAX_LINE_BYTES:
                self._overlong = False
                self.rejected += 1
                continue
            event = decode(line)
            if event is not None:
                events.append(event)
            elif line.strip():
                self.rejected += 1
        if not self._overlong:
            self._partial += rest
        if len(self._partial) > MAX_LINE_BYTES:
            self._partial.clear()
            self._overlong = True
        return events


_MAX_INT = 2**63 - 1
_MOST_DIGITS = len(str(-_MAX_INT))


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value <= _MAX_INT


def _no_number(_name: str) -> None:
    """What `NaN` and `Infinity`, which are no JSON, stand for."""


def _float(text: str) -> Number:
    """The number; `1e999` is valid JSON, and none."""
    value = float(text)
    return value if math.isfinite(value) else None


def _int(text: str) -> int | None:
    """The number; one of more than 64 bits is none, for no float may hold it."""
    value = int(text) if len(text) <= _MOST_DIGITS else None
    return value if value is None or abs(value) <= _MAX_INT else None


def _is_within(levels: int, value: object) -> bool:
    if not isinstance(value, dict | list):
        return True
    items = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_within(levels - 1, item) for item in items)


def _finite(value: Any) -> Json:
    """`value` as JSON can carry it: NaN and infinities become null, mappings and sequences plain."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(item) for item in value]
    return value  # type: ignore[no-any-return]  # json.dumps refuses what is no JSON


_CAREFUL = json.JSONDecoder(parse_constant=_no_number, parse_float=_float, parse_int=_int)
_QUICK = json.JSONDecoder(parse_constant=_no_number)
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_ACCEPTS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "Number": (float, int, NoneType),
    "Mapping[str, Json]": (dict,),
}
"""By a field's annotation, which is the text that stands in this file."""
_FIELDS = {kind: {item.name: _ACCEPTS[str(item.type)] for item in fields(kind)} for kind in KINDS.values()}
_NEEDED = {
    kind: {item.name for item in fields(kind) if item.default is MISSING and item.default_factory is MISSING}
    for kind in KINDS.values()
}
"""Fields that have no default."""
