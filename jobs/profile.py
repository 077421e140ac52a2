"""`python -m jobs.profile SPEC.json`: time and tensors of every step of a model, forward and backward."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from jobs.entry import Outcome, main
from jobs.measuring import outcome
from jobs.protocol import Body, Caution, Progress
from jobs.spec import ProfileParameters, RunSpec

log = logging.getLogger(__name__)


def run(spec: RunSpec, emit: Callable[[Body], object]) -> Outcome:
    """The profile that the spec describes.

    Raises:
        AccelError: The model or the structures cannot be used.
    """
    # Late: libraries read the number of threads when they are loaded, and `entry` sets it first.
    import torch

    from accel.data import load_structures, sized_system
    from accel.profile import profile_model
    from accel.reference import load_model
    from accel.table import plain, profile_notes, profile_table

    asked = spec.parameters
    assert isinstance(asked, ProfileParameters)
    torch.set_num_threads(spec.threads)
    model = load_model(spec.model, dtype=asked.dtype, device=spec.device, allow_pickle=spec.allow_pickle)
    atoms = sized_system(load_structures(asked.structures), asked.n_atoms)
    log.info("profiling %s on %d atoms", spec.model, len(atoms))
    result = profile_model(
        model,
        atoms,
        repeats=asked.repeats,
        advance=lambda done, total: emit(Progress(done, total, "observing")),
    )
    table, notes = profile_table(result), profile_notes(result)
    for note in notes:
        emit(Caution(note))
    return outcome(spec, model, table, notes, {"profile": plain(result)})


if __name__ == "__main__":
    sys.exit(main("profile", run))
