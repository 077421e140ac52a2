from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from workbench.doctor import examine, judge
from workbench.remote.local import LocalConnection

ROOT = str(Path(__file__).parents[2])
GOOD: dict[str, Any] = {
    "python": "3.11.7",
    "executable": "/opt/python",
    "packages": {"torch": "2.13.0", "mace-torch": "0.3.16"},
    "torch": {"cuda": None, "gpus": []},
    "cores": 2,
    "compiler": "/usr/bin/c++",
    "writable": None,
    "free_gb": 10.0,
}


def bad(facts: dict[str, Any]) -> dict[str, str]:
    return {finding.subject: finding.advice for finding in judge({**GOOD, **facts}) if not finding.good}


def test_a_place_that_has_everything_is_good() -> None:
    assert bad({}) == {}


@pytest.mark.parametrize(
    ("facts", "subject", "advice"),
    [
        ({"python": "3.9.2"}, "python", "3.11"),
        ({"packages": {"torch": None}}, "torch", "accel extra"),
        ({"torch": {"error": "ImportError: libcudart"}}, "import torch, mace", "accel extra"),
        ({"writable": "Permission denied"}, "work folder", "work_folder"),
        ({"free_gb": 0.2}, "work folder", "free some space"),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(facts: dict[str, Any], subject: str, advice: str) -> None:
    found = bad(facts)
    assert list(found) == [subject]
    assert advice in found[subject]


def test_torch_without_cuda_is_bad_only_where_jobs_ask_for_gpus() -> None:
    (finding,) = (each for each in judge(GOOD, gpus=2) if not each.good)
    assert (finding.subject, "built for CUDA" in finding.advice) == ("CUDA", True)
    with_cuda = {**GOOD, "torch": {"cuda": "12.4", "gpus": []}}
    found = {each.subject: each.found for each in judge(with_cuda, gpus=2)}
    assert (found["CUDA"], found["GPU"]) == ("12.4", "none here; jobs ask for them")


async def test_the_probe_finds_this_interpreter_good(tmp_path: Path) -> None:
    findings = {finding.subject: finding for finding in await look(sys.executable, tmp_path)}
    assert findings["import torch, mace"].found == "works"
    assert all(finding.good for finding in findings.values()), findings


async def test_an_interpreter_that_is_not_there_is_one_finding(tmp_path: Path) -> None:
    (finding,) = await look("/nowhere/python", tmp_path)
    assert not finding.good
    assert "/nowhere/python cannot be used" in finding.found


async def look(python: str, folder: Path) -> Any:
    connection = LocalConnection()
    try:
        return await examine(connection, python, str(folder), ROOT)
    finally:
        await connection.close()
