"""How long commands take from the start of the process, and how much the base install weighs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.measure import show

ROOT = Path(__file__).parents[2]
_RUNS = 15


def main() -> None:
    for arguments, goal in ((["--version"], "< 0.15 s"), (["--help"], "–"), (["jobs"], "–")):
        show(f"mace-workbench {' '.join(arguments)}", times(arguments), "s", goal)
    show("base install without torch", [install_mb()], "MB", "< 250 MB")


def times(arguments: list[str]) -> list[float]:
    """Seconds from the start of the process to its end."""
    with tempfile.TemporaryDirectory() as home:
        env = {"HOME": home, "PATH": "/usr/bin:/bin"}
        found = []
        for _ in range(_RUNS):
            start = time.perf_counter()
            subprocess.run(
                [Path(sys.executable).parent / "mace-workbench", *arguments],
                check=True,
                env=env,
                capture_output=True,
            )
            found.append(time.perf_counter() - start)
    return found


def install_mb() -> float:
    """Megabytes that the base install adds to an empty virtual environment."""
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder) / "venv"
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        before = size(venv)
        pip = [str(venv / "bin/pip"), "install", "-q", "-c", str(ROOT / "constraints.txt"), str(ROOT)]
        subprocess.run(pip, check=True)
        return (size(venv) - before) / 1e6


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
