"""Recipes: the experiments that come with the program, each a spec and the question it answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from jobs.spec import RunSpec, SpecError
from jobs.sweep import SweepSpec, from_json, sweep_over
from workbench.errors import SpecRefused

_ENDING = ".json"


def recipes() -> dict[str, RunSpec | SweepSpec]:
    """Every recipe by its name, in alphabetical order."""
    folder = resources.files("jobs") / "recipes"
    return {
        entry.name.removesuffix(_ENDING): from_json(entry.read_bytes())
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(_ENDING)
    }


def find_spec(name_or_path: str, changes: Sequence[str] = ()) -> RunSpec:
    """The recipe of that name, or the spec in that file, with `changes` such as `threads=2` made to it.

    Raises:
        SpecRefused: There is none, it cannot be understood, or it is of a sweep.
    """
    spec = find_recipe(name_or_path, changes)
    if isinstance(spec, SweepSpec):
        raise SpecRefused(f"{name_or_path} is a sweep of runs, and one run is wanted.")
    return spec


def find_recipe(
    name_or_path: str, changes: Sequence[str] = (), axes: Sequence[str] = ()
) -> RunSpec | SweepSpec:
    """The run or sweep of that name or in that file, with changes made, over `axes` such as `seed=0..2`.

    An axis takes the place of the sweep's own of that key.

    Raises:
        SpecRefused: There is none, or it cannot be understood.
    """
    known = recipes()
    path = Path(name_or_path)
    if name_or_path in known:
        text = known[name_or_path].to_json()
    elif path.suffix == _ENDING or path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise SpecRefused(f"The spec {path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise SpecRefused(f"The spec {path} cannot be read: it is no text in UTF-8.") from error
    else:
        raise SpecRefused(f"There is no recipe {name_or_path!r}; there are: {', '.join(known)}.")
    try:
        spec = from_json(text)
        if changes:
            record = json.loads(spec.to_json())
            for change in changes:
                _change(record, change)
            spec = from_json(json.dumps(record))
        return sweep_over(spec, axes)
    except SpecError as error:
        raise SpecRefused(f"{name_or_path}: {error}") from error


def with_absolute_paths(spec: RunSpec | SweepSpec) -> RunSpec | SweepSpec:
    """`spec` with every file that is there named in full, because a run's working folder is its own."""
    if isinstance(spec, SweepSpec):
        over = {key: [_absolute(value) for value in values] for key, values in spec.over.items()}
        return SweepSpec(_with_absolute_paths(spec.base), over)
    return _with_absolute_paths(spec)


def _with_absolute_paths(spec: RunSpec) -> RunSpec:
    parameters = {
        item.name: _absolute(getattr(spec.parameters, item.name)) for item in fields(spec.parameters)
    }
    return replace(spec, model=_absolute(spec.model), parameters=replace(spec.parameters, **parameters))


def _absolute(value: Any) -> Any:
    # A bare word is the name of something shipped, whatever lies in this folder.
    if isinstance(value, str) and ("/" in value or "." in value):
        path = Path(value).expanduser()
        return str(path.resolve()) if path.exists() else value
    return value


def _change(record: Any, change: str) -> None:
    """Make one change, `KEY=VALUE` with dots in KEY, to a spec's record."""
    key, equals, text = change.partition("=")
    if not equals:
        raise SpecRefused(f"{change!r} is no change to a spec: it should look like threads=2.")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    *parents, last = key.split(".")
    for parent in parents:
        record = record.get(parent)
        if not isinstance(record, dict):
            raise SpecRefused(f"The spec has no part {parent!r} to set {key} in.")
    record[last] = value
