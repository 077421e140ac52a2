"""Bring a cluster up to play with: `python -m tests.cluster install|up|down|status`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.cluster import packages, site
from tests.cluster.cluster import Cluster, why_not
from tests.cluster.host import HostFailed


def main() -> int:
    """Do what is asked; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("command", choices=["install", "up", "down", "status"])
    command = parser.parse_args().command
    cluster = Cluster()
    try:
        if command == "install":
            print(f"Installed: {', '.join(packages.install()) or 'nothing, all of it is there'}.")
        elif command == "up":
            return _up(cluster)
        elif command == "down":
            cluster.down()
            print("The cluster is down.")
        else:
            print(_described(cluster) if cluster.is_up() else "No cluster is up.")
    except HostFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _up(cluster: Cluster) -> int:
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 1
    if not cluster.is_up():
        started = time.monotonic()
        cluster.down()
        cluster.up(keep=True)
        print(f"The cluster is up after {time.monotonic() - started:.1f} s.\n")
    print(_described(cluster))
    return 0


def _described(cluster: Cluster) -> str:
    ways = [f"  ssh -F {cluster.ssh_config} {login.alias}" for login in site.LOGINS]
    return "\n".join(
        [
            "Ways in (password and one-time codes: see below):",
            *ways,
            f"  ssh -F {cluster.ssh_config} cpu-q-1    while a job of yours runs there",
            f"Password: {site.PASSWORD}. One-time code for now: {cluster.codes.next()}.",
            f"Secret for an authenticator: {site.CODE_SECRET}.",
            "",
            f"A profile for it is in {cluster.client}/mace-workbench/config.toml; to use it:",
            f"  XDG_CONFIG_HOME={cluster.client} mace-workbench",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
