"""Removes code folders that no run needs any more: `python3 -E -S .../jobs/clean.py WORK_FOLDER KEEP`.

Every state of the code that was ever deployed has a folder in `WORK_FOLDER/code`. Those go that are old, or
are many and not quite new, and that no run in `WORK_FOLDER/runs` needs whose end is not certain. KEEP is the
name of the one that is in use by whoever asks.

A deployment touches the folder that it finds. So a folder is first moved to `.away-NAME`, looked at again
and moved back where it was touched or a run has come to need it. Only as `.gone-…`, from where nothing comes
back, is it taken apart. Each step is one rename, which of several cleanings succeeds for one; what a cleaning
that was cut off has left is put right by the next.

It runs with the host's own Python, from 3.6 on, and needs only the standard library.
"""

# Paths are texts throughout, as `os.listdir` gives them.
# ruff: noqa: PTH104, PTH110, PTH116, PTH118, PTH120, PTH123, PTH208

import os
import re
import shutil
import subprocess
import sys
import time

MOST = 5
"""Of the newest that stay for as long as they are not old."""
OLD_S = 30 * 86400.0
FRESH_S = 2 * 86400.0
"""For so long a program may go on with a code folder that it has found, before it looks again."""
_NAME = re.compile(r"[0-9a-f]{16}\Z")
_NAMED = re.compile(rb"/code/([0-9a-f]{16})(?![0-9a-f])")
_AWAY, _GONE = ".away-", ".gone-"


def clean(work_folder: str, keep: str, now: float) -> "list[str]":
    """Remove what nobody needs; the names of what was removed."""
    code = os.path.join(work_folder, "code")
    _put_right(code)
    candidates = _candidates(code, keep, now)
    if not candidates:
        return []
    needed = needed_by_runs(work_folder, now)
    removed = []
    for name in candidates:
        folder, away = os.path.join(code, name), os.path.join(code, _AWAY + name)
        if name in needed or not _moved(folder, away):
            continue
        # Both may have changed between the look and the move.
        if _age(away, now) < FRESH_S or name in needed_by_runs(work_folder, now):
            _moved(away, folder)
        elif _remove(away):
            removed.append(name)
    return removed


def _put_right(code: str) -> None:
    """Finish what a cleaning that was cut off has left."""
    for entry in _entries(code):
        path = os.path.join(code, entry)
        if entry.startswith(_GONE):
            shutil.rmtree(path, ignore_errors=True)
        elif entry.startswith(_AWAY) and not _moved(path, os.path.join(code, entry[len(_AWAY) :])):
            _remove(path)  # it was deployed again


def _candidates(code: str, keep: str, now: float) -> "list[str]":
    """Names of folders that are old or too many."""
    names = [name for name in _entries(code) if _NAME.match(name)]
    ages = {name: _age(os.path.join(code, name), now) for name in names if name != keep}
    newest_first = sorted(ages, key=lambda name: ages[name])
    return [
        name
        for place, name in enumerate(newest_first, 1)
        if ages[name] > OLD_S or (place >= MOST and ages[name] > FRESH_S)
    ]


def _entries(folder: str) -> "list[str]":
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _age(path: str, now: float) -> float:
    try:
        return now - os.stat(path).st_mtime
    except OSError:  # it has gone, and nothing is to be done with it
        return 0.0


def _moved(folder: str, target: str) -> bool:
    """Whether it was moved; it is not where somebody else was quicker, or the target is there."""
    try:
        os.rename(folder, target)
    except OSError:
        return False
    return True


def _remove(folder: str) -> bool:
    gone = os.path.join(os.path.dirname(folder), _GONE + os.urandom(8).hex())
    if not _moved(folder, gone):
        return False
    shutil.rmtree(gone, ignore_errors=True)
    return True


def needed_by_runs(work_folder: str, now: float) -> "set[str]":
    """Names of the code folders that runs name which are not over for certain, or were active lately."""
    runs = os.path.join(work_folder, "runs")
    queued = _queued()
    needed = set()  # type: set[str]
    for folder in _run_folders(runs):
        try:
            with open(os.path.join(folder, "run.sh"), "rb") as script:
                named = {found.decode() for found in _NAMED.findall(script.read())}
        except (FileNotFoundError, NotADirectoryError):
            continue
        if named and not named <= needed and _may_go_on(folder, queued, now):
            needed |= named
    return needed


def _run_folders(runs: str) -> "list[str]":
    """Each run's folder, and those of the members of a sweep in it."""
    folders = [os.path.join(runs, name) for name in _entries(runs)]
    for folder in folders[:]:
        if os.path.exists(os.path.join(folder, "sweep.jsonl")):
            folders += [os.path.join(folder, member) for member in _entries(folder)]
    return folders


def _may_go_on(folder: str, queued: "set[str] | None", now: float) -> bool:
    """Whether a run is going on or waiting, may be, or was lately, so that it may be requeued."""
    times = {}
    for entry in os.listdir(folder):
        try:
            times[entry] = os.stat(os.path.join(folder, entry)).st_mtime
        except FileNotFoundError:
            continue
    if now - max(times.values(), default=now) < OLD_S:
        return True
    if "state.json" in times:  # of the process scheduler, which writes it at the begin of an attempt
        return times["state.json"] > times.get("exit.json", 0.0)
    return queued is None or os.path.realpath(folder) in queued


def _queued() -> "set[str] | None":
    """Folders of the jobs in Slurm's queue; none where Slurm cannot be asked, or is not there."""
    asked = ["squeue", "-h", "-t", "all", "-u", str(os.getuid()), "-o", "%Z"]
    try:
        said = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if said.returncode:
        return None
    return {os.path.realpath(line) for line in said.stdout.decode(errors="surrogateescape").splitlines()}


if __name__ == "__main__":
    for removed_name in clean(sys.argv[1], sys.argv[2], time.time()):
        sys.stdout.write(removed_name + "\n")
