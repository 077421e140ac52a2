"""What a model is refused for, and the proof that what was read from it is what it computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from accel.errors import ModelError, PlanError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def refuse(what: str) -> NoReturn:
    """Say that `what` has no compiled form, and what has one.

    Raises:
        PlanError: Always.
    """
    raise PlanError(f"{what} is not covered by the compiled evaluator: use plan 'swap' or 'reference'.")


def must_agree(ours: NDArray[np.float64], theirs: NDArray[np.float64], what: str) -> None:
    """Compare what was read from a model with what its module makes of the same input.

    Raises:
        ModelError: They differ.
    """
    if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-10, atol=1e-11):
        raise ModelError(
            f"The installed mace-torch or e3nn computes {what} in a way this version does not know: "
            "use plan 'reference' and report the versions."
        )
