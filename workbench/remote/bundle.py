"""The code that runs on a host: `accel/` and `jobs/` as one content-addressed folder.

    <folder>/<hash>/MANIFEST    sha256 and path of every file: `sha256sum -c MANIFEST` checks it by hand
    <folder>/<hash>/accel/…
    <folder>/<hash>/jobs/…

A changed file makes another folder, so a run that waits or goes on keeps the code it was started with.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.ports import Connection

log = logging.getLogger(__name__)

PACKAGES = ("accel", "jobs")
MANIFEST = "MANIFEST"
_CARRIED = {".json", ".md", ".py", ".safetensors", ".sbatch", ".toml", ".typed", ".xyz"}
_LEFT_OUT = {"__pycache__", "tests"}
_HASH_LETTERS = 16
_RELIED_ON_S = 86400.0
"""How long a deployed folder is relied on: nobody's cleaning removes it within two days of a deployment."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """The files of one state of the code."""

    name: str
    """Follows from the content alone."""
    files: Mapping[str, bytes]
    """By path, the manifest last."""


class DeployedCode:
    """The code of this program on one host: there when it is asked for, and looked after once a day."""

    def __init__(self, connection: Connection, work_folder: str) -> None:
        self._connection = connection
        self._work_folder = work_folder
        self._folder: str | None = None
        self._seen_at = 0.0
        self._deploying = asyncio.Lock()

    async def folder(self) -> str:
        """Where it is, put there first where it is not."""
        async with self._deploying:
            if self._folder is None or time.time() - self._seen_at > _RELIED_ON_S:
                self._folder = await deploy(self._connection, f"{self._work_folder}/code")
                self._seen_at = time.time()
            return self._folder

    def doubt(self) -> None:
        """Something went wrong that may come from its being gone: look when it is next asked for."""
        self._folder = None


async def deploy(connection: Connection, folder: str) -> str:
    """Have the code of this program in `folder` on the host; the path of its folder there.

    One command where it is there already; what is missing or cut short there is put back.

    Raises:
        ConnectionFailed: The host cannot be talked to.
        FileFailed: The folder cannot be written.
    """
    bundle = await asyncio.to_thread(pack)
    target = f"{folder}/{bundle.name}"
    sizes = await _sizes(connection, target)
    if sizes is None:
        await connection.put_tree(bundle.files, target)
        await _clean(connection, folder, target)
        return target
    for path, data in bundle.files.items():
        if sizes.get(path) != len(data):
            log.warning("%s in %s on %s is damaged: put back", path, target, connection.host)
            await connection.write(f"{target}/{path}", data)
    return target


async def _clean(connection: Connection, folder: str, target: str) -> None:
    """Remove the code of earlier states that no run needs; where that cannot be done, nothing is lost."""
    work_folder, name = folder.rpartition("/")[0], target.rpartition("/")[2]
    # The host's own Python, for that of the profile may need the profile's setup.
    argv = ["python3", "-E", "-S", f"{target}/jobs/clean.py", work_folder, name]
    done = await connection.run(argv, check=False)
    if done.exit_status:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        log.warning("Old code in %s on %s was not removed: %s", folder, connection.host, said)
    for removed in done.stdout.decode(errors="replace").split():
        log.info("Old code %s in %s on %s was removed: no run needs it", removed, folder, connection.host)


def pack() -> Bundle:
    """The code of this program, without running any of it.

    Raises:
        WorkbenchError: A package is not installed beside this program.
    """
    files = {path: data for package in PACKAGES for path, data in _files(package)}
    manifest = "".join(
        f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in files.items()
    ).encode()
    name = hashlib.sha256(manifest).hexdigest()[:_HASH_LETTERS]
    return Bundle(name, {**files, MANIFEST: manifest})


def _files(package: str) -> Iterator[tuple[str, bytes]]:
    """A package's files by their path from the folder that holds it, in the order of their paths."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WorkbenchError(f"The package {package} is not there: install mace-workbench again, whole.")
    root = Path(next(iter(spec.submodule_search_locations)))
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        hidden = any(part.startswith(".") or part in _LEFT_OUT for part in inside.parts)
        if path.suffix in _CARRIED and not hidden and path.is_file():
            yield f"{package}/{inside.as_posix()}", path.read_bytes()


async def _sizes(connection: Connection, folder: str) -> dict[str, int] | None:
    """Of every file in a folder on the host, by path; None where there is no such folder."""
    # The touch says to a cleaning, here or elsewhere, that the folder is in use.
    script = 'touch -c "$1"; exec find "$1/" -type f -exec wc -c {} +'
    listing = await connection.run(["sh", "-c", script, "mace-workbench-code", folder], check=False)
    # It also complains where a file vanishes under its eyes, as Python's caches do.
    if listing.exit_status != 0 and not listing.stdout:
        return None
    sizes = {}
    for line in listing.stdout.decode(errors="replace").splitlines():
        size, _, path = line.strip().partition(" ")
        _, inside, name = path.partition(f"{folder}/")
        if inside:
            sizes[name.lstrip("/")] = int(size)
    return sizes
