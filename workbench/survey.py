"""Survey: what a host says that it has to run jobs with. Pure: whatever the bytes, nothing here raises.

`host/survey.sh` asks for all of it with one command; this is what its answers mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_NOTHING = frozenset({"", "N/A", "(null)", "UNLIMITED", "NONE", "INFINITE"})
_MOST_MINUTES = 10**7
_DURATION = re.compile(r"(?:(\d{1,5})-)?(\d{1,6})(?::(\d{1,2}))?(?::(\d{1,2}))?", re.ASCII)
_VERSION = re.compile(r"\d{1,4}(\.\d{1,6}){0,3}", re.ASCII)
_OF_INTEREST = re.compile(r"conda|forge|mamba|python|cuda|torch|mace|default", re.IGNORECASE)
_MODULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/@-]*[A-Za-z0-9_.+-]", re.ASCII)
"""What may stand in a shell's line."""


@dataclass(frozen=True, slots=True)
class Association:
    """An account that the user may have jobs charged to."""

    account: str
    partition: str
    """Where only; empty for anywhere."""
    qos: Sequence[str]
    default_qos: str
    minutes: int | None
    """The most that a job may take; none for no limit."""


@dataclass(frozen=True, slots=True)
class Qos:
    """A quality of service and its limits for one user."""

    name: str
    minutes: int | None
    n_submitted: int | None
    n_running: int | None


@dataclass(frozen=True, slots=True)
class Partition:
    """A kind of node."""

    name: str
    default: bool
    minutes: int | None
    accounts: Sequence[str]
    """That may use it; none for all."""
    qos: Sequence[str]
    """That may be used in it; none for all."""
    n_nodes: int
    n_cpus: int
    """Of one node."""
    gpus: str
    """Of one node, as Slurm names them: `a100:4`."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python, and what it has."""

    path: str
    version: tuple[int, ...]
    torch: str
    mace: str


@dataclass(frozen=True, slots=True)
class Folder:
    """One that the user may write in."""

    path: str
    free_gb: float | None


@dataclass(frozen=True, slots=True)
class Survey:
    """All that was found."""

    complete: bool = False
    """Whether the host has answered to the end."""
    slurm: str = ""
    """Its version; empty where there is none."""
    default_account: str = ""
    associations: Sequence[Association] = ()
    qos: Sequence[Qos] = ()
    partitions: Sequence[Partition] = ()
    module_init: str = ""
    modules: Sequence[str] = ()
    conda: Sequence[str] = ()
    folders: Sequence[Folder] = ()
    pythons: Sequence[Interpreter] = ()
    unanswered: Sequence[str] = ()
    """What Slurm could not say, and what it said instead."""


def parse_survey(data: bytes, record: str, field: str) -> Survey:
    """What the script has answered, which is cut at its two separators alone."""
    texts: dict[str, str] = {}
    unanswered: list[str] = []
    folders: list[Folder] = []
    pythons: list[Interpreter] = []
    for part in data.decode(errors="replace").split(record)[1:]:
        kind, _, rest = part.removesuffix("\n").partition(field)
        code, _, text = rest.partition(field)
        path, _, more = text.partition(field)
        if code != "0":
            if kind != "slurm":
                unanswered.append(f"{kind}: {text.strip()}")
        elif kind == "folder":
            folders.append(Folder(path, _gigabytes(more)))
        elif kind == "python":
            pythons.extend(parse_python(path, more))
        else:
            texts[kind] = text
    slurm = texts.get("slurm", "").strip().rpartition(" ")[2]
    return Survey(
        complete="end" in texts,
        slurm=slurm,
        default_account=_first_line(texts.get("default_account", "")),
        associations=list(parse_associations(texts.get("associations", ""))),
        qos=list(parse_qos(texts.get("qos", ""))),
        partitions=list(parse_partitions(texts.get("partitions", ""), texts.get("nodes", ""))),
        module_init=_first_line(texts.get("module_init", "")),
        modules=list(parse_modules(texts.get("modules", ""))),
        conda=parse_conda(texts.get("conda", "")),
        folders=folders,
        pythons=pythons,
        unanswered=unanswered if slurm else (),
    )


def parse_minutes(text: str) -> int | None:
    """A duration of Slurm's, `days-hours:minutes:seconds`, in whole minutes; none for no limit."""
    text = text.strip()
    found = _DURATION.fullmatch(text)
    if text in _NOTHING or not found:
        return None
    days, first, second = (int(part or 0) for part in found.groups()[:3])
    with_hours = found[1] or found[4]  # `minutes` and `minutes:seconds` have none
    minutes = 1440 * days + 60 * first + second if with_hours else first
    return min(minutes, _MOST_MINUTES) or None


def parse_associations(text: str) -> Iterator[Association]:
    """Of `sacctmgr -nP show assoc format=Account,Partition,QOS,DefaultQOS,MaxWall`."""
    for account, partition, qos, default, limit in _rows(text, 5):
        if account:
            yield Association(account, partition, _words(qos), default, parse_minutes(limit))


def parse_qos(text: str) -> Iterator[Qos]:
    """Of `sacctmgr -nP show qos format=Name,MaxWall,MaxSubmitPU,MaxJobsPU`."""
    for name, limit, submitted, running in _rows(text, 4):
        if name:
            yield Qos(name, parse_minutes(limit), _whole(submitted), _whole(running))


def parse_partitions(text: str, nodes: str) -> Iterator[Partition]:
    """Of `scontrol -o show partition` and `sinfo -o '%R|%c|%m|%G|%D'`; those that take jobs."""
    shapes: dict[str, tuple[int, str]] = {}
    for name, cpus, _, gres, _ in _rows(nodes, 5):
        before = shapes.get(name, (0, ""))
        # Of several kinds of node in one partition, the one with GPUs, for its GPUs are what is asked for.
        shapes[name] = max(
            before, (_whole(cpus) or 0, parse_gpus(gres)), key=lambda shape: (bool(shape[1]), shape[0])
        )
    for line in text.splitlines():
        facts = dict(re.findall(r"(\w+)=(\S*)", line))
        name = facts.get("PartitionName", "")
        if not name or facts.get("State", "UP") != "UP" or facts.get("RootOnly") == "YES":
            continue
        n_cpus, gpus = shapes.get(name, (0, ""))
        yield Partition(
            name=name,
            default=facts.get("Default") == "YES",
            minutes=parse_minutes(facts.get("MaxTime", "")),
            accounts=_allowed(facts.get("AllowAccounts", "")),
            qos=_allowed(facts.get("AllowQos", "")),
            n_nodes=_whole(facts.get("TotalNodes", "")) or 0,
            n_cpus=n_cpus,
            gpus=gpus,
        )


def parse_gpus(gres: str) -> str:
    """The GPUs in a list of generic resources: `a100:4` of `gpu:a100:4(S:0-3),tmp:20G`."""
    for item in re.sub(r"\([^)]*\)", "", gres).split(","):
        kind, _, rest = item.partition(":")
        if kind == "gpu":
            return rest or "1"
    return ""


def parse_modules(text: str) -> Iterator[str]:
    """Of `module -t avail`: those that an environment for MACE may need."""
    for line in text.splitlines():
        name = re.sub(r"\((?:default|[A-Z,]+)\)$", "", line.strip()).removesuffix("@")
        if _MODULE.fullmatch(name) and _OF_INTEREST.search(name):
            yield name


def parse_conda(text: str) -> Sequence[str]:
    """Of `conda env list --json`: the folders of the environments."""
    try:
        found = json.loads(text)["envs"]
        return [folder for folder in found if isinstance(folder, str) and folder.startswith("/")]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def parse_python(path: str, said: str) -> Iterator[Interpreter]:
    """Three lines: its version, that of torch, that of mace-torch; none where it is no Python."""
    version, torch, mace, *_ = [*said.strip("\r\n").split("\n"), "", "", ""]
    if path.startswith("/") and _VERSION.fullmatch(version):
        yield Interpreter(path, tuple(map(int, version.split("."))), torch.strip(), mace.strip())


def _rows(text: str, n_columns: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == n_columns:
            yield cells


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _allowed(text: str) -> list[str]:
    return [] if text == "ALL" or text in _NOTHING else _words(text)


def _whole(text: str) -> int | None:
    found = re.match(r"\d{1,9}", text.strip(), re.ASCII)
    return int(found[0]) if found else None


def _gigabytes(kilobytes: str) -> float | None:
    found = re.fullmatch(r"\d{1,15}", kilobytes.strip(), re.ASCII)
    return round(int(found[0]) * 1024 / 1e9, 1) if found else None


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].strip()
