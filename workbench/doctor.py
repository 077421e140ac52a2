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
    connection: Connection, python: str, work_folder: str, code: str, setup: Sequence[str] = ()
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
    return judge(facts)


def judge(facts: Mapping[str, Any]) -> Sequence[Finding]:
    """What the probe's facts mean."""
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
        findings.append(Finding("CUDA", torch["cuda"] or "torch was built without it: runs use the CPU"))
        findings.append(Finding("GPU", ", ".join(torch["gpus"]) or "none on the host that was asked"))
    compiler = facts["compiler"]
    findings.append(
        Finding("C++ compiler", compiler or "none", advice="" if compiler else "torch.compile needs one")
    )
    findings.append(Finding("cores", str(facts["cores"])))
    return [*findings, _folder(facts)]


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
