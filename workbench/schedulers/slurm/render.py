"""The batch script of a run, from `jobs/templates/run.sbatch`. Pure: values in, text out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources as package_files

from workbench.errors import SchedulerError
from workbench.model.job import Job

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:@%+=/&|-]*", re.ASCII)
"""What is put into `#SBATCH` lines, which sbatch reads by rules of its own."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_WARN_S = 120
_SINGLE = {
    "ABOUT": "One run of mace-workbench. "
    "By hand: `sbatch run.sh` in this folder, or without Slurm `bash run.sh`.",
    "OUTPUT": "stdout.log",
    "ID": "${SLURM_JOB_ID:-by-hand-$$}",
}
_ARRAY = {
    "ABOUT": "A sweep of mace-workbench. By hand: `sbatch run.sh` in this folder, or for one member of it, "
    "without Slurm, `SLURM_ARRAY_TASK_ID=0 bash run.sh`.",
    "OUTPUT": "%a/stdout.log",
    "ID": "${SLURM_ARRAY_JOB_ID:-by-hand-$$}_${SLURM_ARRAY_TASK_ID:?names the member}",
}


@dataclass(frozen=True, slots=True)
class SlurmSettings:
    """What a profile says of a cluster, for jobs that do not say it themselves."""

    account: str = ""
    partition: str = ""
    qos: str = ""
    gpus: int = 0
    time_limit_minutes: int = 0
    """The most that a job may ask for; 0 where the site is to judge that."""
    setup: Sequence[str] = ()
    """Shell commands, each complete, that make the environment of a run."""
    members_at_once: int = 0
    """Of a sweep; 0 for as many as the site lets run."""
    warn_s: int = _WARN_S
    """How long before its time is up a run is told so."""


def render(
    job: Job, argv: Sequence[str], env: Mapping[str, str], settings: SlurmSettings, *, tasks: str = ""
) -> str:
    """The script that runs `argv` in the job's folder.

    With `tasks`, as in `0-9` or `3,7`, it is an array, and each task runs in the folder of its number there.

    Raises:
        SchedulerError: Something cannot be asked of Slurm.
    """
    parts = {
        **(_ARRAY if tasks else _SINGLE),
        "DIRECTIVES": "\n".join(f"#SBATCH {line}" for line in _directives(job, settings, tasks)),
        "WARN_S": str(min(settings.warn_s, int(job.spec.resources.time_limit_s) // 2)),
        "LINKS": str(_links(job, settings)),
        "FOLDER": _quoted(job.folder, "The run's folder") + ("/$SLURM_ARRAY_TASK_ID" if tasks else ""),
        "SETUP": "\n".join(_setup(settings.setup)),
        "ENVIRONMENT": "\n".join(_environment(env)),
        "COMMAND": _command(argv),
    }
    return re.sub(r"@([A-Z_]+)@", lambda found: parts[found[1]], _template())


def _links(job: Job, settings: SlurmSettings) -> int:
    asked = job.spec.resources
    if asked.links > 1:
        if not job.spec.run.goes_on:
            raise SchedulerError(
                f"A {job.spec.run.experiment} begins anew each time, so a chain brings it no further: "
                "ask for more time instead."
            )
        if (asked.qos or settings.qos).casefold() == "intr":
            raise SchedulerError("The QOS INTR is for tests by hand: chain jobs in another one.")
    return max(1, asked.links)


@cache
def _template() -> str:
    return package_files.files("jobs").joinpath("templates/run.sbatch").read_text(encoding="utf-8")


def _directives(job: Job, settings: SlurmSettings, tasks: str) -> Iterator[str]:
    asked = job.spec.resources
    chosen = {
        "account": asked.account or settings.account,
        "partition": asked.partition or settings.partition,
        "qos": asked.qos or settings.qos,
        "dependency": asked.dependency or "",
    }
    for option, value in chosen.items():
        if value:
            if not _PLAIN.fullmatch(value):
                raise SchedulerError(f"Slurm cannot be asked for the {option} {value!r}: choose another one.")
            yield f"--{option}={value}"
    if tasks:
        at_once = f"%{settings.members_at_once}" if settings.members_at_once else ""
        yield f"--array={tasks}{at_once}"
    yield "--nodes=1"
    yield "--ntasks=1"
    yield f"--cpus-per-task={max(asked.cpus, job.spec.run.threads, 1)}"
    gpus = settings.gpus if asked.gpus is None else asked.gpus
    if gpus:
        yield f"--gres=gpu:{gpus}"
    if asked.memory_mb:
        yield f"--mem={asked.memory_mb}M"
    yield f"--time={_minutes(asked.time_limit_s, settings.time_limit_minutes)}"


def _minutes(seconds: float, most: int) -> int:
    # Slurm takes 0 for no limit at all.
    minutes = max(1, -(-int(seconds) // 60))
    if most and minutes > most:
        raise SchedulerError(
            f"The time limit of {minutes} min is more than the {most} min that the profile allows: ask for "
            "less, or raise `time_limit_minutes`."
        )
    return minutes


def _setup(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        said = shlex.quote(f"The profile's setup failed at: {line}")
        yield line
        yield f"code=$?; [ $code -eq 0 ] || {{ echo {said} >&2; exit $code; }}"


def _environment(env: Mapping[str, str]) -> Iterator[str]:
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name):
            raise SchedulerError(f"{name!r} in the profile's `env` cannot be the name of a variable.")
        yield f"export {name}={_quoted(value, f'The variable {name}')}"


def _command(argv: Sequence[str]) -> str:
    words = [_quoted(word, "The command") for word in argv]
    if words[0] == argv[0]:
        words[0] = f"'{argv[0]}'"  # or a shell would take `then` for its own, and `A=b` for a variable
    return " ".join(words)


def _quoted(text: str, what: str) -> str:
    if "\0" in text:
        raise SchedulerError(f"{what} holds a NUL character, which no command can be given.")
    return shlex.quote(text)


def tasks_text(indices: Iterable[int]) -> str:
    """The tasks of an array as sbatch takes them: `0-3,7`."""
    spans: list[list[int]] = []
    for index in sorted(indices):
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return ",".join(f"{first}-{last}" if first != last else str(first) for first, last in spans)
