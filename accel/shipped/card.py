"""A shipped model's card: what it is, what it was trained on and how, and its errors, measured here."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from accel.data import labels, load_structures
from accel.errors import StructureError
from accel.model_files import CARD_FILE, SHIPPED_MODELS, load_model
from accel.prediction import Evaluator
from accel.reference import ReferenceEvaluator, describe

KINDS = ("molecule", "cluster", "liquid", "unseen")
SETS = ("train", "valid", "test")
PACKAGES = ("mace-torch", "torch", "e3nn", "ase", "numpy")
TEXT = """\
# {name}

{summary} {n_interactions} interactions, spherical harmonics up to ℓ = {max_ell}, correlation {correlation},
{n_parameters:,} weights in fp64. A model to try the program and to measure speed with, not one to do
chemistry with.

## Errors on held-out structures

Of the stored weights in fp64, against the GFN2-xTB labels of `test.xyz`. `unseen` are molecules and clusters
of which the training set has none.

| | structures | atoms | energy, rms meV/atom | force, rms meV/Å | force, largest meV/Å |
|---|---|---|---|---|---|
{rows}

## Data and recipe

{data}: {counts} structures, made by `{data_script}`.

Trained by `{script}` in {minutes:.0f} minutes on a shared core{resumed}, with {versions}:

```
{command}
```
"""
ROW = (
    "| {kind} | {n_structures} | {n_atoms} | {energy_rmse_mev_per_atom:.2f} "
    "| {force_rmse_mev_per_a:.1f} | {force_max_mev_per_a:.0f} |"
)


def write_card(
    name: str, *, summary: str, script: str, command: Sequence[str], seconds: float, resumed: bool = False
) -> None:
    """Measure the stored model `name`, and write its card for programs and for people.

    `resumed` says that the training was interrupted and went on from a checkpoint, by which its result
    differs a little from that of the same command in one go.
    """
    model = load_model(name)
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    card = {
        "name": name,
        "summary": summary,
        "model": asdict(describe(model)),
        "data": {
            "description": "H/C/O molecules, clusters of 2-4 molecules and liquid methanol, GFN2-xTB",
            "script": "python -m accel.shipped.make_structures",
            "structures": {part: len(load_structures(f"shipped:{part}")) for part in SETS},
            "sha256": {part: _sha256(Path(__file__).with_name(f"{part}.xyz")) for part in SETS},
        },
        "recipe": {
            "script": script,
            "command": list(command),
            "seconds": round(seconds),
            "resumed": resumed,
            "versions": {"python": platform.python_version(), **versions},
        },
        "errors": held_out_errors(ReferenceEvaluator(model)),
    }
    folder = SHIPPED_MODELS / name
    (folder / CARD_FILE).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    (folder / "card.md").write_text(card_text(card), encoding="utf-8")


def held_out_errors(evaluator: Evaluator) -> dict[str, dict[str, float]]:
    """Errors on each kind of structure in the test set, and on all of it."""
    test = load_structures("shipped:test")
    errors = {
        kind: label_errors(evaluator, (atoms for atoms in test if atoms.info["config_type"] == kind))
        for kind in KINDS
    }
    return {**errors, "all": label_errors(evaluator, test)}


def label_errors(evaluator: Evaluator, structures: Iterable[Atoms]) -> dict[str, float]:
    """Errors against the labels of `structures`.

    Raises:
        StructureError: One of them has no labels.
    """
    energies, forces, n_atoms = [], [], 0
    for atoms in structures:
        label, prediction = labels(atoms), evaluator.evaluate(atoms)
        if label is None:
            raise StructureError(f"The structure {atoms.get_chemical_formula()} has no labels.")
        energies.append(1e3 * (prediction.energy_ev - label.energy_ev) / len(atoms))
        forces.append(1e3 * (prediction.forces - label.forces).ravel())
        n_atoms += len(atoms)
    every_force = np.concatenate(forces)
    return {
        "n_structures": len(energies),
        "n_atoms": n_atoms,
        "energy_rmse_mev_per_atom": _rms(np.array(energies)),
        "force_rmse_mev_per_a": _rms(every_force),
        "force_max_mev_per_a": float(np.abs(every_force).max()),
    }


def card_text(card: Mapping[str, Any]) -> str:
    """A card as Markdown."""
    data, recipe = card["data"], card["recipe"]
    return TEXT.format(
        name=card["name"],
        summary=card["summary"],
        **card["model"],
        rows="\n".join(ROW.format(kind=kind, **errors) for kind, errors in card["errors"].items()),
        data=data["description"],
        counts=", ".join(f"{count} {part}" for part, count in data["structures"].items()),
        data_script=data["script"],
        script=recipe["script"],
        minutes=recipe["seconds"] / 60,
        resumed=" (interrupted, and resumed from a checkpoint)" if recipe["resumed"] else "",
        versions=", ".join(f"{package} {version}" for package, version in recipe["versions"].items()),
        command=" ".join(recipe["command"]),
    )


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
