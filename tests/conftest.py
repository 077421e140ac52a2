"""What every folder of tests can use, and how properties are tried."""

import os
from pathlib import Path

from hypothesis import settings

pytest_plugins = ["tests.cluster.fixture"]

# Compiling the kernels takes minutes: tests with a home or a cache of their own share what was compiled.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mace-workbench"
os.environ.setdefault("NUMBA_CACHE_DIR", str(_CACHE))

# A busy machine may take its time. Under CI the same examples are tried each time, so that a change is
# judged by what it changed; new ones are found where people work.
settings.register_profile("patient", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "patient")
