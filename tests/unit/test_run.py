from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.protocol import (
    KINDS,
    Accuracy,
    Body,
    Caution,
    Event,
    EventDecoder,
    Failure,
    Finish,
    Progress,
    Resource,
    Result,
    Start,
    Timing,
    Unknown,
)
from tests.tui.recorded import job
from workbench import report
from workbench.model.run import Run
from workbench.provenance import facts_of
from workbench.widgets import words

_NUMBERS = st.floats() | st.integers() | st.sampled_from([1e308, -1e308, 5e-324, 2**63 - 1, 10**400])
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """A line of any kind with any values in the fields that it has, of the right type or not."""
    kind = draw(st.sampled_from(list(KINDS.values())))
    likely = {
        "str": st.sampled_from(["a", "reference", "timed", ""]),
        "Mapping[str, Json]": st.dictionaries(st.sampled_from(["columns", "rows", "a"]), _JSON, max_size=3),
        "bool": st.booleans(),
    }
    values = {item.name: draw(likely.get(str(item.type), _NUMBERS) | _JSON) for item in fields(kind)}
    return {**values, "v": 1, "kind": kind.KIND, "attempt": draw(st.integers(1, 2)), "t": draw(_NUMBERS)}


def events(*bodies: Body | Unknown, attempt: int = 1, first: int = 1, t: float = 100.0) -> list[Event]:
    return [Event(first + index, attempt, t + index, body) for index, body in enumerate(bodies)]


def test_a_run_adds_up_its_events() -> None:
    run = Run()
    run.apply_all(
        events(
            Start("benchmark", provenance={"device": "cpu"}),
            Progress(1, 4, "warm-up"),
            Timing("reference", 10.0, case="a", phase="first"),
            Timing("reference", 8.0, case="a"),
            Timing("reference", 9.0, case="a", index=1),
            Accuracy("fast", force_rmse_mev_per_a=0.01),
            Resource(cpu_percent=99.0, rss_mb=500.0),
            Caution("mind this"),
            Result("results.json", {"rows": []}),
            Finish("completed"),
        )
    )
    assert run.provenance == {"device": "cpu"}
    assert run.timings["reference", "a"].ys.tolist() == [8.0, 9.0]
    assert run.accuracies["fast", "", "reference"].force_rmse_mev_per_a == 0.01
    assert run.rss_mb.ys.tolist() == [500.0]
    assert run.notes == ["mind this"]
    assert run.result is not None
    assert run.finish == Finish("completed")
    assert run.n_events == 10


def test_an_event_seen_before_changes_nothing() -> None:
    run = Run()
    heard = events(Start("benchmark"), Timing("p", 1.0), Unknown("new-kind", {"x": 1}))
    assert run.apply_all(heard)
    assert not run.apply_all(heard)
    assert run.n_events == 3
    assert len(run.timings["p", ""]) == 1


def test_a_new_attempt_measures_anew_and_keeps_its_warnings() -> None:
    run = Run()
    run.apply_all(events(Start("benchmark"), Timing("p", 1.0), Caution("slow disk"), Failure("killed")))
    run.apply_all(events(Start("benchmark"), Timing("p", 2.0), attempt=2, first=5))
    assert run.attempt == 2
    assert run.timings["p", ""].ys.tolist() == [2.0]
    assert run.failure is None
    assert run.notes == ["slow disk"]


def test_the_rest_is_estimated_at_the_pace_of_late() -> None:
    run = Run()
    rests = []
    for event in (
        *events(Start("benchmark"), Progress(0, 100)),
        Event(3, 1, 140.0, Progress(1, 100)),  # it has loaded and compiled for a while
        Event(4, 1, 141.0, Progress(5, 100)),
        Event(5, 1, 161.0, Progress(41, 100)),
        Event(6, 1, 261.0, Progress(42, 100)),  # another plan was compiled
        Event(7, 1, 262.0, Progress(52, 100)),
        Event(8, 1, 263.0, Finish("completed")),
    ):
        run.apply(event)
        rests.append(run.eta_s)
    assert rests == [None, None, None, 95 / 4, 21.0 * 59 / 40, 100.0 * 58, 48 / 10, None]


def test_at_most_two_hundred_warnings_are_kept() -> None:
    run = Run()
    run.apply_all(events(*(Caution(str(index)) for index in range(500))))
    assert run.notes == [str(index) for index in range(300, 500)]


@settings(max_examples=150, deadline=None)
@given(st.lists(records(), max_size=12))
def test_whatever_stands_in_the_events_they_add_up_to_something_that_can_be_told(
    written: list[dict[str, Any]],
) -> None:
    stream = "".join(f"{json.dumps({**record, 'seq': n})}\n" for n, record in enumerate(written, 1))
    run, known = Run(), job("aaaaaa")
    run.apply_all(EventDecoder().feed(stream.encode()))
    assert json.loads(json.dumps(report.run_values(known, run), allow_nan=False, default=dict))
    assert report.runs_table([(known, run)], 0.0)
    assert report.progress_line(known, run)
    assert report.summary_table(run.result.summary if run.result else {}) is not None
    assert facts_of(run.provenance) is not None
    assert words.eta(known, run) is not None
