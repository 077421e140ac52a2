"""Makes `train.xyz`, `valid.xyz`, `test.xyz` and `liquid.xyz`: `python -m accel.shipped.make_structures`.

H/C/O in three kinds, told apart by `config_type`: `molecule`, `cluster` (2–4 molecules, free) and `liquid`
(16 methanols in a periodic cube). Each is sampled by Langevin dynamics and labelled with GFN2-xTB
(tblite); nothing comes from elsewhere. It takes a quarter of an hour on one core, most of it for the liquid.

The split: a molecule's or a cluster's frames of the three sets come from trajectories of their own, each
from its own starting velocities (and, for clusters, its own starting arrangement). `test` holds, besides,
molecules and clusters of which no set for training has any, as `config_type` `unseen`. The liquid is one
trajectory, cut into three with gaps between them.

The energies of single atoms, from which a model counts, are left to mace-torch's least-squares fit: the
sets hold no broken bonds, so that the energy of a free atom would be an extrapolation in any case.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from accel.shipped.sampling import (
    cluster,
    force_error,
    label,
    methanol_box,
    stress_error,
    trajectory,
    turned,
)

log = logging.getLogger(__name__)

SEED = 2026
FORCE_TOLERANCE_EV_PER_A = 1e-3
STRESS_TOLERANCE_EV_PER_A3 = 1e-4
KINDS = ("molecule", "cluster", "unseen", "liquid")
TEMPERATURES_K = (300.0, 450.0, 600.0)
CLUSTER_TEMPERATURES_K = (300.0, 400.0)
LIQUID_TEMPERATURE_K = 350.0
MOLECULES = (
    "H2", "H2O", "H2O2", "CH4", "CH3OH", "H2CO", "HCOOH", "CO2", "C2H2", "C2H4", "C2H6", "CH3CHO", "CH3CH2OH",
    "CH3OCH3", "CH3COOH", "HCOOCH3", "CH2OCH2", "C3H6_Cs", "C3H8", "CH3COCH3", "H2CCO", "butadiene", "C6H6",
    "trans-butane", "C4H4O",
)  # fmt: skip
UNSEEN_MOLECULES = ("CH3CH2OCH3", "C2H6CHOH", "OCHCHO", "isobutane")
CLUSTERS = (
    ("H2O",) * 2, ("H2O",) * 3, ("H2O",) * 4, ("CH3OH",) * 2, ("CH3OH",) * 3, ("CH3OH",) * 4,
    ("CH3OH", "H2O"), ("CH3OH", "H2O", "H2O"), ("CH3OH", "CH3OH", "H2O"), ("CH3OH", "CH3OH", "H2O", "H2O"),
    ("CH3CH2OH", "H2O"), ("CH3CH2OH", "CH3OH"), ("HCOOH", "HCOOH"), ("HCOOH", "H2O"), ("CH3COOH", "H2O"),
    ("H2CO", "H2O"), ("CH3COCH3", "CH3OH"), ("CH4", "H2O"), ("CH4", "CH3OH"), ("CH3OCH3", "H2O"),
    ("C2H6", "CH3OH"),
)  # fmt: skip
UNSEEN_CLUSTERS = (("CH3CH2OH",) * 2, ("CH3CHO", "H2O"), ("HCOOCH3", "CH3OH", "H2O"))
LIQUID_SETS = (("train", 12, 250, 20), ("valid", 4, 30, 10), ("test", 8, 60, 10))
"""Of each set: how many frames, the fs that pass before them, and the fs from one to the next."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Make all four files anew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where the files go")
    folder: Path = parser.parse_args(arguments).folder
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    write_sets(folder, [*free_frames(), *liquid_frames()])


def write_sets(folder: Path, frames: Sequence[Atoms]) -> None:
    """Check the labels of some frames of each kind, and write every frame to its set's file."""
    rng = np.random.default_rng([SEED, 9])
    by_kind = {kind: [atoms for atoms in frames if atoms.info["config_type"] == kind] for kind in KINDS}
    for kind, of_kind in by_kind.items():
        for index in rng.choice(len(of_kind), size=2, replace=False):
            error = force_error(of_kind[index], rng)
            log.info("forces of a %s: within %.1e eV/Å of finite differences", kind, error)
            if error > FORCE_TOLERANCE_EV_PER_A:
                raise RuntimeError(f"The forces of a {kind} are off by {error:.1e} eV/Å: {of_kind[index]}.")
    error = stress_error(by_kind["liquid"][0])
    log.info("stress of the liquid: within %.1e eV/Å³ of finite differences", error)
    if error > STRESS_TOLERANCE_EV_PER_A3:
        raise RuntimeError(f"The stress of the liquid is off by {error:.1e} eV/Å³.")
    for name in ("train", "valid", "test"):
        ase.io.write(folder / f"{name}.xyz", [atoms for atoms in frames if atoms.info["set"] == name])
    ase.io.write(folder / "liquid.xyz", by_kind["liquid"][-1])


def free_frames() -> Iterator[Atoms]:
    """Labelled molecules and clusters."""
    for number, name in enumerate(MOLECULES):
        yield from _sampled([name], "train", "molecule", [SEED, 1, number, 0], n_frames=4)
        yield from _sampled(
            [name], "valid", "molecule", [SEED, 1, number, 1], n_frames=1, temperatures_k=(450.0,)
        )
        yield from _sampled([name], "test", "molecule", [SEED, 1, number, 2], n_frames=1)
    for number, names in enumerate(CLUSTERS):
        for again in range(2):
            yield from _sampled(names, "train", "cluster", [SEED, 2, number, 0, again], n_frames=3)
        yield from _sampled(
            names, "valid", "cluster", [SEED, 2, number, 1], n_frames=1, temperatures_k=(350.0,)
        )
        yield from _sampled(names, "test", "cluster", [SEED, 2, number, 2], n_frames=1)
    for number, names in enumerate((*((name,) for name in UNSEEN_MOLECULES), *UNSEEN_CLUSTERS)):
        yield from _sampled(names, "test", "unseen", [SEED, 4, number], n_frames=2)


def liquid_frames() -> Iterator[Atoms]:
    """Labelled frames of liquid methanol.

    Periodic GFN2-xTB takes four seconds for these 96 atoms, GFN1-xTB one: the trajectory is of GFN1-xTB,
    and only the frames that are kept are computed with GFN2-xTB.
    """
    rng = np.random.default_rng([SEED, 3])
    start = methanol_box(rng)
    for name, n_frames, n_before, interval in LIQUID_SETS:
        frames = trajectory(
            start,
            method="GFN1-xTB",
            temperature_k=LIQUID_TEMPERATURE_K,
            n_frames=n_frames,
            n_equilibration=n_before,
            interval=interval,
            rng=rng,
        )
        start = frames[-1]
        for frame in frames:
            yield _tagged(label(frame), name, "liquid", "CH3OH")
        log.info("liquid, %s: %d frames", name, n_frames)


def _sampled(
    names: Sequence[str],
    set_name: str,
    kind: str,
    seed: Sequence[int],
    *,
    n_frames: int,
    temperatures_k: Sequence[float] | None = None,
) -> Iterator[Atoms]:
    """Labelled frames of one molecule or cluster, `n_frames` at each temperature."""
    rng = np.random.default_rng(seed)
    if temperatures_k is None:
        temperatures_k = TEMPERATURES_K if len(names) == 1 else CLUSTER_TEMPERATURES_K
    for temperature_k in temperatures_k:
        start = turned(names[0], rng) if len(names) == 1 else cluster(names, rng)
        # Fewer steps for clusters, which would otherwise drift apart.
        n_equilibration, interval = (150, 60) if len(names) == 1 else (30, 40)
        for frame in trajectory(
            start,
            temperature_k=temperature_k,
            n_frames=n_frames,
            n_equilibration=n_equilibration,
            interval=interval,
            rng=rng,
        ):
            yield _tagged(label(frame), set_name, kind, "+".join(names))
    log.info("%s, %s: %s", kind, set_name, "+".join(names))


def _tagged(atoms: Atoms, set_name: str, kind: str, name: str) -> Atoms:
    """`atoms` with its provenance."""
    atoms.info.update({"set": set_name, "config_type": kind, "name": name})
    return atoms


if __name__ == "__main__":
    main()
