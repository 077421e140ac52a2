"""What the site consists of: machines, users, secrets and ways to log in.

The secrets are worth nothing: they open only what is made from this file, on a link within one machine.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FILES = Path(__file__).parent / "site"

Role = Literal["master", "login", "compute"]


@dataclass(frozen=True, slots=True)
class Machine:
    """One host."""

    name: str
    address: str
    """On the cluster's own network."""
    role: Role


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with an account on every machine."""

    name: str
    uid: int


@dataclass(frozen=True, slots=True)
class Login:
    """One way to log in: an sshd of its own, as real sites have it."""

    name: str
    """Of its PAM stack in `site/pam`; the alias in the laptop's ssh_config is made of it."""
    port: int
    methods: str
    """sshd's `AuthenticationMethods`."""

    @property
    def alias(self) -> str:
        """What to call it in `ssh ALIAS`."""
        return "login" if self.name == "key" else f"login-{self.name}"


MASTER = Machine("slurm-master", "10.99.1.1", "master")
LOGIN = Machine("login-q-1", "10.99.1.2", "login")
COMPUTE = (
    Machine("cpu-q-1", "10.99.1.11", "compute"),
    Machine("cpu-q-2", "10.99.1.12", "compute"),
    Machine("gpu-q-1", "10.99.1.21", "compute"),
)
CPU_NODES = tuple(machine.name for machine in COMPUTE if machine.name.startswith("cpu"))
"""On any of which a job of `icelake` may run: on a busy machine the first is not always free."""
MACHINES = (MASTER, LOGIN, *COMPUTE)

USER = User("mw123", 63123)
NOISY_USER = User("noisy1", 63124)
"""Whose dotfiles print things, also where nobody reads them."""
USERS = (USER, NOISY_USER)

LOGINS = (
    Login("key", 22, "publickey"),
    Login("key-code", 2222, "publickey,keyboard-interactive"),
    Login("password-code", 2223, "keyboard-interactive"),
    Login("password", 2224, "password keyboard-interactive"),
)

PASSWORD = "hunter2"
PASSWORD_HASH = (
    "$6$macecluster$lc3/4xL85yunzd/A2y.FhQ61DW24RgUEOl/ovjguA1CbrEg38ScfxaTWl/JQ.T13/qN0n4GGvadmnWPwjkKIP1"
)
"""`openssl passwd -6 -salt macecluster hunter2`"""

CODE_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
_CODE_PERIOD_S = 30
_CODES_EITHER_WAY = 30


def code(step: int) -> str:
    """The one-time code of a 30 s step since 1970: TOTP, RFC 6238."""
    digest = hmac.digest(base64.b32decode(CODE_SECRET), step.to_bytes(8, "big"), "sha1")
    start = digest[-1] & 15
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


class Codes:
    """One-time codes that have not been used.

    The site takes those of a quarter of an hour around now, each of them once, so that a test that
    logs in many times need not wait for the clock.
    """

    authenticator_file = "\n".join(
        [CODE_SECRET, f'" WINDOW_SIZE {2 * _CODES_EITHER_WAY + 1}', '" DISALLOW_REUSE', '" TOTP_AUTH', ""]
    )
    """For a user's home."""

    def __init__(self) -> None:
        self._used: set[int] = set()

    def next(self) -> str:
        """One more."""
        now = int(time.time()) // _CODE_PERIOD_S
        # The margin is for codes that are asked for now and typed in a little later.
        for step in range(now - _CODES_EITHER_WAY + 4, now + _CODES_EITHER_WAY):
            if step not in self._used:
                self._used.add(step)
                return code(step)
        raise LookupError("Every code of this quarter of an hour has been used.")


def addresses() -> Mapping[str, str]:
    """Of every machine, by name."""
    return {machine.name: machine.address for machine in MACHINES}


def sshd_config(login: Login, machine: Machine, extra: Sequence[str] = ()) -> str:
    """The configuration of one sshd; the first value of a key counts, so that `extra` has the last word."""
    # The one key that may not be said twice.
    sftp = [] if any(line.startswith("Subsystem") for line in extra) else ["Subsystem sftp internal-sftp"]
    return "\n".join(
        [
            *extra,
            *sftp,
            f"Port {login.port}",
            f"HostKey /etc/ssh/host_keys/{machine.name}",
            f"AuthenticationMethods {login.methods}",
            f"PasswordAuthentication {'yes' if 'password' in login.methods.split() else 'no'}",
            f"KbdInteractiveAuthentication {'yes' if 'keyboard' in login.methods else 'no'}",
            "UsePAM yes",
            "PermitRootLogin no",
            "PidFile none",
            "LogLevel VERBOSE",
            "PrintMotd no",
            "PrintLastLog no",
            "UseDNS no",
            "AcceptEnv LANG LC_*",
            "SetEnv PATH=/srv/bin:/usr/local/bin:/usr/bin:/bin",
            "MaxStartups 50:30:100",
            "",
        ]
    )
