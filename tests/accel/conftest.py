"""One torch thread: models in tests are so small that a second one only waits for the first."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from accel import array_cache


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def no_models_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random models are prepared by the dozen: not in the user's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    array_cache.cache_home = lambda: folder
    return folder
