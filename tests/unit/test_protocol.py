from __future__ import annotations

import json
import math
from dataclasses import fields
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.protocol import (
    KINDS,
    MAX_LINE_BYTES,
    MOST_LEVELS,
    PROTOCOL_VERSION,
    Body,
    Epoch,
    Event,
    EventDecoder,
    Progress,
    Start,
    Timing,
    Unknown,
    decode,
    encode,
)

modest = settings(max_examples=80, deadline=None)

_INTS = st.integers(-(2**63) + 1, 2**63 - 1)
_FINITE = st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | _INTS | _FINITE | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": st.text(st.characters(), max_size=20),
    "bool": st.booleans(),
    "int": _INTS,
    "Number": st.none() | _FINITE,
    "Mapping[str, Json]": st.dictionaries(st.text(max_size=8), _JSON, max_size=3),
}


@st.composite
def bodies(draw: st.DrawFn) -> Body:
    kind = draw(st.sampled_from(list(KINDS.values())))
    return kind(**{item.name: draw(_VALUES[str(item.type)]) for item in fields(kind)})


@st.composite
def events(draw: st.DrawFn) -> Event:
    counts = st.integers(1, 2**63 - 1)
    return Event(draw(counts), draw(counts), draw(_FINITE), draw(bodies()))


def progress(seq: int, attempt: int = 1) -> Event:
    return Event(seq, attempt, 0.5, Progress(seq, 1000, "ä"))


@st.composite
def cuts(draw: st.DrawFn, length: int) -> list[tuple[int, int]]:
    """The stream in pieces, some of them doubled, overlapping or out of order, all of it at the end."""
    places = sorted({0, length, *draw(st.lists(st.integers(0, length), max_size=12))})
    pieces = list(pairwise(places))
    astray = draw(st.lists(st.tuples(st.integers(0, length), st.integers(0, length)), max_size=8))
    for start, end in astray:
        pieces.insert(draw(st.integers(0, len(pieces))), (min(start, end), max(start, end)))
    return pieces


# -- one line ------------------------------------------------------------------------------------


@modest
@given(events())
def test_an_event_survives_the_way_through_bytes(event: Event) -> None:
    line = encode(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert decode(line) == event


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_decoding_never_raises_whatever_the_bytes(line: bytes) -> None:
    event = decode(line)
    assert event is None or encode(event)


@modest
@given(events(), st.data())
def test_a_line_with_one_byte_changed_is_an_event_or_nothing(event: Event, data: st.DataObject) -> None:
    line = bytearray(encode(event))
    line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    changed = decode(bytes(line))
    assert changed is None or (changed.seq > 0 and changed.attempt > 0 and math.isfinite(changed.t))


@modest
@given(events(), st.data())
def test_no_beginning_of_a_line_is_an_event(event: Event, data: st.DataObject) -> None:
    line = encode(event)
    assert decode(line[: data.draw(st.integers(0, len(line) - 2))]) is None


@modest
@given(
    st.dictionaries(
        st.sampled_from(["v", "seq", "attempt", "t", "kind", "done", "total", "stage"]), _JSON
    ).map(lambda changes: {**json.loads(encode(progress(3))), **changes})
)
def test_fields_of_any_type_are_an_event_that_can_be_written_again_or_nothing(record: dict[str, Any]) -> None:
    event = decode(json.dumps(record).encode())
    if event is not None:
        assert type(event.seq) is int
        assert type(event.attempt) is int
        assert type(event.t) is float
        again = decode(encode(event))
        assert again is not None
        assert (again.seq, again.attempt, again.t) == (event.seq, event.attempt, event.t)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_travels_as_null(number: float) -> None:
    event = Event(1, 1, 0.0, Epoch(1, 2, number, {"loss": number, "list": [number]}))
    line = encode(event)
    assert json.loads(line)["seconds"] is None
    assert decode(line) == Event(1, 1, 0.0, Epoch(1, 2, None, {"loss": None, "list": [None]}))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_no_json_has_is_never_let_in_as_one(text: str) -> None:
    line = b'{"v":1,"seq":1,"attempt":1,"t":0,"kind":"timing","plan":"p","ms":%s}' % text.encode()
    event = decode(line)
    assert event is not None
    assert isinstance(event.body, Unknown) or event.body == Timing("p", None)
    assert decode(line.replace(b'"t":0', b'"t":%s' % text.encode())) is None


@pytest.mark.parametrize("text", [b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"-" + b"9" * 5000])
def test_what_no_64_bits_hold_is_null_wherever_it_stands(text: bytes) -> None:
    line = b'{"v":1,"seq":1,"attempt":1,"t":0,"kind":"epoch","epoch":1,"metrics":{"a":@,"b":[@]},"new":@}'
    event = decode(line.replace(b"@", text))
    assert event == Event(1, 1, 0.0, Epoch(1, metrics={"a": None, "b": [None]}), {"new": None})


@pytest.mark.parametrize("levels", [1, MOST_LEVELS, MOST_LEVELS + 1, 900, 100_000])
@pytest.mark.parametrize(("opens", "closes"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_a_line_that_nests_too_deep_is_no_event(levels: int, opens: bytes, closes: bytes) -> None:
    nested = opens * (levels - 1) + b"1" + closes * (levels - 1)  # the event itself is the first level
    event = decode(b'{"v":1,"seq":1,"attempt":1,"t":0,"kind":"new","deep":%s}' % nested)
    assert (event is not None) == (levels <= MOST_LEVELS)


def test_a_line_may_hold_many_lists_beside_each_other() -> None:
    rows = [["plan", 1.5, {}]] * 500
    event = decode(json.dumps({**json.loads(encode(progress(1))), "rows": rows}).encode())
    assert event is not None
    assert event.extra == {"rows": rows}


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\n", b"null", b"[]", b'"text"', b"{}", b"{" * 100_000, b"[" * 100_000, b"\xff\xfe", b"\0" * 50,
        b'{"v":1,"seq":' + b"9" * 5000 + b',"attempt":1,"t":0,"kind":"start","experiment":"x"}',
        b'{"v":1,"seq":1' + b"0" * 30 + b',"attempt":1,"t":0,"kind":"start","experiment":"x"}',
        b'{"v":1,"seq":true,"attempt":1,"t":0,"kind":"start","experiment":"x"}',
        b'{"v":1,"seq":0,"attempt":1,"t":0,"kind":"start","experiment":"x"}',
        b'{"v":1,"seq":1,"attempt":1,"t":null,"kind":"start","experiment":"x"}',
        b'{"v":1,"seq":1,"attempt":1,"t":0,"kind":null}',
        b'{"v":1,"seq":1,"attempt":1,"t":0}',
        b'{"seq":1,"attempt":1,"t":0,"kind":"start","experiment":"x"}',
    ],
    ids=lambda line: repr(line[:40]),
)  # fmt: skip
def test_what_is_no_event_is_none(line: bytes) -> None:
    assert decode(line) is None


def test_a_kind_that_is_not_known_is_kept_with_its_fields() -> None:
    line = b'{"v":1,"seq":4,"attempt":2,"t":1.5,"kind":"weather","wind":[1,{"from":"N"}]}'
    event = decode(line)
    assert event == Event(4, 2, 1.5, Unknown("weather", {"wind": [1, {"from": "N"}]}))
    assert decode(encode(event)) == event


def test_a_newer_version_is_kept_and_not_understood() -> None:
    line = encode(progress(1)).replace(b'"v":1', b'"v":2')
    assert decode(line) == Event(1, 1, 0.5, Unknown("progress", {"done": 1, "total": 1000, "stage": "ä"}))


def test_unknown_fields_of_a_known_kind_are_kept_apart() -> None:
    line = encode(progress(1)).replace(b'"done"', b'"new":[7],"done"')
    event = decode(line)
    assert event == Event(1, 1, 0.5, Progress(1, 1000, "ä"), {"new": [7]})
    assert decode(encode(event)) == event


def test_a_missing_required_field_makes_a_known_kind_unknown() -> None:
    event = decode(b'{"v":1,"seq":1,"attempt":1,"t":0,"kind":"progress","done":3}')
    assert event == Event(1, 1, 0.0, Unknown("progress", {"done": 3}))


def test_the_version_is_the_one_that_is_documented() -> None:
    assert json.loads(encode(Event(1, 1, 0.0, Start("benchmark"))))["v"] == PROTOCOL_VERSION == 1


# -- the stream ----------------------------------------------------------------------------------


@modest
@given(st.lists(events(), max_size=8), st.data())
def test_every_event_comes_exactly_once_whatever_the_cuts(written: list[Event], data: st.DataObject) -> None:
    stream = b"".join(map(encode, written))
    decoder, got = EventDecoder(), []
    for start, end in data.draw(cuts(len(stream))):
        got += decoder.feed(stream[start:end], start)
        assert decoder.line_start <= decoder.offset <= len(stream)
    # What was refused because it would have left a gap is read again from where the decoder stands.
    got += decoder.feed(stream[decoder.offset :], decoder.offset)
    assert got == written
    assert decoder.offset == decoder.line_start == len(stream)
    assert decoder.rejected == 0


@modest
@given(st.lists(events(), min_size=1, max_size=6), st.data())
def test_a_later_decoder_goes_on_at_the_line_where_one_stopped(
    written: list[Event], data: st.DataObject
) -> None:
    stream = b"".join(map(encode, written))
    cut = data.draw(st.integers(0, len(stream)))
    first = EventDecoder()
    got = first.feed(stream[:cut])
    second = EventDecoder(first.line_start)
    got += second.feed(stream[first.line_start :])
    assert got == written


@modest
@given(st.lists(st.binary(max_size=60) | events().map(encode), max_size=10), st.data())
def test_the_answer_does_not_depend_on_the_cuts_whatever_the_bytes(
    pieces: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(pieces)
    at_once = EventDecoder()
    expected = at_once.feed(stream)
    by_byte = EventDecoder()
    assert [event for n in range(len(stream)) for event in by_byte.feed(stream[n : n + 1])] == expected
    assert vars(by_byte) == vars(at_once)
    shuffled, got = EventDecoder(), []
    for start, end in data.draw(cuts(len(stream))):
        got += shuffled.feed(stream[start:end], start)
    got += shuffled.feed(stream[shuffled.offset :], shuffled.offset)
    assert got == expected
    assert vars(shuffled) == vars(at_once)


def test_a_gap_is_refused_and_asked_for_again() -> None:
    stream = encode(progress(1)) + encode(progress(2))
    decoder = EventDecoder()
    assert decoder.feed(stream[10:], 10) == []
    assert decoder.offset == 0
    assert decoder.feed(stream, 0) == [progress(1), progress(2)]


def test_a_torn_last_line_is_no_error_and_is_completed_later() -> None:
    line = encode(progress(1))
    decoder = EventDecoder()
    assert decoder.feed(line[:-5]) == []
    assert (decoder.rejected, decoder.line_start) == (0, 0)
    assert decoder.feed(line[-5:]) == [progress(1)]


def test_lines_that_are_no_events_are_counted_and_passed_over() -> None:
    decoder = EventDecoder()
    stream = (
        b"Traceback (most recent call last):\n" + encode(progress(1)) + b"\n  \n{}\n" + encode(progress(2))
    )
    assert decoder.feed(stream) == [progress(1), progress(2)]
    assert decoder.rejected == 2  # empty lines are nothing at all


@pytest.mark.parametrize("piece", [1000, MAX_LINE_BYTES, 4 * MAX_LINE_BYTES])
def test_an_endless_line_is_passed_over_without_being_kept(piece: int) -> None:
    decoder = EventDecoder()
    stream = encode(progress(1)) + b"x" * (3 * MAX_LINE_BYTES) + b"\n" + encode(progress(2))
    got: list[Event] = []
    for start in range(0, len(stream), piece):
        got += decoder.feed(stream[start : start + piece])
        assert len(decoder._partial) <= MAX_LINE_BYTES
    assert got == [progress(1), progress(2)]
    assert decoder.rejected == 1


def test_a_line_of_just_the_longest_length_is_still_read() -> None:
    def of_length(n: int) -> bytes:
        empty = len(encode(Event(1, 1, 0.0, Start("x", "")))) - 1
        return encode(Event(1, 1, 0.0, Start("x", "n" * (n - empty))))

    for length, expected in [(MAX_LINE_BYTES, 1), (MAX_LINE_BYTES + 1, 0)]:
        line = of_length(length)
        assert len(line) == length + 1
        assert len(EventDecoder().feed(line)) == expected
        pieces = EventDecoder()
        assert len(pieces.feed(line[:-1]) + pieces.feed(line[-1:])) == expected
