"""SweepSpec: one run asked for again and again, each time with other values of some of its keys.

    {"v": 1, "experiment": "benchmark", …, "over": {"sizes": [24, 96], "seed": [0, 1, 2]}}

It is a run's spec with the axes in `over`; its members are the runs of every combination of their values.
A key of `over` is one of the spec's own, or of its `parameters`. Where that holds a list, as `plans` and
`sizes` do, a single value stands for a list of one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, TypeAlias

from jobs.spec import RunSpec, SpecError

MOST_MEMBERS = 1000
"""As many as an array of a Slurm holds that nobody has configured."""
_OVER, _PARAMETERS = "over", "parameters."
_NOT_SWEPT = ("name", "parameters")

Scalar: TypeAlias = bool | int | float | str
Value: TypeAlias = Scalar | tuple[Scalar, ...] | None


@dataclass(frozen=True, slots=True)
class SweepSpec:
    """A run and the axes along which it is varied.

    Raises:
        SpecError: An axis or a value is not one that a run can have, or there are too many members.
    """

    base: RunSpec
    over: Mapping[str, Sequence[Value]]
    """Values by key, `seed` or `parameters.sizes`; the last axis varies fastest."""

    def __post_init__(self) -> None:
        over: dict[str, tuple[Value, ...]] = {}
        for given, values in self.over.items():
            key = _full_key(self.base, given)
            if key in over:
                raise SpecError(f"The sweep has the axis {short(key)} twice.")
            over[key] = _checked_values(self.base, key, values)
        if not over:
            raise SpecError("The sweep has no axis: say what it goes over, as in seed=0,1,2.")
        n_members = math.prod(map(len, over.values()))
        if n_members > MOST_MEMBERS:
            counts = " × ".join(f"{len(values)} {short(key)}" for key, values in over.items())
            raise SpecError(
                f"The sweep has {n_members:,} members ({counts}); {MOST_MEMBERS:,} are the most: "
                "take fewer values, or several sweeps."
            )
        object.__setattr__(self, _OVER, over)

    @property
    def name(self) -> str:
        """For people."""
        return self.base.name

    @property
    def experiment(self) -> str:
        """What every member does."""
        return self.base.experiment

    @property
    def points(self) -> list[dict[str, Value]]:
        """Each member's values by key, in the order of the members."""
        return [dict(zip(self.over, values, strict=True)) for values in product(*self.over.values())]

    def members(self) -> list[RunSpec]:
        """The runs, each named after its values."""
        return [replace(_at(self.base, point), name=label_of(point)) for point in self.points]

    def to_json(self) -> str:
        """This sweep as indented JSON, one key a line."""
        record = json.loads(self.base.to_json())
        return json.dumps({**record, _OVER: self.over}, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> SweepSpec:
        """The sweep in `text`.

        Raises:
            SpecError: It is none, or a key or value is wrong.
        """
        spec = from_json(text)
        if not isinstance(spec, SweepSpec):
            raise SpecError('The spec has no `over`, as in "over": {"seed": [0, 1, 2]}: it is of one run.')
        return spec


def from_json(text: str | bytes) -> RunSpec | SweepSpec:
    """The run or the sweep in `text`, whichever it is.

    Raises:
        SpecError: It is neither.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or _OVER not in record:
        return RunSpec.from_json(text)
    over = record.pop(_OVER)
    if not isinstance(over, dict) or not all(isinstance(values, list) for values in over.values()):
        raise SpecError('The sweep\'s `over` should hold a list for each key, as in {"seed": [0, 1, 2]}.')
    return SweepSpec(RunSpec.from_json(json.dumps(record)), over)


def parse_axis(text: str) -> tuple[str, list[Any]]:
    """Key and values of an axis as people write it: `seed=0..4`, `plans=exact,fast`, `plans=[["a", "b"]]`.

    Raises:
        SpecError: It is no such thing.
    """
    key, equals, written = text.partition("=")
    if not equals or not key.strip() or not written.strip():
        raise SpecError(f"{text!r} is no axis of a sweep: it should look like seed=0,1,2 or seed=0..2.")
    try:
        values = json.loads(written)
    except (ValueError, RecursionError):
        values = None
    if isinstance(values, list):
        return key.strip(), values
    found = []
    for part in map(str.strip, written.split(",")):
        span = re.fullmatch(r"(-?\d{1,9})\.\.(-?\d{1,9})", part, re.ASCII)
        if not span:
            found.append(_parsed(part))
            continue
        first, last = int(span[1]), int(span[2])
        if not 0 <= last - first < MOST_MEMBERS:
            raise SpecError(f"{part} in {text!r} should count upwards, to {MOST_MEMBERS:,} values at most.")
        found += range(first, last + 1)
    return key.strip(), found


def sweep_over(spec: RunSpec | SweepSpec, axes: Sequence[str]) -> RunSpec | SweepSpec:
    """`spec` over these axes, as people write them, besides its own; those of the same key give way.

    Raises:
        SpecError: One of them cannot be understood.
    """
    if not axes:
        return spec
    base = spec.base if isinstance(spec, SweepSpec) else spec
    added: dict[str, list[Any]] = {}
    for text in axes:
        given, values = parse_axis(text)
        key = _full_key(base, given)
        if key in added:
            raise SpecError(f"The sweep has the axis {short(key)} twice.")
        added[key] = values
    own = spec.over if isinstance(spec, SweepSpec) else {}
    return SweepSpec(base, {**own, **added})


def axis_text(key: str, values: Sequence[Value]) -> str:
    """An axis as people write it; `parse_axis` understands it."""
    written = ",".join(str(value) for value in values)
    if parse_axis(f"{short(key)}={written or '[]'}")[1] != list(values):
        written = json.dumps(values)
    return f"{short(key)}={written}"


def short(key: str) -> str:
    """A key as people know it: `sizes`."""
    return key.removeprefix(_PARAMETERS)


def shown(value: Any) -> str:
    """A value as it is read: `exact+fast` for several."""
    if isinstance(value, list | tuple):
        return "+".join(map(shown, value))
    return str(value)


def label_of(point: Mapping[str, Any]) -> str:
    """What a member is called: `plans=fast seed=3`."""
    return " ".join(f"{short(key)}={shown(value)}" for key, value in point.items())


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _full_key(base: RunSpec, given: str) -> str:
    own = [item.name for item in fields(RunSpec) if item.name not in _NOT_SWEPT]
    others = [item.name for item in fields(base.parameters)]
    if given in own:
        return given
    if short(given) in others:
        return _PARAMETERS + short(given)
    raise SpecError(f"A sweep cannot go over {given!r}; it can over: {', '.join([*own, *others])}.")


def _checked_values(base: RunSpec, key: str, values: Sequence[Any]) -> tuple[Value, ...]:
    """The values as the spec understands them."""
    if not values:
        raise SpecError(f"The sweep's {short(key)} has no values.")
    found: dict[str, Value] = {}
    for value in values:
        spec = _at(base, {key: value})
        owner: Any = spec.parameters if key.startswith(_PARAMETERS) else spec
        kept: Value = getattr(owner, short(key))
        if isinstance(kept, tuple) and len(kept) == 1:
            kept = kept[0]
        if shown(kept) in found:
            raise SpecError(f"The sweep's {short(key)} has {shown(kept)} twice.")
        found[shown(kept)] = kept
    return tuple(found.values())


def _at(base: RunSpec, point: Mapping[str, Any]) -> RunSpec:
    """The run with these values, checked by the spec's own rules."""
    record = json.loads(base.to_json())
    for key, value in point.items():
        part = record["parameters"] if key.startswith(_PARAMETERS) else record
        several = isinstance(part[short(key)], list)
        part[short(key)] = [value] if several and not isinstance(value, list | tuple) else value
    try:
        text = json.dumps(record, allow_nan=False)
    except ValueError:
        raise SpecError(f"The sweep goes over {label_of(point)}, which is no number.") from None
    return RunSpec.from_json(text)
