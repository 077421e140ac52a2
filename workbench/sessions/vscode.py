"""An ssh configuration by which VS Code, or `ssh`, reaches a session's node through the login node.

Written to a file of the program's own: ~/.ssh/config is never touched, only the one line to add is said.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.config import config_path
from workbench.errors import ConfigError, NotAllowed
from workbench.model.profile import ClusterProfile
from workbench.model.session import Place

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
FILE = "ssh_config"
_HEAD = "# Written by mace-workbench: hosts of its sessions. What is added by hand is lost.\n"


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, and what is to be done with it."""

    alias: str
    """For `ssh ALIAS` and VS Code's `Remote-SSH: Connect to Host…`."""
    path: str
    sentence: str


def write(place: Place, profile: ClusterProfile) -> Written:
    """Write the host of a session's node, beside those that are there.

    Raises:
        NotAllowed: The session is not on another node, or its names cannot be written.
        ConfigError: The file cannot be written.
    """
    if profile.scheduler != "slurm" or profile.connection == "local":
        where = "this machine" if profile.connection == "local" else profile.host
        raise NotAllowed(f"The session runs on {where} itself: no way into a node is needed.")
    path = config_path().with_name(FILE)
    blocks = {**_read(path), f"mace-{place.node}": host_block(place.node, profile)}
    _replace(path, text_of(list(blocks.values())))
    # OpenSSH wants a word; a ~ it reads itself.
    include = f"Include {shlex.quote(str(path))}"
    return Written(
        f"mace-{place.node}",
        str(path),
        f"{path} is written. To use it, have this as the first line of ~/.ssh/config, once:  {include}",
    )


def host_block(node: str, profile: ClusterProfile) -> str:
    """The lines for one node.

    Raises:
        NotAllowed: A name cannot be written.
    """
    for name in (node, profile.host):
        if not _NAME.fullmatch(name):
            raise NotAllowed(f"{name!r} cannot be written into an ssh configuration.")
    lines = [
        f"Host mace-{node}",
        f"  HostName {node}",
        f"  HostKeyAlias {node}",
        f"  ProxyJump {profile.host}",
    ]
    if profile.ssh_config:
        lines.append(f"  # {profile.host} is described in {profile.ssh_config}: use `ssh -F` with it")
    return "\n".join(lines)


def text_of(blocks: Sequence[str]) -> str:
    """The whole file."""
    return "\n\n".join([_HEAD.rstrip(), *blocks]) + "\n"


def _read(path: Path) -> Mapping[str, str]:
    """The blocks that are there, by their alias."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    blocks = [block.strip("\n") for block in text.split("\n\n") if block.startswith("Host mace-")]
    return {block.split()[1]: block for block in blocks}


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}.") from error
