"""One thread for everything that is computed here: the machine is shared, and times are not asserted."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
