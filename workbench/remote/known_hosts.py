"""What is known of hosts' keys, and the sentences for a key that is not the right one."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from workbench.errors import HostKeyRefused
from workbench.remote.ssh_config import SshOptions


def fingerprint(key: bytes) -> str:
    """Of a key in its wire form, as `ssh` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def changed(options: SshOptions, shown: str) -> HostKeyRefused:
    """A host shows another key than the one that is known of it."""
    where = f" -f {options.known_hosts_files[0]}" if options.known_hosts_files else ""
    return HostKeyRefused(
        options.target.alias,
        f"its host key has changed (it now shows {shown}), so somebody may be listening in: ask the site "
        f"whether that is right, and if so forget the old with `ssh-keygen -R '{options.known_as}'{where}`",
    )


def unknown(options: SshOptions, shown: str) -> HostKeyRefused:
    """A host that was never seen before was not trusted."""
    return HostKeyRefused(
        options.target.alias,
        f"its host key ({shown}) is not known and was not trusted; compare it with what the site says, "
        f"and connect again",
    )


def remember(options: SshOptions, kind: str, key: bytes) -> None:
    """Trust a host's key from now on.

    Raises:
        HostKeyRefused: It cannot be written down.
    """
    files = options.known_hosts_files or [Path.home() / ".ssh/known_hosts"]
    line = f"{options.known_as} {kind} {base64.b64encode(key).decode()}\n"
    try:
        files[0].parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with files[0].open("a+b") as file:
            file.seek(0)
            before = file.read()
            file.write((b"" if before.endswith(b"\n") or not before else b"\n") + line.encode())
    except OSError as error:
        reason = f"its key cannot be kept in {files[0]} ({error.strerror})"
        raise HostKeyRefused(options.target.alias, reason) from error
