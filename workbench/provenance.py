"""What numbers were measured on, in words: a number without it says nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobs.protocol import Json
from workbench.plain import plain

_FIRST = ("dtype", "torch", "mace-torch", "e3nn", "code")
"""Of what a run tells of itself: what decides most about its numbers."""


def facts_of(provenance: Mapping[str, Json]) -> str:
    """Model, device, threads, versions and host, as they decide about numbers; then the rest."""
    told = dict(_flat(provenance))
    host, load = told.pop("host", ""), told.pop("load_average", "")
    parts = [_named("model", told.pop("model", ""))]
    parts += [plain(told.pop(key, "")) for key in ("device_name", "device")]
    if isinstance(threads := told.get("threads"), int):
        parts.append(threads_text(threads))
        del told["threads"]
    parts += [_named(key, told.pop(key, "")) for key in _FIRST]
    parts += [_named("host", host), _named("load", str(load).partition(",")[0])]
    parts += [_named(key, value) for key, value in told.items()]
    return " · ".join(part for part in parts if part)


def _named(key: str, value: Json) -> str:
    return f"{plain(key)} {plain(value)}" if value not in (None, "") else ""


def threads_text(n: int) -> str:
    """How many threads, in words."""
    return f"{n} thread" if n == 1 else f"{n} threads"


def _flat(told: Mapping[str, Json]) -> Sequence[tuple[str, Json]]:
    """Keys with single values; `versions: {torch: …}` gives `torch …`."""
    pairs: list[tuple[str, Json]] = []
    for key, value in told.items():
        if key == "model" and isinstance(value, Mapping):
            pairs.append((key, value.get("name")))
        elif isinstance(value, Mapping):
            pairs += _flat(value)
        elif isinstance(value, list | tuple):
            pairs.append((key, ", ".join(str(item) for item in value)))
        else:
            pairs.append((key, value))
    return pairs
