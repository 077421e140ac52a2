from __future__ import annotations

import asyncio
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from workbench.errors import FileFailed, WorkbenchError
from workbench.remote import bundle
from workbench.remote.local import LocalConnection

ROOT = Path(__file__).parents[2]


class CountingConnection(LocalConnection):
    """Counts what would travel."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.trees = 0

    async def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        self.written.append(path)
        await super().write(path, data, mode=mode)

    async def put_tree(self, files: Mapping[str, bytes], folder: str) -> None:
        self.trees += 1
        await super().put_tree(files, folder)


@pytest.fixture
def connection() -> CountingConnection:
    return CountingConnection()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that stands for those that travel; it must not be run."""
    root = tmp_path / "source" / "travelling"
    (root / "shipped").mkdir(parents=True)
    (root / "__init__.py").write_text("raise AssertionError('it was run')\n")
    (root / "shipped" / "weights.safetensors").write_bytes(bytes(range(256)))
    (root / "shipped" / "odd name.xyz").write_text("1\n")
    monkeypatch.syspath_prepend(str(root.parent))
    monkeypatch.setattr(bundle, "PACKAGES", (root.name,))
    importlib.invalidate_caches()
    return root


def inside(folder: str) -> list[Path]:
    return list(Path(folder).iterdir())


def modified(folder: Path) -> float:
    return folder.stat().st_mtime


def do_damage(kind: str, target: Path) -> None:
    victim = target / "travelling" / "shipped" / "odd name.xyz"
    match kind:
        case "removed":
            victim.unlink()
        case "cut short":
            victim.write_text("1")
        case "emptied":
            victim.write_text("")
        case "manifest removed":
            (target / "MANIFEST").unlink()
        case _:
            shutil.rmtree(target)
            target.mkdir()


def test_every_file_of_the_packages_in_the_repository_travels() -> None:
    listing = subprocess.run(
        ["git", "ls-files", "-z", *bundle.PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    tracked = {name for name in listing.stdout.split("\0") if name and (ROOT / name).exists()}
    assert tracked
    assert tracked <= bundle.pack().files.keys()


def test_a_bundle_is_named_by_its_content_and_checks_itself(package: Path) -> None:
    first, again = bundle.pack(), bundle.pack()
    assert first == again
    assert list(first.files) == [
        "travelling/__init__.py",
        "travelling/shipped/odd name.xyz",
        "travelling/shipped/weights.safetensors",
        "MANIFEST",
    ]
    manifest = first.files["MANIFEST"].decode().splitlines()
    assert (
        manifest[2]
        == f"{hashlib.sha256(bytes(range(256))).hexdigest()}  travelling/shipped/weights.safetensors"
    )
    (package / "shipped" / "odd name.xyz").write_text("2\n")
    changed = bundle.pack()
    assert changed.name != first.name
    (package / "shipped" / "odd name.xyz").rename(package / "shipped" / "other name.xyz")
    assert bundle.pack().name not in (first.name, changed.name)


def test_caches_tests_and_by_products_stay_at_home(package: Path) -> None:
    before = bundle.pack()
    for name in [
        "__pycache__/a.json", "__pycache__/__init__.cpython-311.pyc", "tests/test_it.py", ".hidden.py",
        ".cache/a.py", "shipped/train.log", "shipped/checkpoint.pt", "shipped/run.model", "shipped/a.py.part",
    ]:  # fmt: skip
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text("by-product")
    assert bundle.pack() == before


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "PACKAGES", ("no_such_package",))
    with pytest.raises(WorkbenchError, match="no_such_package is not there: install"):
        bundle.pack()


def test_packing_imports_nothing_of_what_it_packs() -> None:
    script = (
        "import sys; from workbench.remote import bundle; bundle.pack(); "
        "sys.exit(any(name in sys.modules for name in ('accel', 'torch', 'numpy')))"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


async def test_what_is_there_is_not_sent_again(connection: CountingConnection, tmp_path: Path) -> None:
    folder = f"{tmp_path}/code"
    target = await bundle.deploy(connection, folder)
    assert connection.trees == 1
    await connection.run(["sha256sum", "--check", "--strict", "MANIFEST"], cwd=target)
    assert await bundle.deploy(connection, folder) == target
    assert (connection.trees, connection.written) == (1, [])
    assert inside(folder) == [Path(target)]


async def test_the_code_that_was_sent_runs_without_anything_else(
    connection: CountingConnection, tmp_path: Path
) -> None:
    target = await bundle.deploy(connection, f"{tmp_path}/code")
    request = b'{"id": "a", "folder": "/no/such/folder"}\n'
    argv = [sys.executable, "-E", "-S", "-m", "jobs.detach", "status"]
    done = await connection.run(argv, stdin=request, cwd=target)
    assert b'"ABSENT"' in done.stdout
    # What Python has cached there since is no damage.
    assert await bundle.deploy(connection, f"{tmp_path}/code") == target
    assert connection.written == []


@pytest.mark.parametrize("damage", ["removed", "cut short", "emptied", "manifest removed", "all removed"])
async def test_a_damaged_folder_is_put_right(
    connection: CountingConnection, tmp_path: Path, package: Path, damage: str
) -> None:
    folder = f"{tmp_path}/code"
    target = Path(await bundle.deploy(connection, folder))
    do_damage(damage, target)
    assert Path(await bundle.deploy(connection, folder)) == target
    for name, data in bundle.pack().files.items():
        assert (target / name).read_bytes() == data
    assert connection.trees == 1


async def test_many_at_once_end_with_one_whole_folder(connection: CountingConnection, tmp_path: Path) -> None:
    folder = f"{tmp_path}/code"
    targets = await asyncio.gather(*(bundle.deploy(connection, folder) for _ in range(4)))
    assert len(set(targets)) == 1
    assert inside(folder) == [Path(targets[0])]


async def test_a_place_that_cannot_be_written_is_named(
    connection: CountingConnection, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileFailed, match="a part of the path is a file"):
        await bundle.deploy(connection, f"{tmp_path}/file/code")


async def test_a_deployment_that_finds_its_folder_says_that_it_is_in_use(
    connection: CountingConnection, tmp_path: Path
) -> None:
    target = Path(await bundle.deploy(connection, f"{tmp_path}/code"))
    os.utime(target, (0, 0))
    await bundle.deploy(connection, f"{tmp_path}/code")
    assert modified(target) > 0
    assert connection.trees == 1


async def test_a_cleaning_that_fails_does_not_stop_a_deployment(
    connection: CountingConnection,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "runs").write_text("in the way")
    old = tmp_path / "code" / ("0" * 16)
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    target = await bundle.deploy(connection, f"{tmp_path}/code")
    assert set(inside(f"{tmp_path}/code")) == {Path(target), old}
    assert "was not removed: NotADirectoryError" in caplog.text
