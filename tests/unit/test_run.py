from __future__ import annotations

from jobs.protocol import (
    Accuracy,
    Body,
    Caution,
    Event,
    Failure,
    Finish,
    Progress,
    Resource,
    Result,
    Start,
    Timing,
    Unknown,
)
from workbench.model.run import Run


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
        Event(3, 1, 140.0, Progress(1, 100)),  # it has compiled for a while
        Event(4, 1, 141.0, Progress(5, 100)),
        Event(5, 1, 161.0, Progress(41, 100)),
        Event(6, 1, 162.0, Finish("completed")),
    ):
        run.apply(event)
        rests.append(run.eta_s)
    assert rests == [None, None, 39.0 * 99, 40.0 * 95 / 5, 21.0 * 59 / 40, None]


def test_at_most_two_hundred_warnings_are_kept() -> None:
    run = Run()
    run.apply_all(events(*(Caution(str(index)) for index in range(500))))
    assert run.notes == [str(index) for index in range(300, 500)]
