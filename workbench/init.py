"""`mace-workbench init`: writes the profile of a cluster by asking the cluster, and the user for the rest."""

from __future__ import annotations

import difflib
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources as package_files
from pathlib import Path

from workbench.choosing import Chooser, say
from workbench.config import config_path, parse_config
from workbench.errors import ConnectionFailed, NotAllowed, NotFound
from workbench.model.profile import ClusterProfile
from workbench.plain import plain
from workbench.ports import Connection, Prompter
from workbench.profile_file import Value, read_config, section_of, with_profile, write_config
from workbench.schedulers.slurm.parse import Marks
from workbench.site import connection_of
from workbench.survey import Association, Folder, Interpreter, Partition, Qos, Survey, parse_survey

_OLDEST_PYTHON = (3, 11)
_FOLDER = "mace-workbench"
_SLURM_KEYS = ("account", "partition", "qos", "gpus", "time_limit_minutes", "setup")


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the configuration."""

    name: str
    path: str
    values: Mapping[str, Value]
    """By key of the profile; none for one that is not there."""
    not_asked: Mapping[str, str]
    """By question: what was taken where nobody was asked."""
    changed: bool


async def initialise(described: ClusterProfile, prompter: Prompter, *, asking: bool, sure: bool) -> Written:
    """Write the profile of the place that is `described` so far; `sure` replaces one of that name unasked.

    Raises:
        ConnectionFailed: The place cannot be talked to.
        NotFound: There is nothing that the user may submit to.
        NotAllowed: The user does not want to replace the profile that there is.
        ConfigError: The configuration cannot be understood or written.
    """
    path = config_path()
    # Before the user has answered anything: a file that cannot be changed, or a name that cannot be one.
    with_profile(read_config(path) or "", described.name, {})
    chooser = Chooser(asking)
    connection = connection_of(described, prompter)
    try:
        say(f"Asking {connection.host} …")
        found = await survey(connection)
    finally:
        await connection.close()
    values: dict[str, Value] = {
        "connection": described.connection,
        "host": described.host or None,
        "ssh_config": described.ssh_config or None,
        **values_of(found, chooser, described.name, described.python or _python_here(described)),
    }
    changed = write_profile(path, described.name, values, chooser, sure=sure)
    return Written(described.name, str(path), values, chooser.taken, changed)


async def survey(connection: Connection) -> Survey:
    """Ask a host what it has; one command.

    Raises:
        ConnectionFailed: It cannot be talked to, or has not answered to the end.
    """
    marks = Marks.new()
    script = package_files.files("workbench").joinpath("host/survey.sh").read_text(encoding="utf-8")
    argv = ["bash", "-lc", script, "mace-workbench-survey", marks.record, marks.field]
    done = await connection.run(argv, check=False)
    found = parse_survey(done.stdout, marks.record, marks.field)
    if not found.complete:
        said = plain(done.stderr.decode(errors="replace").strip().rpartition("\n")[2]) or "no reason"
        raise ConnectionFailed(
            connection.host, f"the questions for the profile were not answered to the end ({said}): try again"
        )
    return found


def values_of(found: Survey, chooser: Chooser, name: str, python: str = "") -> dict[str, Value]:
    """The keys of a profile, without those of its connection; none for a key that is not wanted.

    The `python` that the profile has stays where no better one is found, and so does its `setup`.

    Raises:
        NotFound: There is Slurm, and nothing that the user may submit to.
    """
    for sentence in found.unanswered:
        say(f"note: could not be found out: {plain(sentence)}")
    values: dict[str, Value] = {"scheduler": "slurm" if found.slurm else "process"}
    values |= {"slots": None, **_of_slurm(found, chooser)} if found.slurm else dict.fromkeys(_SLURM_KEYS)
    values["work_folder"] = _work_folder(found.folders, chooser)
    values["python"] = _python(found.pythons, chooser, name, python)
    if found.slurm and found.modules and found.module_init:
        modules = chooser.several("Modules to load before a run", found.modules)
        if modules:
            values["setup"] = [
                f". {shlex.quote(found.module_init)}",
                "module purge",
                *(f"module load {module}" for module in modules),
            ]
    return values


def write_profile(
    path: Path, name: str, values: Mapping[str, Value], chooser: Chooser, *, sure: bool
) -> bool:
    """Put the profile into the configuration, one of that name after it was asked for; whether it is new.

    Raises:
        NotAllowed: The user does not want it replaced, or nobody could be asked.
        ConfigError: The file cannot be understood or written.
    """
    before = read_config(path)
    text = before or ""
    profiles, _ = parse_config(text, str(path))
    if not text.strip():
        text = f'default = "{name}"\n'
    after = with_profile(text, name, values)
    parse_config(after, str(path))
    if after == before:
        return False
    old = section_of(text, name)
    say(_difference(old, section_of(after, name), name))
    if old and name in profiles and not sure and not chooser.whether(f"Replace the profile {name}"):
        raise NotAllowed(f"The profile {name} was left as it is: choose another name, or say --yes.")
    write_config(path, after, before)
    return True


def set_python(path: Path, name: str, python: str, chooser: Chooser, *, sure: bool) -> None:
    """Set `python` of a profile, where the user wants it.

    Raises:
        ConfigError: The file cannot be understood or written.
    """
    if not sure and not chooser.whether(f"Set it in the profile {name}"):
        say(f"The profile {name} was left as it is: put the line into it, or say --yes.")
        return
    before = read_config(path)
    after = with_profile(before or "", name, {"python": python})
    parse_config(after, str(path))
    if after != before:
        write_config(path, after, before)
    say(f"{path}: python of {name} is set.")


def _difference(old: str, new: str, name: str) -> str:
    if not old:
        return _plain_lines(new)
    before, after = old.splitlines(), new.splitlines()
    return _plain_lines(
        "\n".join(difflib.unified_diff(before, after, f"{name} now", f"{name} new", lineterm=""))
    )


def _plain_lines(text: str) -> str:
    """Text of several lines, made harmless."""
    return "\n".join(plain(line) for line in text.splitlines())


# -- Slurm ---------------------------------------------------------------------------------------------


def _of_slurm(found: Survey, chooser: Chooser) -> dict[str, Value]:
    pairs = sorted(_pairs(found), key=lambda pair: not _is_default(found, *pair))
    if not pairs:
        raise NotFound(
            "Slurm is there, but no partition that takes jobs of this user could be found "
            f"({len(found.partitions)} partitions, {len(found.associations)} accounts): ask the site for one."
        )
    options = [_described(*pair) for pair in pairs]
    association, partition = pairs[chooser.choose("Account and partition", options)]
    qos = _qos(found, association, partition, chooser)
    limits = [partition.minutes, association.minutes if association else None]
    limits += [each.minutes for each in found.qos if each.name == (qos or _default_qos(association))]
    known = [minutes for minutes in limits if minutes]
    return {
        "account": association.account if association else None,
        "partition": partition.name,
        "qos": qos,
        "gpus": _gpus(partition, chooser),
        "time_limit_minutes": min(known) if known else None,
    }


def _pairs(found: Survey) -> Iterator[tuple[Association | None, Partition]]:
    """Accounts with partitions that they may use; partitions alone where there is no accounting."""
    for partition in found.partitions:
        if not found.associations:
            yield None, partition
        for each in found.associations:
            named = each.partition in ("", partition.name)
            if named and (not partition.accounts or _in(each.account, partition.accounts)):
                yield each, partition


def _is_default(found: Survey, association: Association | None, partition: Partition) -> bool:
    return partition.default and (association is None or association.account == found.default_account)


def _described(association: Association | None, partition: Partition) -> str:
    gpus = f"GPUs {partition.gpus}" if partition.gpus else "no GPUs"
    nodes = "1 node" if partition.n_nodes == 1 else f"{partition.n_nodes} nodes"
    account = f"{association.account} on " if association else ""
    limit = f", at most {_duration(partition.minutes)}" if partition.minutes else ""
    return f"{account}{partition.name} ({nodes} of {partition.n_cpus} cores, {gpus}{limit})"


def _qos(
    found: Survey, association: Association | None, partition: Partition, chooser: Chooser
) -> str | None:
    """The QOS, none for the account's own."""
    if association is None:
        return None
    own = _default_qos(association)
    limits = {qos.name: qos for qos in found.qos}
    others = [
        name for name in association.qos if name != own and (not partition.qos or _in(name, partition.qos))
    ]
    options = [
        f"the account's own: {_with_limits(own, limits)}" if own else "the account's own",
        *(_with_limits(name, limits) for name in others),
    ]
    chosen = chooser.choose("QOS", options)
    return others[chosen - 1] if chosen else None


def _default_qos(association: Association | None) -> str:
    if association is None:
        return ""
    return association.default_qos or (association.qos[0] if len(association.qos) == 1 else "")


def _with_limits(name: str, limits: Mapping[str, Qos]) -> str:
    qos = limits.get(name)
    if qos is None:
        return name
    parts = [
        f"at most {_duration(qos.minutes)}" if qos.minutes else "",
        f"{qos.n_submitted} submitted at a time" if qos.n_submitted is not None else "",
        f"{qos.n_running} running at a time" if qos.n_running is not None else "",
    ]
    said = ", ".join(part for part in parts if part)
    return f"{name} ({said})" if said else name


def _gpus(partition: Partition, chooser: Chooser) -> int | None:
    last = partition.gpus.rpartition(":")[2]
    if not partition.gpus:
        return None
    most = int(last) if last.isdecimal() else 1
    options = ["no GPU", "1 GPU", *(f"{number} GPUs" for number in range(2, most + 1))][: most + 1]
    return chooser.choose("GPUs of a job that does not say how many", options, default=min(1, most))


# -- folders and interpreters --------------------------------------------------------------------------


def _work_folder(folders: Sequence[Folder], chooser: Chooser) -> str | None:
    """Below the first that is no home folder, by default: those are small."""
    if not folders:
        return None
    paths = [f"{folder.path.rstrip('/')}/{_FOLDER}" for folder in folders]
    options = [
        path if folder.free_gb is None else f"{path} ({folder.free_gb:g} GB free on its disk)"
        for path, folder in zip(paths, folders, strict=True)
    ]
    return paths[chooser.choose("Folder for runs, which nodes must see too", options)]


def _python_here(described: ClusterProfile) -> str:
    """The Python with which this program runs, where that is where the runs are."""
    return sys.executable if described.connection == "local" else ""


def _python(pythons: Sequence[Interpreter], chooser: Chooser, name: str, present: str) -> str | None:
    """The one that has the most of what is needed, by default."""
    ranked = sorted(pythons, key=_lacks)
    if present and not any(python.mace for python in ranked):
        say(f"Python of runs: {plain(present)}, as until now")
        return present
    if not ranked:
        say(f"note: no Python was found; `mace-workbench doctor {name} --create-env` makes an environment.")
        return None
    chosen = ranked[chooser.choose("Python of runs", [_with_packages(python) for python in ranked])]
    if any(_lacks(chosen)):
        say(f"note: it lacks something; `mace-workbench doctor {name} --create-env` makes an environment.")
    return chosen.path


def _lacks(python: Interpreter) -> tuple[bool, bool, bool]:
    return not python.mace, not python.torch, python.version < _OLDEST_PYTHON


def _with_packages(python: Interpreter) -> str:
    version = ".".join(map(str, python.version))
    has = f"torch {python.torch or 'missing'}, mace-torch {python.mace or 'missing'}"
    return f"{python.path} (Python {version}, {has})"


def _in(name: str, names: Sequence[str]) -> bool:
    # Slurm keeps accounts in small letters, and partitions name them as they were typed.
    return name.casefold() in {each.casefold() for each in names}


def _duration(minutes: int | None) -> str:
    return f"{(minutes or 0) / 60:g} h"
