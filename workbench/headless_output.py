"""What all commands say things by: data on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from workbench.errors import NotFound, WorkbenchError
from workbench.model.job import Job
from workbench.model.sweep import folded
from workbench.services import Services


def print_json(value: object) -> None:
    """Data, for another program."""
    print(json.dumps(value, indent=2, default=_plain_value))


def _plain_value(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def say(text: str) -> None:
    """Something for a person, beside the data."""
    print(text, file=sys.stderr)


def jobs_of(services: Services, profile: str | None) -> Sequence[Job]:
    """All jobs, or those of one profile, newest first; each sweep as one.

    Raises:
        NotFound: There is no such profile.
    """
    if profile is not None and profile not in services.profiles():
        known = ", ".join(services.profiles())
        raise NotFound(f"There is no profile {profile!r}; there are: {known}.")
    return [job for job in folded(services.jobs()) if profile in (None, job.profile)]


async def refresh(services: Services) -> None:
    """Ask the schedulers; where one cannot be asked, say so and go on with what is known."""
    try:
        await services.refresh()
    except WorkbenchError as error:
        sentence = str(error).rstrip(".")
        say(f"mace-workbench: {sentence}. What is shown of its jobs is what was heard last.")
