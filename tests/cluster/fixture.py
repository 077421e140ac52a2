"""The `cluster` fixture: one cluster for a whole run of the tests, brought up when it is first asked for.

Where none can be had, the tests that ask for it are left out and say why; under `CI=true` they fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster, why_not

_LEFT_OUT = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cluster: needs the test cluster, and with it Linux, Debian and root")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanting = [item for item in items if "cluster" in getattr(item, "fixturenames", ())]
    for item in wanting:
        item.add_marker("cluster")
    reason = why_not() if wanting else None
    if not reason and not shutil.which("chromium"):
        wanting = [item for item in wanting if "browser" in getattr(item, "fixturenames", ())]
        reason = "They need Chromium: `python -m tests.cluster install`." if wanting else None
    if reason and os.environ.get("CI") != "true":
        items[:] = [item for item in items if item not in wanting]
        config.hook.pytest_deselected(items=wanting)
        config.stash[_LEFT_OUT] = f"{len(wanting)} tests were left out. {reason}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash.get(_LEFT_OUT, ""):
        terminalreporter.section("left out", yellow=True)
        terminalreporter.write_line(left_out)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster that is up; tests leave it as they found it, but for jobs and files."""
    if reason := why_not():
        pytest.fail(reason, pytrace=False)
    cluster = Cluster.reserve()
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
