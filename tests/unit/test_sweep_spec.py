"""SweepSpec: which runs a sweep is made of, how they are called, and how axes are written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.spec import BenchmarkParameters, MdParameters, RunSpec, SpecError
from jobs.sweep import MOST_MEMBERS, SweepSpec, axis_text, from_json, label_of, parse_axis, sweep_over
from workbench.recipes import find_recipe, find_spec, recipes, with_absolute_paths

WORDS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=8)
AXES: Mapping[str, st.SearchStrategy[Any]] = {
    "seed": st.integers(0, 10**6),
    "threads": st.integers(1, 512),
    "model": WORDS,
    "parameters.repeats": st.integers(1, 99),
    "parameters.sizes": st.integers(1, 999)
    | st.lists(st.integers(1, 999), min_size=2, max_size=3).map(tuple),
    "parameters.plans": WORDS,
    "parameters.stress": st.booleans(),
}
OVER = st.lists(st.sampled_from(sorted(AXES)), min_size=1, max_size=3, unique=True).flatmap(
    lambda keys: st.fixed_dictionaries(
        {key: st.lists(AXES[key], min_size=1, max_size=4, unique_by=str).map(tuple) for key in keys}
    )
)


@settings(max_examples=100)
@given(OVER)
def test_members_are_every_combination_once_each_with_its_values(over: dict[str, Any]) -> None:
    sweep = SweepSpec(RunSpec(), over)
    members, points = sweep.members(), sweep.points
    assert len(members) == len(points) == math.prod(len(values) for values in over.values())
    assert len({json.dumps(json.loads(member.to_json()) | {"name": ""}) for member in members}) == len(
        members
    )
    for member, point in zip(members, points, strict=True):
        for key, value in point.items():
            owner: Any = member.parameters if key.startswith("parameters.") else member
            kept = getattr(owner, key.removeprefix("parameters."))
            assert kept in (value, (value,))
            assert RunSpec.from_json(member.to_json()) == member


@settings(max_examples=100)
@given(OVER)
def test_names_are_distinct_and_the_order_is_that_of_nested_loops(over: dict[str, Any]) -> None:
    sweep = SweepSpec(RunSpec(), over)
    names = [member.name for member in sweep.members()]
    assert len(set(names)) == len(names)
    assert names == [label_of(point) for point in sweep.points]
    *_, last = over
    assert [point[last] for point in sweep.points[: len(over[last])]] == list(sweep.over[last])


@settings(max_examples=100)
@given(OVER)
def test_a_sweep_survives_json_and_its_axes_their_written_form(over: dict[str, Any]) -> None:
    sweep = SweepSpec(RunSpec(name="x"), over)
    assert from_json(sweep.to_json()) == SweepSpec.from_json(sweep.to_json()) == sweep
    written = [axis_text(key, values) for key, values in sweep.over.items()]
    assert sweep_over(RunSpec(name="x"), written) == sweep


@given(st.text(max_size=40))
def test_whatever_is_written_is_an_axis_or_refused(text: str) -> None:
    try:
        key, values = parse_axis(text)
    except SpecError:
        return
    assert key
    assert len(values) <= len(text) + MOST_MEMBERS


def test_members_are_named_after_their_values() -> None:
    sweep = SweepSpec(RunSpec(), {"plans": ["fast", ("exact", "fast")], "seed": [3]})
    assert [member.name for member in sweep.members()] == ["plans=fast seed=3", "plans=exact+fast seed=3"]
    assert [member.parameters.plans for member in sweep.members()] == [  # type: ignore[union-attr]
        ("fast",), ("exact", "fast"),
    ]  # fmt: skip


def test_a_list_of_one_is_its_value_and_a_whole_number_a_float() -> None:
    assert SweepSpec(RunSpec(), {"sizes": [(24,), 96]}).over == {"parameters.sizes": (24, 96)}
    assert SweepSpec(RunSpec(MdParameters()), {"temperature_k": [300]}).points == [
        {"parameters.temperature_k": 300.0}
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("seed=0..3", [0, 1, 2, 3]),
        ("seed=-1..1,7", [-1, 0, 1, 7]),
        ("model=a, b", ["a", "b"]),
        ('plans=[["exact", "fast"], "reference"]', [["exact", "fast"], "reference"]),
        ("stress=true,false", [True, False]),
        ("damping_fs=0.5,1e2", [0.5, 100.0]),
    ],
)
def test_an_axis_is_written_as_people_write(text: str, values: list[Any]) -> None:
    assert parse_axis(text) == (text.partition("=")[0], values)


@pytest.mark.parametrize(
    ("over", "sentence"),
    [
        ({}, "no axis"),
        ({"sed": [1]}, "cannot go over 'sed'; it can over: model,.*seed, plans"),
        ({"name": ["a"]}, "cannot go over 'name'"),
        ({"parameters": [{}]}, "cannot go over 'parameters'"),
        ({"seed": []}, "seed has no values"),
        ({"seed": [1, 1]}, "seed has 1 twice"),
        ({"sizes": [24, [24]]}, "sizes has 24 twice"),
        ({"sizes": [1], "parameters.sizes": [2]}, "axis sizes twice"),
        ({"seed": ["two"]}, "seed should be of type int, not 'two'"),
        ({"sizes": ["big"]}, "parameters.sizes should be of type int"),
        ({"seed": range(1001)}, "1,001 members .1001 seed.; 1,000 are the most"),
        ({"seed": range(40), "threads": range(1, 41)}, "1,600 members .40 seed × 40 threads."),
        ({"threads": [math.nan]}, "no number"),
    ],
)
def test_what_cannot_be_swept_is_named(over: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        SweepSpec(RunSpec(BenchmarkParameters()), over)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("seed", "no axis of a sweep"),
        ("=1", "no axis"),
        ("seed=", "no axis"),
        ("seed=3..1", "count upwards"),
        ("seed=0..99999", "1,000 values at most"),
    ],
)
def test_what_is_no_axis_is_said(text: str, sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        parse_axis(text)


@pytest.mark.parametrize("text", ['{"over": 1}', '{"over": {"seed": 1}}', '{"over": {}}', '{"over": []}'])
def test_an_over_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        from_json(text)


def test_a_run_is_no_sweep() -> None:
    assert from_json(RunSpec().to_json()) == RunSpec()
    with pytest.raises(SpecError, match="no `over`"):
        SweepSpec.from_json(RunSpec().to_json())


def test_axes_are_added_to_a_recipe_and_replace_its_own() -> None:
    shipped = recipes()["sweep-fp64-vs-fp32"]
    assert isinstance(shipped, SweepSpec)
    assert "?" in shipped.name
    changed = find_recipe("sweep-fp64-vs-fp32", ["parameters.repeats=3"], ["sizes=6", "threads=1,2"])
    assert isinstance(changed, SweepSpec)
    assert changed.over == {"parameters.sizes": (6,), "seed": (0, 1), "threads": (1, 2)}
    assert isinstance(changed.base.parameters, BenchmarkParameters)
    assert changed.base.parameters.repeats == 3
    assert find_recipe("demo") == find_spec("demo")


def test_a_sweep_over_files_names_them_in_full(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.xyz").touch()
    spec = with_absolute_paths(SweepSpec(RunSpec(), {"structures": ["a.xyz", "shipped:liquid"]}))
    assert isinstance(spec, SweepSpec)
    assert spec.over == {"parameters.structures": (str(tmp_path / "a.xyz"), "shipped:liquid")}
