"""Trains the shipped models with mace-torch's own trainer: `python -m accel.shipped.make_models [NAME…]`.

For each model it runs `mace_run_train` on `train.xyz` and `valid.xyz`, writes the result without pickle,
checks that what was written gives the numbers of what was trained, and measures the stored model on
`test.xyz` for its card. It takes about a quarter of an hour a model on one core.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accel.data import load_structures
from accel.model_files import SHIPPED_MODELS, load_model, save_model
from accel.reference import ReferenceEvaluator
from accel.shipped.card import write_card

log = logging.getLogger(__name__)

DATA = Path(__file__).parent
WRITTEN_TOLERANCE = 1e-12
"""Relative to the energy in eV, and absolute for forces in eV/Å."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What sets one model apart from the other."""

    summary: str
    hidden_irreps: str
    r_max_a: float
    epochs: int
    stage_two_from: int
    """The epoch from which energies weigh more and the learning rate is lower."""
    decay: float
    """Of the learning rate, each epoch."""
    energy_weights: tuple[float, float]
    """In the two stages; forces weigh 100 in both."""


RECIPES: Mapping[str, Recipe] = {
    "h2co-small": Recipe("32 scalar channels, cutoff 4 Å.", "32x0e", 4.0, 60, 42, 0.9467, (40, 200)),
    "h2co-medium": Recipe(
        "64 scalar and 64 vector channels, cutoff 4 Å.", "64x0e+64x1o", 4.0, 22, 16, 0.87, (40, 200)
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the models that are named, or all, and write them beside this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", default=list(RECIPES), help="by default all")
    parser.add_argument("--work-folder", type=Path, help="keep the trainer's logs and checkpoints here")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for name in chosen.names:
        if chosen.work_folder is not None:
            make(name, chosen.work_folder / name)
        else:
            with tempfile.TemporaryDirectory() as folder:
                make(name, Path(folder))


def make(name: str, work_folder: Path) -> None:
    """Train, store, check and measure one model."""
    work_folder.mkdir(parents=True, exist_ok=True)
    command = train_arguments(name)
    begun = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "mace.cli.run_train", *command, f"--work_dir={work_folder}"],
        check=True,
        cwd=DATA,
    )
    seconds = time.monotonic() - begun
    save_trained(work_folder / f"{name}_stagetwo.model", SHIPPED_MODELS / name)
    write_card(
        name,
        summary=RECIPES[name].summary,
        script=f"python -m accel.shipped.make_models {name}",
        command=["mace_run_train", *command],
        seconds=seconds,
    )


def train_arguments(name: str) -> list[str]:
    """Arguments of `mace_run_train`, but for its work folder; paths are relative to the data."""
    recipe = RECIPES[name]
    return [
        f"--name={name}",
        "--train_file=train.xyz",
        "--valid_file=valid.xyz",
        "--E0s=average",
        "--model=MACE",
        f"--hidden_irreps={recipe.hidden_irreps}",
        f"--r_max={recipe.r_max_a}",
        "--num_interactions=2",
        "--max_ell=3",
        "--correlation=3",
        "--num_radial_basis=8",
        "--num_cutoff_basis=5",
        "--MLP_irreps=16x0e",
        "--scaling=rms_forces_scaling",
        "--default_dtype=float64",
        "--device=cpu",
        "--seed=1",
        "--batch_size=5",
        "--valid_batch_size=20",
        f"--max_num_epochs={recipe.epochs}",
        "--loss=weighted",
        f"--energy_weight={recipe.energy_weights[0]}",
        "--forces_weight=100",
        "--lr=0.01",
        "--scheduler=ExponentialLR",
        f"--lr_scheduler_gamma={recipe.decay}",
        "--swa",
        f"--start_swa={recipe.stage_two_from}",
        f"--swa_energy_weight={recipe.energy_weights[1]}",
        "--swa_forces_weight=100",
        "--swa_lr=0.0005",
        "--ema",
        "--ema_decay=0.99",
        "--amsgrad",
        "--clip_grad=10",
        "--eval_interval=1",
        "--error_table=PerAtomRMSE",
        "--plot=False",
        "--save_cpu",
    ]


def save_trained(path: Path, folder: Path) -> None:
    """Store the trainer's result without pickle, and make sure that nothing was lost on the way."""
    trained = load_model(str(path), allow_pickle=True)
    save_model(trained, folder)
    before, after = ReferenceEvaluator(trained), ReferenceEvaluator(load_model(str(folder)))
    for atoms in load_structures("shipped:test", limit=20):
        want, got = before.evaluate(atoms), after.evaluate(atoms)
        energy_error = abs(got.energy_ev - want.energy_ev) / abs(want.energy_ev)
        if max(energy_error, float(np.abs(got.forces - want.forces).max())) > WRITTEN_TOLERANCE:
            raise RuntimeError(f"The model in {folder} does not give the numbers of the trained one.")


if __name__ == "__main__":
    main()
