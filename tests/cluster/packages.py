"""The Debian packages that the test cluster is made of, and their installation.

Kept apart from bringing a cluster up: it needs the network, is done once a machine, and is the only
thing that stays behind.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PACKAGES = (
    "btrfs-progs",
    "iproute2",
    "iptables",
    "libpam-google-authenticator",
    "libpam-slurm-adopt",
    "mariadb-server",
    "munge",
    "openssh-client",
    "openssh-server",
    "screen",
    "slurm-wlm",
    "slurmdbd",
    "tmux",
    "util-linux",
)
BROWSER = ("chromium",)
"""For the tests that open a notebook in a real browser; the cluster itself needs none."""
_APT = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=600")
"""Waits for whoever else is installing: a new machine may be at its updates."""


def missing(packages: Sequence[str] = PACKAGES) -> Sequence[str]:
    """Those of the packages that are not installed."""
    listing = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *packages],
        capture_output=True,
        text=True,
        check=False,  # 1 where a package has never been heard of
    )
    installed = {line.split()[0] for line in listing.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in packages if name not in installed]


def install() -> Sequence[str]:
    """Install what is missing, without starting any of its services; what that was."""
    wanted = missing(PACKAGES + BROWSER)
    if wanted:
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        with _no_services_started():
            subprocess.run([*_APT, "update"], env=env, check=True)
            command = [*_APT, "install", "-y", "--no-install-recommends", *wanted]
            subprocess.run(command, env=env, check=True)
    return wanted


@contextmanager
def _no_services_started() -> Iterator[None]:
    """Keep Debian from starting the daemons of what it installs: they are started in namespaces only."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():  # a container's, which says the same; or the owner of this machine knows better
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()
