"""What every folder of tests can use, and how properties are tried."""

import os

from hypothesis import settings

pytest_plugins = ["tests.cluster.fixture"]

# A busy machine may take its time. Under CI the same examples are tried each time, so that a change is
# judged by what it changed; new ones are found where people work.
settings.register_profile("patient", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "patient")
