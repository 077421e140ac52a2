"""What `doctor` looks at beside the interpreter: the scheduler, whether it takes jobs, and the quota."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources as package_files

from workbench.model.finding import Finding
from workbench.model.profile import ClusterProfile
from workbench.plain import plain
from workbench.ports import Connection
from workbench.schedulers.slurm.parse import Marks
from workbench.schedulers.slurm.states import refusal

_COMMANDS = ("sbatch", "squeue", "sacct")
_QUOTAS = {"quota": "quota", "lfs": "lfs quota", "mybalance": "mybalance"}
_NOT_FOUND = 127

Answers = Mapping[str, tuple[int, str]]
"""Of each command, its exit status and what it has said."""


async def examine_scheduler(
    connection: Connection, profile: ClusterProfile, work_folder: str
) -> Sequence[Finding]:
    """Ask the scheduler's commands and those for quotas; one command, nothing is submitted."""
    marks = Marks.new()
    script = package_files.files("workbench").joinpath("host/examine.sh").read_text(encoding="utf-8")
    argv = ["bash", "-lc", script, "mace-workbench-examine", marks.record, marks.field, work_folder]
    done = await connection.run([*argv, *options(profile)], check=False)
    answers = parse_answers(done.stdout, marks)
    if "end" not in answers:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        advice = f"see whether `bash -l` works on {connection.host}"
        return [Finding("scheduler", f"not answered to the end: {plain(said)}", good=False, advice=advice)]
    of_slurm = list(judge_slurm(answers, profile)) if profile.scheduler == "slurm" else []
    return [*of_slurm, *judge_quotas(answers)]


def options(profile: ClusterProfile) -> list[str]:
    """For `sbatch`: a job of one minute as the profile asks for; none for a host without Slurm."""
    if profile.scheduler != "slurm":
        return []
    asked = {"account": profile.account, "partition": profile.partition, "qos": profile.qos}
    chosen = [f"--{key}={value}" for key, value in asked.items() if value]
    if profile.gpus:
        chosen.append(f"--gres=gpu:{profile.gpus}")
    return [*chosen, "--ntasks=1", f"--time={profile.time_limit_minutes or 1}"]


def parse_answers(data: bytes, marks: Marks) -> dict[str, tuple[int, str]]:
    """What `examine.sh` has answered; what cannot be understood is left out."""
    answers = {}
    for record in data.decode(errors="replace").split(marks.record)[1:]:
        kind, *rest = record.removesuffix("\n").split(marks.field, 2)
        if len(rest) == 2 and rest[0].isascii() and rest[0].isdigit() and len(rest[0]) < 4:
            answers[kind] = (int(rest[0]), rest[1].strip())
    return answers


def judge_slurm(answers: Answers, profile: ClusterProfile) -> Iterator[Finding]:
    """What Slurm's answers mean."""
    for command in _COMMANDS:
        status, said = answers.get(command, (_NOT_FOUND, "no answer"))
        if status == 0:
            yield Finding(command, plain(said))
        elif command == "sacct":
            yield Finding(command, _sentence(status, said), advice="jobs are followed without it")
        else:
            advice = "add the folder of Slurm's commands to PATH in ~/.bash_profile there, or set `scheduler`"
            yield Finding(command, _sentence(status, said), good=False, advice=advice)
    if answers.get("sbatch", (1, ""))[0] != 0:
        return
    status, said = answers.get("queue", (1, "no answer"))
    if status:
        yield Finding("queue", plain(refusal(said)), good=False, advice="wait for Slurm to answer again")
    status, said = answers.get("accounting", (1, "no answer"))
    if status and answers.get("sacct", (1, ""))[0] == 0:
        yield Finding("accounting", plain(refusal(said)), advice="jobs are followed without it")
    status, said = answers.get("accepted", (1, "no answer"))
    asked = " ".join(options(profile))
    if status == 0:
        yield Finding("a job", plain(f"would be taken ({asked})"))
    else:
        advice = (
            "change account, partition, qos, gpus or time_limit_minutes; `mace-workbench init` lists them"
        )
        yield Finding("a job", plain(f"refused ({asked}): {refusal(said)}"), good=False, advice=advice)


def judge_quotas(answers: Answers) -> Iterator[Finding]:
    """What the site's commands for quotas say: shown, for every site words it in its own way."""
    heard = False
    for kind, command in _QUOTAS.items():
        status, said = answers.get(kind, (_NOT_FOUND, ""))
        if status == 0 and said:
            heard = True
            yield Finding(command, "; ".join(" ".join(plain(line).split()) for line in said.splitlines()))
    if not heard:
        yield Finding("quota", f"not known: {', '.join(_QUOTAS.values())} do not answer there")


def _sentence(status: int, said: str) -> str:
    return (
        "missing" if status == _NOT_FOUND else f"failed with {status}: {plain(said.rpartition(chr(10))[2])}"
    )
