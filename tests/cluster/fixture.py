"""The `cluster` fixture: one cluster for a whole run of the tests, brought up when it is first asked for.

Where none can be had, the tests that ask for it are left out and say why; under `CI=true` they fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster, why_not


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cluster: needs the test cluster, and with it Linux, Debian and root")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker("cluster")


@pytest.fixture(scope="session")
def cluster_possible() -> None:
    """Leave the test out, or fail it under CI, where no cluster can be brought up."""
    if reason := why_not():
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster(cluster_possible: None) -> Iterator[Cluster]:
    """A cluster that is up; tests leave it as they found it, but for jobs and files."""
    cluster = Cluster.reserve()
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
