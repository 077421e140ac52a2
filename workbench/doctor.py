"""Doctor: looks at the place where a profile runs its jobs, and says what is missing and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.errors import CommandFailed
from workbench.model.finding import Finding
from workbench.ports import Connection

_OLDEST_PYTHON = (3, 11)
_LEAST_FREE_GB = 1.0
_AFTER_SETUP = 'export PYTHONPATH="$0"; exec "$@"'  # a module may have set it
_INSTALL = "install the accel extra there: pip install 'mace-workbench[accel]'"


async def examine(
    connection: Connection, python: str, work_folder: str, code: str, setup: Sequence[str] = (), gpus: int = 0
) -> Sequence[Finding]:
    """Run the probe with the profile's interpreter, after the profile's setup, and judge what it says."""
    probe = [python, "-m", "jobs.probe", work_folder]
    if setup:
        probe = ["bash", "-c", "\n".join([*setup, _AFTER_SETUP]), code, *probe]
    try:
        answer = await connection.run(probe, env={"PYTHONPATH": code})
        facts = json.loads(answer.stdout.splitlines()[-1])
    except (CommandFailed, ValueError, IndexError) as error:
        advice = "set `python` of the profile to an interpreter that has torch and mace-torch"
        return [Finding("python", f"{python} cannot be used: {error}", good=False, advice=advice)]
    return judge(facts, gpus)


def judge(facts: Mapping[str, Any], gpus: int = 0) -> Sequence[Finding]:
    """What the probe's facts mean where jobs ask for so many GPUs."""
    version = tuple(int(part) for part in facts["python"].split("."))
    findings = [
        Finding(
            "python",
            f"{facts['python']} ({facts['executable']})",
            good=version >= _OLDEST_PYTHON,
            advice="" if version >= _OLDEST_PYTHON else "use Python 3.11 or newer",
        )
    ]
    for package, installed in facts["packages"].items():
        findings.append(
            Finding(package, installed or "missing", bool(installed), "" if installed else _INSTALL)
        )
    torch = facts["torch"]
    if "error" in torch:
        findings.append(Finding("import torch, mace", torch["error"], good=False, advice=_INSTALL))
    else:
        findings.append(Finding("import torch, mace", "works"))
        findings += [_cuda(torch["cuda"], gpus), Finding("GPU", _gpus(torch["gpus"], gpus))]
    compiler = facts["compiler"]
    findings.append(
        Finding("C++ compiler", compiler or "none", advice="" if compiler else "torch.compile needs one")
    )
    findings.append(Finding("cores", str(facts["cores"])))
    return [*findings, _folder(facts)]


def _cuda(version: str | None, gpus: int) -> Finding:
    if version or not gpus:
        return Finding("CUDA", version or "torch was built without it")
    advice = "install a torch that was built for CUDA, or set `gpus` to 0"
    return Finding(
        "CUDA", f"torch was built without it, and jobs ask for {gpus} GPUs", good=False, advice=advice
    )


def _gpus(found: Sequence[str], wanted: int) -> str:
    # A login node mostly has none, which says nothing of the nodes.
    return ", ".join(found) or ("none here; jobs ask for them" if wanted else "none: runs use the CPU")


def _folder(facts: Mapping[str, Any]) -> Finding:
    if facts["writable"] is not None:
        return Finding(
            "work folder",
            facts["writable"],
            good=False,
            advice="set `work_folder` to one that can be written",
        )
    enough = facts["free_gb"] >= _LEAST_FREE_GB
    return Finding(
        "work folder", f"{facts['free_gb']} GB free", good=enough, advice="" if enough else "free some space"
    )
