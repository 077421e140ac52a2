"""A run's spec as lines of text that a person edits, and back, checked by the spec itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

from jobs.spec import RunSpec, SpecError
from jobs.sweep import SweepSpec, Value, axis_text, sweep_over
from workbench.model.job import JobSpec, Resources

TIME_LIMIT = "time_limit"
MEMORY = "memory"
LINKS = "links"
SWEEP = "sweep"
CLUSTER = ("partition", "qos", "account", "gpus", "dependency")
"""What only a cluster's scheduler is asked for; by the names in `Resources`."""
_PARAMETERS = "parameters."
_BETWEEN = "; "
_SWEPT = ", swept over"
HELP = {
    SWEEP: "a run for each combination: model=h2co-small,h2co-medium; seed=0..4",
    "model": "h2co-small, h2co-medium, a folder with weights, or your own .model",
    "allow_pickle": "yes for a .model file, which can run any code that is in it",
    "device": "cpu; or cuda, where the node has a GPU",
    "threads": "cores of one run",
    "parameters.plans": "exact, fast, auto, reference, swap, compile, blocks, graphs, cueq, oeq",
    "parameters.skip": "techniques to leave out: compile takes minutes for each plan",
    "parameters.structures": "shipped:liquid, or a file of your own, as ASE reads it",
    "parameters.labelled": "shipped:test, or a file with energies and forces; empty for none",
    "parameters.n_labelled": "0 for all of them",
    TIME_LIMIT: "after which the job is ended",
}
"""What can stand in a line, where its name does not say so."""
_SWEEP_HINT = "one run for each: seed=0..4; threads=1,2"
_LABELS = {
    "name": "name",
    "allow_pickle": "allow pickle",
    TIME_LIMIT: "time limit, minutes",
    SWEEP: "sweep over",
    MEMORY: "memory, MB",
    LINKS: "links of a chain",
    "qos": "QOS",
    "gpus": "GPUs",
    "dependency": "after jobs",
    "parameters.sizes": "sizes, atoms",
    "parameters.n_atoms": "size, atoms",
    "parameters.n_labelled": "labelled, how many",
    "parameters.labelled": "labelled structures",
}
Axes: TypeAlias = Mapping[str, Sequence[Value]]
_YES = {"yes": True, "true": True, "no": False, "false": False}


@dataclass(frozen=True, slots=True)
class SpecField:
    """One line of the form."""

    key: str
    """As in the spec's JSON, with a dot; or `sweep`, or one of the resources."""
    label: str
    text: str
    hint: str = ""
    """Shown while there is no text."""


def fields_of(spec: RunSpec, resources: Resources, over: Axes | None = None) -> list[SpecField]:
    """The lines of a form that shows this spec, and what it is swept over."""
    keys = [item.name for item in fields(RunSpec) if item.name != "parameters"]
    keys += [_PARAMETERS + item.name for item in fields(spec.parameters)]
    record = json.loads(spec.to_json())
    over = over or {}
    labels = {key: _label(key) + (_SWEPT if key in over else "") for key in keys}
    first, *lines = [SpecField(key, labels[key], _text(_value(record, key))) for key in keys]
    axes = _BETWEEN.join(axis_text(key, values) for key, values in over.items())
    sweep = SpecField(SWEEP, _label(SWEEP), axes, hint=_SWEEP_HINT)
    # What a sweep goes over is asked for where it is seen, for it takes the place of what stands below.
    return [
        first,
        sweep,
        *lines,
        *resource_fields(resources, chains=spec.goes_on),
        *cluster_fields(resources),
    ]


def resource_fields(resources: Resources, *, chains: bool) -> list[SpecField]:
    """The lines that ask the scheduler for something."""
    texts = {TIME_LIMIT: f"{resources.time_limit_s / 60:g}", MEMORY: _text(resources.memory_mb)}
    if chains:
        texts[LINKS] = str(resources.links)
    return [SpecField(key, _label(key), text) for key, text in texts.items()]


def cluster_fields(resources: Resources) -> list[SpecField]:
    """The lines that only a cluster's scheduler understands."""
    return [SpecField(key, _label(key), _text(getattr(resources, key))) for key in CLUSTER]


def with_resources(resources: Resources, texts: Mapping[str, str]) -> Resources:
    """`resources` with these lines put in.

    Raises:
        SpecError: One of them cannot be understood.
    """
    for key, text in texts.items():
        resources = replace(resources, **_asked(key, text))  # type: ignore[arg-type]  # by its own names
    return resources


def problems(spec: RunSpec, texts: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with the texts, by key; `spec` says which experiment they are for."""
    found = {}
    for key, text in texts.items():
        try:
            if key == SWEEP:
                axes_in(spec, text)
            else:
                _changed(spec, Resources(), {key: text})
        except SpecError as error:
            found[key] = str(error).removeprefix("The spec's ").removeprefix(_PARAMETERS)
    return found


def job_spec(spec: RunSpec, resources: Resources, texts: Mapping[str, str]) -> JobSpec:
    """`spec` and `resources` with every text put in.

    Raises:
        SpecError: One of them cannot be understood; `problems` says which.
    """
    return _changed(spec, resources, {key: text for key, text in texts.items() if key != SWEEP})


def axes_in(spec: RunSpec, text: str) -> Axes:
    """What `spec` is to be swept over, as in `sizes=24,96; seed=0..2`; nothing for an empty text.

    Raises:
        SpecError: It cannot be.
    """
    axes = [part for part in text.split(_BETWEEN.strip()) if part.strip()]
    swept = sweep_over(spec, axes)
    return swept.over if isinstance(swept, SweepSpec) else {}


def _changed(spec: RunSpec, resources: Resources, texts: Mapping[str, str]) -> JobSpec:
    record = json.loads(spec.to_json())
    asked = {key: text for key, text in texts.items() if key in (TIME_LIMIT, MEMORY, LINKS, *CLUSTER)}
    for key, text in texts.items():
        if key in asked:
            continue
        owner, name, part = (spec, key, record)
        if key.startswith(_PARAMETERS):
            name = key.removeprefix(_PARAMETERS)
            owner, part = spec.parameters, record["parameters"]  # type: ignore[assignment]
        part[name] = _parsed(text, get_type_hints(type(owner))[name])
    changed = RunSpec.from_json(json.dumps(record))
    return JobSpec(changed, replace(with_resources(resources, asked), cpus=changed.threads))


def _asked(key: str, text: str) -> dict[str, int | str | None]:
    """What a line asks the scheduler for, by the name in `Resources`."""
    if key == TIME_LIMIT:
        return {"time_limit_s": _seconds(text)}
    if key == MEMORY:
        return {"memory_mb": _whole(key, text) if text.strip() else None}
    if key == "gpus":
        return {"gpus": 0 if text.strip() == "0" else _whole(key, text) if text.strip() else None}
    if key in CLUSTER:
        return {key: _word(key, text) if text.strip() else None}
    return {"links": _whole(key, text)}


def _word(key: str, text: str) -> str:
    if not re.fullmatch(r"[^\s-]\S*", text.strip()):
        raise SpecError(
            f"The spec's {key} should be one word that does not begin with a dash, not {text!r}."
            + (" Such as afterok:123." if key == "dependency" else "")
        )
    return text.strip()


def _whole(key: str, text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit() and int(text) > 0):
        raise SpecError(f"The spec's {key} should be a whole number, 1 or more, not {text!r}.")
    return int(text)


def _parsed(text: str, hint: Any) -> Any:
    """What the text most likely means for a field of this type; the spec refuses what it does not take."""
    text = text.strip()
    if hint is str:
        return text
    if hint is bool:
        return _YES.get(text.lower(), text)
    if get_origin(hint) is tuple:
        items = [item.strip() for item in text.split(",") if item.strip()]
        return [_parsed(item, get_args(hint)[0]) for item in items]
    if not text and type(None) in get_args(hint):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _seconds(text: str) -> int:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 1 <= minutes <= 60 * 24 * 365:
        raise SpecError(f"The spec's time limit should be a number of minutes, 1 or more, not {text!r}.")
    return round(60 * minutes)


def _value(record: Mapping[str, Any], key: str) -> Any:
    for part in key.split("."):
        record = record[part]
    return record


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_text(item) for item in value)
    return "" if value is None else str(value)


def _label(key: str) -> str:
    return _LABELS.get(key, key.removeprefix(_PARAMETERS).replace("_", " "))
