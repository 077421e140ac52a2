from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.spec import (
    EXPERIMENTS,
    SPEC_VERSION,
    BenchmarkParameters,
    Parameters,
    ProfileParameters,
    RunSpec,
    SpecError,
)

_VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=12),
    bool: st.booleans(),
    int: st.integers(-(2**53), 2**53),
    float: st.floats(allow_nan=False, allow_infinity=False),
    tuple[str, ...]: st.lists(st.text(max_size=12), max_size=4).map(tuple),
    tuple[int, ...]: st.lists(st.integers(0, 10**6), max_size=4).map(tuple),
    tuple[float, ...]: st.lists(st.floats(-1e6, 1e6), max_size=4).map(tuple),
}


@st.composite
def instances(draw: st.DrawFn, /, kind: type[Any], **given_fields: Any) -> Any:
    hints = get_type_hints(kind)
    names = [item.name for item in fields(kind) if item.name not in given_fields]
    return kind(**given_fields, **{name: draw(_VALUES[hints[name]]) for name in names})


@st.composite
def specs(draw: st.DrawFn) -> RunSpec:
    kind: type[Parameters] = draw(st.sampled_from(list(EXPERIMENTS.values())))
    threads, seed = draw(st.integers(1, 2**53)), draw(st.integers(0, 2**53))
    spec = draw(instances(RunSpec, parameters=draw(instances(kind)), threads=threads, seed=seed))
    assert isinstance(spec, RunSpec)
    return spec


def read(text: str | bytes) -> tuple[RunSpec | None, str]:
    try:
        return RunSpec.from_json(text), ""
    except SpecError as error:
        return None, str(error)


@settings(max_examples=100, deadline=None)
@given(specs())
def test_a_spec_survives_the_way_through_json(spec: RunSpec) -> None:
    text = spec.to_json()
    assert RunSpec.from_json(text) == spec
    assert RunSpec.from_json(text.encode()) == spec
    assert json.loads(text)["experiment"] == spec.experiment


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60))
def test_text_that_is_no_spec_is_refused_in_words(text: str | bytes) -> None:
    spec, refusal = read(text)
    if spec is None:
        assert refusal.startswith("The spec")
    else:
        assert RunSpec.from_json(spec.to_json()) == spec


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(specs(), st.data())
def test_any_value_for_any_key_is_taken_as_it_is_or_refused_in_words(
    spec: RunSpec, data: st.DataObject
) -> None:
    record = json.loads(spec.to_json())
    where = data.draw(st.sampled_from([record, record["parameters"]]))
    key, value = data.draw(st.sampled_from(sorted(where))), data.draw(_ANYTHING)
    where[key] = value
    changed, refusal = read(json.dumps(record))
    if changed is None:
        assert refusal.startswith("The spec")
    else:
        parameters = {**json.loads(RunSpec(EXPERIMENTS[changed.experiment]()).to_json())["parameters"]}
        expected = {**record, "parameters": {**parameters, **record["parameters"]}}
        assert json.loads(changed.to_json()) == expected


def test_what_is_left_out_takes_its_default() -> None:
    assert RunSpec.from_json("{}") == RunSpec()
    spec = RunSpec.from_json('{"experiment": "profile", "parameters": {"n_atoms": 12}, "threads": 2}')
    assert spec == RunSpec(ProfileParameters(n_atoms=12), threads=2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"modle": "x"}', "The spec has no key modle; there are: parameters, name, model"),
        ('{"parameters": {"size": [1]}}', "The spec has no key parameters.size; there are: plans, sizes"),
        ('{"experiment": "profile", "parameters": {"plans": []}}', "no key parameters.plans"),
        ('{"threads": "4"}', "The spec's threads should be of type int, not '4'"),
        ('{"threads": true}', "The spec's threads should be of type int, not True"),
        ('{"threads": 1.5}', "The spec's threads should be of type int, not 1.5"),
        ('{"threads": null}', "The spec's threads should be of type int, not None"),
        ('{"threads": 0}', "The spec's threads should be 1 or more, not 0"),
        ('{"seed": -1}', "The spec's seed should be 0 or more, not -1"),
        ('{"name": 3}', "The spec's name should be of type str, not 3"),
        ('{"allow_pickle": 1}', "The spec's allow_pickle should be of type bool, not 1"),
        ('{"parameters": {"sizes": 5}}', "The spec's parameters.sizes should be a list, not 5"),
        ('{"parameters": {"sizes": [5, "6"]}}', "The spec's parameters.sizes should be of type int, not '6'"),
        ('{"parameters": []}', "The spec's parameters should be a JSON object"),
        ('{"parameters": null}', "The spec's parameters should be a JSON object"),
        ('{"experiment": "benchmrk"}', "the experiment 'benchmrk'; there are: benchmark"),
        ('{"experiment": ["benchmark"]}', "there are: benchmark"),
        ('{"v": 0}', "The spec's version is 0"),
        ('{"v": "1"}', "The spec's version is '1'"),
        (f'{{"v": {SPEC_VERSION + 1}, "whatever": 1}}', "update mace-workbench where the run is started"),
        ("[]", "not a JSON object"),
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"seed": ' + "9" * 5000 + "}", "not valid JSON"),
    ],
    ids=lambda value: value[:40],
)
def test_a_mistake_is_named_with_what_would_be_right(text: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        RunSpec.from_json(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whole_numbers_pass_where_numbers_are_wanted_and_lists_become_tuples() -> None:
    spec = RunSpec.from_json('{"parameters": {"sizes": [8, 16], "plans": ["reference"]}}')
    assert spec.parameters == BenchmarkParameters(sizes=(8, 16), plans=("reference",))
