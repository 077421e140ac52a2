"""SshOptions: what the user's own `~/.ssh/config` says about a host.

Asked of OpenSSH itself (`ssh -G`), the only program that reads that file the way its manual says, Match
and Include and tokens included; so that every kind of connection goes where `ssh HOST` goes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import ConnectionFailed, Unreachable


@dataclass(frozen=True, slots=True)
class SshTarget:
    """A host by the name that the user gives it."""

    alias: str
    """As in `ssh ALIAS`; may be `user@host`."""
    config: Path | None = None
    """Read in place of ~/.ssh/config and the system's, as with `ssh -F`."""

    def command(self, *options: str) -> list[str]:
        """`ssh` with these options, to this host."""
        config = ["-F", str(self.config)] if self.config else []
        return ["ssh", *config, *options, "--", self.alias]


@dataclass(frozen=True, slots=True)
class SshOptions:
    """How to reach a host, and how to know it and to log in."""

    target: SshTarget
    hostname: str
    port: int
    user: str
    identity_files: Sequence[Path]
    """Those that are there."""
    identity_agent: str
    """The agent's socket, `SSH_AUTH_SOCK` for the usual one, `none` for none."""
    identities_only: bool
    known_hosts_files: Sequence[Path]
    """The user's first, into which new hosts are written."""
    key_alias: str
    """The name that the host's key is kept under."""
    strict: bool
    """Whether a host that was never seen before is refused without asking."""
    accepts_new: bool
    """Whether it is taken without asking."""
    jumps: Sequence[SshTarget]
    """The hosts on the way there."""
    proxy_command: str
    control_path: str
    """Of the user's own master connection; empty where there is none."""

    @property
    def known_as(self) -> str:
        """How known_hosts writes the host."""
        return self.key_alias if self.port == 22 else f"[{self.key_alias}]:{self.port}"

    @property
    def agent_socket(self) -> str | None:
        """Of the agent that holds the user's keys; none where none is to be asked."""
        if self.identity_agent == "none":
            return None
        if self.identity_agent in ("SSH_AUTH_SOCK", "$SSH_AUTH_SOCK"):
            return os.environ.get("SSH_AUTH_SOCK") or None
        return str(Path(self.identity_agent).expanduser())

    @property
    def public_keys(self) -> Sequence[Path]:
        """The public halves, where they are kept, of the identity files."""
        return [
            public for path in self.identity_files if (public := path.with_name(f"{path.name}.pub")).is_file()
        ]

    def unreachable(self, error: OSError) -> Unreachable:
        """The sentence for a host that does not answer at all."""
        # What the event loop puts into strerror is its own; a resolver's numbers are negative.
        number = error.errno or 0
        said = os.strerror(number) if number > 0 else error.strerror or str(error)
        reason = f"{self.hostname}:{self.port} cannot be reached ({said}); check the network, or the name"
        return Unreachable(self.target.alias, reason)


async def resolve(target: SshTarget) -> SshOptions:
    """What the user's configuration says about a host.

    Raises:
        ConnectionFailed: There is no `ssh` here, or it does not understand the configuration.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *target.command("-G"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise ConnectionFailed(target.alias, "there is no `ssh` on this machine; install OpenSSH") from None
    stdout, stderr = await process.communicate()
    if process.returncode != 0:
        said = stderr.decode(errors="replace").strip().replace("\n", "; ")
        raise ConnectionFailed(target.alias, f"your ssh configuration was refused ({said})")
    return parse(stdout.decode(errors="replace"), target)


def parse(text: str, target: SshTarget) -> SshOptions:
    """What `ssh -G` has printed."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    one: Mapping[str, str] = {key: values[0] for key, values in found.items()}
    jumps = one.get("proxyjump", "none")
    return SshOptions(
        target=target,
        hostname=one["hostname"],
        port=int(one["port"]),
        user=one["user"],
        identity_files=[path for path in map(_path, found.get("identityfile", [])) if path.is_file()],
        identity_agent=one.get("identityagent", "SSH_AUTH_SOCK"),
        identities_only=one.get("identitiesonly") == "yes",
        known_hosts_files=[
            _path(word)
            for key in ("userknownhostsfile", "globalknownhostsfile")
            for word in one.get(key, "").split()
        ],
        key_alias=one.get("hostkeyalias", one["hostname"]),
        strict=one.get("stricthostkeychecking") in ("true", "yes"),
        accepts_new=one.get("stricthostkeychecking") in ("accept-new", "false", "no", "off"),
        jumps=[] if jumps == "none" else [_jump(word, target) for word in jumps.split(",")],
        proxy_command=one.get("proxycommand", ""),
        control_path=one.get("controlpath", "none").replace("none", ""),
    )


def _jump(word: str, target: SshTarget) -> SshTarget:
    """A host on the way; a port can be said of it, which `ssh` only takes in the form of an address."""
    plain = "://" in word or ":" not in word
    return SshTarget(word if plain else f"ssh://{word}", target.config)


def _path(word: str) -> Path:
    return Path(word.strip('"')).expanduser()
