"""The folder of a cluster, filled: the site's configuration, keys, homes, and the laptop's side.

Hosts see it as /srv, and what is in its `etc` in place of their own. The machine's own files are only
read: the accounts of the site are added to a copy of its passwd.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from tests.cluster import site

_FOLDERS = ("client", "dev", "etc/munge", "home", "log", "pids", "software/0", "software/1", "var/mysql")
_GPUS = 4


def write(state: Path, login_address: str) -> None:
    """Make everything in the new folder `state`."""
    for folder in _FOLDERS:
        (state / folder).mkdir(parents=True, exist_ok=True)
    state.chmod(0o755)
    for name in ("hosts", "profile", "slurm"):
        source = site.FILES / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, state / "etc" / name)
    shutil.copytree(site.FILES / "bin", state / "bin")
    shutil.copytree(site.FILES / "pam", state / "pam")
    _services(state)
    _accounts(state / "etc")
    _host_keys(state)
    for user in site.USERS:
        _home(state, user)
    _client(state, login_address)


def _services(state: Path) -> None:
    key = state / "etc/munge/munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    _give(key.parent, "munge", 0o700)
    _give(key, "munge", 0o400)
    _give(state / "etc/slurm/slurmdbd.conf", "slurm", 0o600)
    for folder, owner in (("mysql", "mysql"), ("slurmctld", "slurm")):
        (state / "var" / folder).mkdir(exist_ok=True)
        _give(state / "var" / folder, owner, 0o700)
    # MariaDB wants a `mysql` to be there. Of what its installer puts in it (which takes seconds) only
    # the table of stored procedures is needed: Slurm makes one.
    (state / "var/mysql/mysql").mkdir()
    _give(state / "var/mysql/mysql", "mysql", 0o700)
    (state / "var/create.sql").write_text(
        f"USE mysql;\n{_table_of_procedures()}\nCREATE DATABASE IF NOT EXISTS slurm_acct_db;\n"
    )
    (state / "log").chmod(0o1777)
    for number in range(_GPUS):
        # Slurm only looks whether there is a device: this one is /dev/null.
        os.mknod(state / f"dev/nvidia{number}", stat.S_IFCHR | 0o666, os.makedev(1, 3))


def _table_of_procedures() -> str:
    definitions = next(Path("/usr/share").glob("m*/m*_system_tables.sql")).read_text().splitlines()
    return next(line for line in definitions if line.startswith("CREATE TABLE IF NOT EXISTS proc "))


def _accounts(etc: Path) -> None:
    lines = {
        "passwd": [
            f"{user.name}:x:{user.uid}:{user.uid}::/home/{user.name}:/bin/bash" for user in site.USERS
        ],
        "group": [f"{user.name}:x:{user.uid}:" for user in site.USERS],
        "shadow": [f"{user.name}:{site.PASSWORD_HASH}:19000:0:99999:7:::" for user in site.USERS],
    }
    for name, added in lines.items():
        there = Path("/etc", name).read_text()
        (etc / name).write_text("\n".join([there.rstrip("\n"), *added, ""]))
    (etc / "shadow").chmod(0o600)


def _host_keys(state: Path) -> None:
    ssh = state / "etc/ssh"
    (ssh / "host_keys").mkdir(parents=True)
    known = []
    for machine in (site.LOGIN, *site.COMPUTE):
        key = ssh / "host_keys" / machine.name
        new_key(key, machine.name)
        known.append(f"{machine.name},{machine.address} {public_key(key)}")
    (ssh / "ssh_known_hosts").write_text("\n".join([*known, ""]))
    (ssh / "ssh_config").touch()
    for login in site.LOGINS:
        (ssh / f"sshd-{login.name}").write_text(site.sshd_config(login, site.LOGIN))
    for machine in site.COMPUTE:
        config = site.sshd_config(site.Login("node", 22, "publickey"), machine)
        (ssh / f"sshd-{machine.name}").write_text(config)


def _home(state: Path, user: site.User) -> None:
    home = state / "home" / user.name
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    (home / "rds/hpc-work").mkdir(parents=True)
    # For going on from the login node to a node of a job; the laptop's key is added by `_client`.
    new_key(home / ".ssh/id_ed25519", user.name)
    (home / ".ssh/authorized_keys").write_text(public_key(home / ".ssh/id_ed25519") + "\n")
    (home / ".google_authenticator").write_text(site.Codes.authenticator_file)
    (home / ".google_authenticator").chmod(0o600)
    if user == site.NOISY_USER:
        noise = "echo 'Welcome to CSD3!'; echo 'Quota: 39.9 of 40 GB' >&2\n"
        for name in (".bashrc", ".bash_profile"):
            (home / name).write_text(noise)
    for path in (home, *home.rglob("*")):
        os.chown(path, user.uid, user.uid)
    home.chmod(0o700)


def _client(state: Path, login_address: str) -> None:
    client = state / "client"
    new_key(client / "id_ed25519", "laptop")
    for user in site.USERS:
        with (state / "home" / user.name / ".ssh/authorized_keys").open("a") as authorized:
            authorized.write(public_key(client / "id_ed25519") + "\n")
    keys = state / "etc/ssh/host_keys"
    known = [
        f"{known_as(login_address, login.port)} {public_key(keys / site.LOGIN.name)}" for login in site.LOGINS
    ]
    known += [f"{machine.name} {public_key(keys / machine.name)}" for machine in site.COMPUTE]
    (client / "known_hosts").write_text("\n".join([*known, ""]))
    (client / "ssh_config").write_text(_ssh_config(client, login_address))
    (client / "mace-workbench").mkdir()
    (client / "mace-workbench/config.toml").write_text(_profile(client))


def _ssh_config(client: Path, login_address: str) -> str:
    hosts = [
        line
        for login in site.LOGINS
        for line in (f"Host {login.alias}", f"  HostName {login_address}", f"  Port {login.port}")
    ]
    return "\n".join(
        [
            *hosts,
            "Host cpu-q-* gpu-q-*",
            "  ProxyJump login",
            "Host *",
            f"  User {site.USER.name}",
            f"  IdentityFile {client}/id_ed25519",
            "  IdentitiesOnly yes",
            f"  UserKnownHostsFile {client}/known_hosts",
            "  GlobalKnownHostsFile /dev/null",
            "",
        ]
    )


def _profile(client: Path) -> str:
    """A configuration of the program in which the site is the default place."""
    return "\n".join(
        [
            'default = "cluster"',
            "",
            "[profiles.cluster]",
            'connection = "asyncssh"',
            'host = "login"',
            f'ssh_config = "{client}/ssh_config"',
            'scheduler = "slurm"',
            'account = "MACE-SL3-CPU"',
            'partition = "icelake"',
            'work_folder = "rds/hpc-work/mace-workbench"',
            f'python = "{sys.executable}"',
            "",
        ]
    )


def known_as(address: str, port: int) -> str:
    """How known_hosts writes a host."""
    return address if port == 22 else f"[{address}]:{port}"


def new_key(path: Path, comment: str, *, passphrase: str = "", kind: str = "ed25519") -> None:
    """Make an SSH key, and its `.pub` beside it."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", comment, "-f", str(path)], check=True
    )


def public_key(path: Path) -> str:
    """The public half of a key, as one line without its comment."""
    return " ".join(path.with_name(f"{path.name}.pub").read_text().split()[:2])


def _give(path: Path, owner: str, mode: int) -> None:
    entry = pwd.getpwnam(owner)
    os.chown(path, entry.pw_uid, entry.pw_gid)
    path.chmod(mode)
