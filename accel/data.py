"""Structures: the small shipped data set, users' own files, and systems of any size made from either.

The shipped sets are H/C/O molecules, clusters and liquid methanol, labelled with GFN2-xTB by
`accel.shipped.make_structures`: `shipped:train`, `shipped:valid`, `shipped:test`, and `shipped:liquid`,
which is one frame of the liquid.
"""

from __future__ import annotations

import itertools
import math
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_names, chemical_symbols
from ase.neighborlist import natural_cutoffs, neighbor_list
from numpy.typing import NDArray

from accel.errors import StructureError
from accel.prediction import Prediction

SHIPPED = ("train", "valid", "test", "liquid")
_FOLDER = Path(__file__).parent / "shipped"
_PREFIX = "shipped:"
_ENERGY_KEYS = ("REF_energy", "energy")
_FORCES_KEYS = ("REF_forces", "forces")
_STRESS_KEYS = ("REF_stress", "stress")
_READ_ERRORS = (
    OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError,
    StopIteration, SyntaxError, RuntimeError, ImportError, struct.error, sqlite3.Error,
    ase.io.ParseError, ase.io.formats.UnknownFileTypeError,
)  # fmt: skip
"""What ASE's readers raise on files that are not what they seem."""


def load_structures(name_or_path: str, *, limit: int = 0) -> list[Atoms]:
    """All frames of a shipped set or of a file that ASE reads, in the file's order.

    Args:
        name_or_path: `shipped:train`, `shipped:valid`, `shipped:test`, `shipped:liquid`, or a file.
        limit: How many at most; 0 for all. They are taken evenly from the whole file.

    Raises:
        StructureError: The file is missing, empty, unreadable, or holds positions that are no numbers.
    """
    frames = list(iterate_structures(name_or_path))
    if 0 < limit < len(frames):
        frames = [frames[i * len(frames) // limit] for i in range(limit)]
    return frames


def iterate_structures(name_or_path: str) -> Iterator[Atoms]:
    """The frames of a shipped set or of a file that ASE reads, one at a time where the format allows it.

    Raises:
        StructureError: As `load_structures`; frames before the one that cannot be used are handed out.
    """
    path = _path(name_or_path)
    if not path.is_file():
        raise StructureError(
            f"There is no structure file {name_or_path}: give a file that ASE reads, or one of: "
            f"{', '.join(_PREFIX + name for name in SHIPPED)}."
        )
    if path.stat().st_size == 0:
        raise StructureError(f"The structure file {path} is empty.")
    frames = _read_frames(path)
    number = 0
    for number, atoms in enumerate(frames, start=1):
        try:
            check_geometry(atoms)
        except StructureError as error:
            raise StructureError(f"Frame {number} of {path} cannot be used. {error}") from error
        yield atoms
    if not number:
        raise StructureError(f"The structure file {path} holds no structures.")


def _read_frames(path: Path) -> Iterator[Atoms]:
    try:
        yield from ase.io.iread(path, index=":")
    except _READ_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StructureError(f"ASE cannot read structures from {path}: {reason}.") from error


def labels(atoms: Atoms) -> Prediction | None:
    """The energy and forces that come with a structure, or None where either is missing.

    `REF_energy` in `atoms.info` and `REF_forces` in `atoms.arrays` come first, as mace-torch writes them;
    then what a finished calculator carries, as ASE's readers attach it; then plain `energy` and `forces`.

    Raises:
        StructureError: A label has the wrong shape, or is not a number.
    """
    finished = atoms.calc.results if atoms.calc is not None else {}
    sources = (finished, atoms.info, atoms.arrays)
    energy, forces, stress = (_first(keys, sources) for keys in (_ENERGY_KEYS, _FORCES_KEYS, _STRESS_KEYS))
    if energy is None or forces is None:
        return None
    shapes_fit = energy.size == 1 and forces.shape == (len(atoms), 3)
    if not shapes_fit or (stress is not None and stress.size not in (6, 9)):
        raise StructureError(f"The labels of {atoms.get_chemical_formula()} are not of the right shape.")
    if not (np.isfinite(energy).all() and np.isfinite(forces).all()):
        raise StructureError(f"The labels of {atoms.get_chemical_formula()} are not all numbers.")
    return Prediction(float(energy.item()), forces, _matrix(stress) if stress is not None else None)


def check_geometry(atoms: Atoms) -> None:
    """Refuse what no model can evaluate.

    Raises:
        StructureError: There are no atoms, positions or cell are no numbers, or a periodic direction
            has no cell vector.
    """
    if len(atoms) == 0:
        raise StructureError("The structure has no atoms.")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise StructureError(
            f"The structure {atoms.get_chemical_formula()} has positions or a cell that are not numbers."
        )
    if (atoms.pbc & ~atoms.cell.any(1)).any():
        raise StructureError(
            f"The structure {atoms.get_chemical_formula()} is periodic in a direction without a cell vector."
        )


def check_elements(atoms: Atoms, atomic_numbers: Iterable[int], *, model: str = "the model") -> None:
    """Refuse elements that a model was not trained on.

    Raises:
        StructureError: There is such an element.
    """
    known = sorted(set(atomic_numbers))
    strangers = sorted({int(z) for z in atoms.numbers} - set(known))
    if strangers:
        have = ", ".join(f"{chemical_symbols[z]} ({atomic_names[z].lower()})" for z in strangers)
        raise StructureError(
            f"The structure {atoms.get_chemical_formula()} has {have}, which {model} does not know "
            f"(it knows {', '.join(chemical_symbols[z] for z in known)}): take other structures, or a model "
            "that was trained on these elements."
        )


def sized_system(base: Sequence[Atoms], n_atoms: int) -> Atoms:
    """A system of about `n_atoms` atoms made from `base`, the same one each time.

    The first periodic structure of `base`, if there is one, decides: it is repeated where `n_atoms` is
    at least its size, and otherwise whole molecules about its centre are cut out as a free cluster.
    Without a periodic structure it is the structure of `base` nearest in size.

    Raises:
        StructureError: `base` is empty or `n_atoms` is not positive.
    """
    if not base or n_atoms < 1:
        raise StructureError(f"A system of {n_atoms} atoms cannot be made from {len(base)} structures.")
    bulk = next((atoms for atoms in base if atoms.pbc.all()), None)
    if bulk is None:
        nearest: Atoms = min(base, key=lambda atoms: abs(len(atoms) - n_atoms)).copy()
        return nearest
    if n_atoms < len(bulk):
        return _cut(bulk, n_atoms)
    return _repeated(bulk, n_atoms)


def _repeated(bulk: Atoms, n_atoms: int) -> Atoms:
    """Of the repetitions that come close to a cube, the one nearest in size."""
    wanted = n_atoms / len(bulk)
    ideal = (wanted * bulk.get_volume()) ** (1 / 3) / bulk.cell.lengths()
    choices = itertools.product(*({max(1, math.floor(r)), math.ceil(r)} for r in ideal))
    repeated: Atoms = bulk.repeat(min(choices, key=lambda r: (abs(math.prod(r) - wanted), r)))
    return repeated


def _cut(bulk: Atoms, n_atoms: int) -> Atoms:
    """Whole molecules of `bulk`, nearest to one at its centre first, as a free cluster."""
    molecules = _whole_molecules(bulk)
    centre = bulk.cell.array.sum(axis=0) / 2
    molecules.sort(key=lambda part: float(np.linalg.norm(part.positions.mean(axis=0) - centre)))
    cluster = molecules[0]
    for molecule in molecules[1:]:
        if abs(len(cluster) + len(molecule) - n_atoms) > abs(len(cluster) - n_atoms):
            break
        cluster += molecule
    cluster.positions -= cluster.positions.mean(axis=0)
    return cluster


def _whole_molecules(bulk: Atoms) -> list[Atoms]:
    """The bonded parts of `bulk`, unwrapped, with their middle inside the cell."""
    first, second, shifts = neighbor_list("ijS", bulk, natural_cutoffs(bulk, mult=1.2))
    images: NDArray[np.int64] = np.zeros((len(bulk), 3), dtype=np.int64)
    part_of = np.full(len(bulk), -1)
    parts: list[Atoms] = []
    for seed in range(len(bulk)):
        if part_of[seed] >= 0:
            continue
        part_of[seed] = len(parts)
        members = [seed]
        for atom in members:  # grows while it is walked
            for edge in np.flatnonzero(first == atom):
                other = second[edge]
                if part_of[other] < 0:
                    part_of[other] = len(parts)
                    images[other] = images[atom] + shifts[edge]
                    members.append(int(other))
        positions = bulk.positions[members] + images[members] @ bulk.cell.array
        home = np.floor(np.linalg.solve(bulk.cell.array.T, positions.mean(axis=0)))
        parts.append(Atoms(bulk.symbols[members], positions - home @ bulk.cell.array))
    return parts


def _path(name_or_path: str) -> Path:
    if not name_or_path.startswith(_PREFIX):
        return Path(name_or_path)
    name = name_or_path.removeprefix(_PREFIX)
    if name not in SHIPPED:
        raise StructureError(
            f"No structures named {name_or_path} are shipped; there are: "
            f"{', '.join(_PREFIX + known for known in SHIPPED)}."
        )
    return _FOLDER / f"{name}.xyz"


def _first(keys: Sequence[str], sources: Sequence[Mapping[str, Any]]) -> NDArray[np.float64] | None:
    """The first key that any source has, as an array: the order of keys counts before that of sources."""
    for key in keys:
        for source in sources:
            if source.get(key) is not None:
                return np.asarray(source[key], dtype=np.float64)
    return None


def _matrix(stress: NDArray[np.float64]) -> NDArray[np.float64]:
    """[3, 3] of a stress in any of the shapes that files give it: 3×3, nine numbers, or Voigt's six."""
    if stress.size == 9:
        return stress.reshape(3, 3)
    xx, yy, zz, yz, xz, xy = stress.ravel()
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
