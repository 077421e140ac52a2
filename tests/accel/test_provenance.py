import json
import subprocess
import sys

import pytest

from accel.errors import MissingBackend
from accel.provenance import device_name, measured_on, provenance


def test_it_says_what_a_number_was_measured_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACE_WORKBENCH_CODE", "abc123")
    values = provenance(threads=3)
    assert json.loads(json.dumps(values)) == values
    assert values["code"] == "abc123"
    assert values["threads"] == 3
    assert values["device"] == "cpu"
    assert values["device_name"]
    packages = values["versions"]
    assert isinstance(packages, dict)
    assert {"python", "torch", "mace-torch", "e3nn", "numpy"} <= packages.keys()


def test_the_line_under_a_table_names_device_and_threads() -> None:
    line = measured_on(provenance(threads=1))
    assert "(cpu, 1 thread), torch " in line
    assert "(cpu, 2 threads)" in measured_on(provenance(threads=2))


def test_it_needs_no_torch_on_the_cpu() -> None:
    code = "from accel.provenance import provenance; provenance(); import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("device", ["cuda:99", "abacus", "meta"])
def test_a_device_that_is_not_here_is_named(device: str) -> None:
    with pytest.raises(MissingBackend, match=device):
        device_name(device)
