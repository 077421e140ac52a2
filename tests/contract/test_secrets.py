"""What is typed to log in is nowhere afterwards: not on a disk, not in a log, in no argument of a process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.terminal import Terminal
from tests.cluster import files, site
from tests.cluster.cluster import Cluster
from tests.contract.ssh import Laptop
from workbench.config import load_config

PASSPHRASE = "open sesame, open"


def told_of_processes(pid: int) -> Iterator[bytes]:
    """The arguments and the environment of a process and of all that it has started."""
    try:
        for name in ("cmdline", "environ"):
            yield Path(f"/proc/{pid}/{name}").read_bytes()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return  # it has ended in the meantime
    for child in children:
        yield from told_of_processes(int(child))


def files_with(secret: str, folders: list[Path]) -> list[Path]:
    """The files in which a secret stands, by itself: six digits are part of many a number."""
    alone = re.compile(rb"(?<![\d.])" + re.escape(secret.encode()) + rb"(?!\d)")
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in paths if alone.search(path.read_bytes())]


@pytest.mark.parametrize("kind", ["asyncssh", "paramiko"])
@pytest.mark.parametrize("login", ["login-password-code", "login-key-code"])
def test_what_is_typed_to_log_in_is_kept_nowhere(
    kind: str, login: str, cluster: Cluster, tmp_path: Path
) -> None:
    key = tmp_path / "locked"
    files.new_key(key, "laptop", passphrase=PASSPHRASE)
    with (cluster.state / "home" / site.USER.name / ".ssh/authorized_keys").open("a") as known:
        known.write(files.public_key(key) + "\n")
    laptop = Laptop(cluster, tmp_path)
    env = laptop.program(laptop.target(login, f"IdentityFile {key}"), python="true")
    settings = tmp_path / ".config/mace-workbench/config.toml"
    text = settings.read_text().replace('"asyncssh"', f'"{kind}"')
    settings.write_text(text.replace('host = "login"', f'host = "{login}"'))
    first = (PASSPHRASE, "Passphrase") if login == "login-key-code" else (site.PASSWORD, "Password")
    typed = [first, (cluster.codes.next(), "Code")]

    on_login_node = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null || true"
    seen = b""
    with Terminal("--verbose", "submit", "demo", env=env) as terminal:
        for secret, asked in typed:
            terminal.wait_for(asked)
            terminal.press(f"{secret}\n")
        while terminal.process.poll() is None:
            terminal.drain()
            seen += b"\0".join(told_of_processes(terminal.process.pid))
            seen += cluster.login.run("sh", "-c", on_login_node).stdout.encode()
    assert terminal.process.returncode == 0
    assert b"workbench" in seen
    assert b"sshd" in seen

    log = load_config(env).state_folder / "mace-workbench.log"
    assert "Auth" in log.read_text()  # it is as talkative as it can be
    there = cluster.state / "home" / site.USER.name / "rds"
    for secret, _ in typed:
        assert secret.encode() not in seen
        assert files_with(secret, [tmp_path, there]) == []
