"""Molecules, clusters and a liquid, moved by GFN-xTB and labelled with GFN2-xTB.

Only `make_structures` uses this; it needs tblite, which is in the `dev` extra. Everything is seeded:
a trajectory draws from a generator of its own, so that changing one leaves the others as they were.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.md.langevin import Langevin
from ase.neighborlist import neighbor_list
from tblite.ase import TBLite

LABELS = "GFN2-xTB"
STEP_FS = 1.0
DEUTERIUM_U = 2.014
"""Hydrogen has the mass of deuterium, which allows the longer step and leaves every average as it is."""
METHANOL_G_PER_CM3 = 0.79
AVOGADRO_A3_PER_CM3 = 0.602214
"""Molecules in one Å³ for one mol in one cm³."""


def label(atoms: Atoms) -> Atoms:
    """A copy of `atoms` with `REF_energy`, `REF_forces` and, where periodic, `REF_stress` (Voigt)."""
    labelled = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    labelled.info = {key: value for key, value in atoms.info.items() if not key.startswith("REF_")}
    labelled.calc = TBLite(method=LABELS, verbosity=0)
    labelled.info["REF_energy"] = labelled.get_potential_energy()
    labelled.arrays["REF_forces"] = labelled.get_forces()
    if labelled.pbc.any():
        labelled.info["REF_stress"] = labelled.get_stress()
    labelled.calc = None
    return labelled


def trajectory(
    atoms: Atoms,
    *,
    temperature_k: float,
    n_frames: int,
    n_equilibration: int,
    interval: int,
    rng: np.random.Generator,
    method: str = LABELS,
    step_fs: float = STEP_FS,
    friction_per_fs: float = 0.02,
) -> list[Atoms]:
    """Unlabelled frames, `interval` steps apart, of a Langevin trajectory that begins at `atoms`."""
    moving = atoms.copy()
    masses = moving.get_masses()
    masses[moving.numbers == 1] = DEUTERIUM_U
    moving.set_masses(masses)
    moving.calc = TBLite(method=method, verbosity=0)
    speeds = np.sqrt(units.kB * temperature_k / moving.get_masses())
    moving.set_velocities(rng.normal(size=(len(moving), 3)) * speeds[:, None])
    dynamics = Langevin(
        moving,
        step_fs * units.fs,
        temperature_K=temperature_k,
        friction=friction_per_fs / units.fs,
        fixcm=False,
        rng=rng,
    )
    dynamics.run(n_equilibration)
    frames = []
    for _ in range(n_frames):
        dynamics.run(interval)
        frames.append(Atoms(moving.symbols, moving.positions, cell=moving.cell, pbc=moving.pbc))
    return frames


def cluster(names: Sequence[str], rng: np.random.Generator) -> Atoms:
    """Molecules side by side in random directions and orientations, touching but not overlapping."""
    parts = turned(names[0], rng)
    for name in names[1:]:
        arriving = turned(name, rng)
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        closest = rng.uniform(1.7, 2.4)
        distance = 12.0
        while distance > 0 and _gap(parts.positions, arriving.positions + distance * direction) > closest:
            distance -= 0.05
        arriving.positions += (distance + 0.05) * direction
        parts += arriving
        parts.positions -= parts.get_center_of_mass()
    return parts


def methanol_box(rng: np.random.Generator) -> Atoms:
    """Sixteen methanols on a bcc lattice at the liquid's density, each turned to fit its neighbours best."""
    sites = [
        np.array([x, y, z]) + shift for shift in (0.0, 0.5) for x in (0, 1) for y in (0, 1) for z in (0, 1)
    ]
    mass_u = molecule("CH3OH").get_masses().sum()
    side = (len(sites) * mass_u / (METHANOL_G_PER_CM3 * AVOGADRO_A3_PER_CM3)) ** (1 / 3)
    box = Atoms(cell=[side] * 3, pbc=True)
    for site in sites:
        candidates = []
        for _ in range(60):
            arriving = turned("CH3OH", rng)
            arriving.positions += site * side / 2
            candidates.append(box + arriving)
        box = max(candidates, key=_smallest_contact)
    return box


def turned(name: str, rng: np.random.Generator) -> Atoms:
    """A molecule of ASE's collection about the origin, turned at random."""
    geometry = molecule(name)
    atoms = Atoms(geometry.symbols, geometry.positions)
    atoms.positions -= atoms.positions.mean(axis=0)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    atoms.positions = atoms.positions @ (rotation * np.sign(np.linalg.det(rotation)))
    return atoms


def force_error(
    atoms: Atoms, rng: np.random.Generator, *, n_components: int = 3, step_a: float = 2e-3
) -> float:
    """Largest difference, eV/Å, of some `REF_forces` from central differences of the energy."""
    worst = 0.0
    for _ in range(n_components):
        atom, axis = rng.integers(len(atoms)), rng.integers(3)
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step_a
            energies.append(_tight_energy(moved))
        slope = (energies[0] - energies[1]) / (2 * step_a)
        worst = max(worst, abs(slope + atoms.arrays["REF_forces"][atom, axis]))
    return float(worst)


def stress_error(atoms: Atoms, *, strain: float = 1e-3) -> float:
    """Difference, eV/Å³, of the first component of `REF_stress` from a central difference of the energy."""
    energies = []
    for sign in (1, -1):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ np.diag([1 + sign * strain, 1, 1]), scale_atoms=True)
        energies.append(_tight_energy(strained))
    slope = (energies[0] - energies[1]) / (2 * strain * atoms.get_volume())
    return float(abs(slope - atoms.info["REF_stress"][0]))


def _tight_energy(atoms: Atoms) -> float:
    """The energy converged a hundred times better than that of the labels."""
    atoms.calc = TBLite(method=LABELS, verbosity=0, accuracy=0.01)
    return float(atoms.get_potential_energy())


def _gap(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first[:, None] - second[None], axis=2).min())


def _smallest_contact(atoms: Atoms, *, n_molecule: int = 6) -> float:
    """The shortest distance between two atoms of different molecules, periodic images included."""
    first, second, distance = neighbor_list("ijd", atoms, 5.0)
    apart = first // n_molecule != second // n_molecule
    return float(distance[apart].min(initial=5.0))
