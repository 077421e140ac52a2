"""A trajectory on disk that survives a kill: whole frames only, and beside them where to go on.

Frames are appended as extended XYZ, which every tool reads and which rounds to eight decimals. The
checkpoint holds the same moment to the last bit, and the length that the file of frames had then: what
a killed attempt wrote after it is cut off, so a run that goes on neither loses a frame nor doubles one.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from accel.errors import DynamicsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One moment of a run, to the last bit."""

    positions: NDArray[np.float64]
    """[n_atoms, 3], Å."""
    momenta: NDArray[np.float64]
    """[n_atoms, 3], ASE's units."""
    cell: NDArray[np.float64]
    """[3, 3], Å; lattice vectors in rows."""
    state: dict[str, Any]
    """Everything else, as plain JSON values."""

    @classmethod
    def of(cls, atoms: Atoms, state: dict[str, Any]) -> Checkpoint:
        """The moment that `atoms` are at."""
        return cls(atoms.get_positions(), atoms.get_momenta(), np.array(atoms.cell), state)

    def put_into(self, atoms: Atoms) -> None:
        """Bring `atoms` to this moment."""
        atoms.set_cell(self.cell, scale_atoms=False)
        atoms.set_positions(self.positions)
        atoms.set_momenta(self.momenta)


class Trajectory:
    """The frames of one run in `path`, and its checkpoint beside them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint_path = path.with_name(f"{path.stem}.checkpoint.npz")
        self._length = 0

    def begin(self) -> None:
        """Throw away what an earlier run left in these places.

        Raises:
            OSError: The files cannot be written.
        """
        self.checkpoint_path.unlink(missing_ok=True)
        self.path.write_bytes(b"")
        self._length = 0

    def read(self) -> Checkpoint | None:
        """The last checkpoint; None where there is none to go on from.

        Raises:
            DynamicsError: The checkpoint is broken, or the frames that belong to it are not there.
            OSError: The files cannot be read.
        """
        if not self.checkpoint_path.exists():
            return None
        checkpoint = self._read()
        length = checkpoint.state.get("trajectory_bytes")
        if not isinstance(length, int) or not self.path.exists() or self.path.stat().st_size < length:
            raise DynamicsError(
                f"{self.path} lacks frames that {self.checkpoint_path.name} speaks of: put the file back, or "
                "delete both to start anew."
            )
        return checkpoint

    def resume(self, checkpoint: Checkpoint) -> None:
        """Cut off what was written after a checkpoint that `read` gave.

        Raises:
            OSError: The file cannot be written.
        """
        self._length = int(checkpoint.state["trajectory_bytes"])
        os.truncate(self.path, self._length)

    def append(self, frame: Atoms) -> None:
        """Add one frame; it is on the disk whole when this returns, and not at all where it raises.

        Raises:
            OSError: There is no room.
        """
        text = io.StringIO()
        ase.io.write(text, frame, format="extxyz")
        rest = text.getvalue().encode()
        with self.path.open("ab", buffering=0) as file:  # a buffer would write its rest once more on closing
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except BaseException:
                os.truncate(self.path, self._length)
                raise
            self._length = file.tell()

    def save(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint in place whole, or leave the one before.

        Raises:
            OSError: There is no room.
        """
        state = {**checkpoint.state, "format": _FORMAT, "trajectory_bytes": self._length}
        temporary = self.checkpoint_path.with_name(f".{self.checkpoint_path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                np.savez(
                    file,
                    positions=checkpoint.positions,
                    momenta=checkpoint.momenta,
                    cell=checkpoint.cell,
                    state=np.array(json.dumps(state)),
                )
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.checkpoint_path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _read(self) -> Checkpoint:
        try:
            with np.load(self.checkpoint_path, allow_pickle=False) as stored:
                state = json.loads(str(stored["state"]))
                found = Checkpoint(stored["positions"], stored["momenta"], stored["cell"], state)
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DynamicsError(
                f"The checkpoint {self.checkpoint_path} is broken: delete it and {self.path.name} to start "
                "anew."
            ) from error
        if not isinstance(state, dict) or state.get("format") != _FORMAT:
            raise DynamicsError(
                f"The checkpoint {self.checkpoint_path} is of another version of this program: go on with "
                f"that one, or delete it and {self.path.name} to start anew."
            )
        return found


def frame_of(atoms: Atoms, step: int, time_fs: float | None) -> Atoms:
    """What is written of one moment: positions, momenta, energy and forces."""
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, momenta=atoms.get_momenta())
    frame.info["step"] = step
    if time_fs is not None:
        frame.info["time_fs"] = time_fs
    frame.calc = SinglePointCalculator(frame, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
    return frame
