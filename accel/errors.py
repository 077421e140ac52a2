"""Everything `accel` raises on purpose, so that a job can end in one clear sentence.

AccelError
├── ModelError        a model is missing, broken, untrusted, or lacks an element
├── StructureError    structures are missing, empty, or unreadable
├── PlanError         a plan is unknown or cannot be applied to this model
├── MissingBackend    a library or a device that the plan needs is not here
├── ParityError       a technique disagreed with mace-torch in fp64
└── DynamicsError     a trajectory cannot be begun, gone on with, or blew up
"""


class AccelError(Exception):
    """What failed, on what, and what to do next, as one sentence."""


class ModelError(AccelError):
    """A model is missing, broken, untrusted, or lacks an element that was asked of it."""


class StructureError(AccelError):
    """Structures are missing, empty, or unreadable."""


class PlanError(AccelError):
    """A plan is unknown or cannot be applied to this model."""


class MissingBackend(AccelError):
    """A library or a device that the plan needs is not here; names what to install."""


class ParityError(AccelError):
    """A technique disagreed with mace-torch in fp64 beyond its stated tolerance."""


class DynamicsError(AccelError):
    """A trajectory cannot be begun, cannot be gone on with, or blew up."""
