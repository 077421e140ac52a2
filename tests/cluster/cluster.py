"""Cluster: the site brought up, and torn down again.

Several can be up at once, each with a number of its own, which its folder and the address of its
login node are made of.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import files, packages, site
from tests.cluster.host import Host, HostFailed, wait_for

_STATE = Path("/tmp")
_NAME = "mace-cluster"
_NUMBERS = range(1, 100)
_LEFT_UP = 0
"""The number of the cluster that outlives the program that has brought it up."""
_SBIN = "/usr/sbin"


def why_not() -> str | None:
    """Why a cluster cannot be brought up here, as a sentence; none where it can."""
    if not sys.platform.startswith("linux"):
        return "The test cluster needs Linux: it is made of network and process namespaces."
    if os.geteuid() != 0:
        return "The test cluster needs root: it makes network and process namespaces."
    if not shutil.which("dpkg-query"):
        return "The test cluster needs Debian or a system made from it: it is made of its packages."
    if absent := packages.missing():
        return f"The test cluster needs packages ({', '.join(absent)}): `python -m tests.cluster install`."
    allowed = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], check=False)
    if allowed.returncode:
        return "The test cluster needs to make namespaces, which this container may not (CAP_SYS_ADMIN)."
    return None


class Cluster:
    """One cluster, up or not, by its number."""

    def __init__(self, number: int = _LEFT_UP) -> None:
        self.number = number
        self.state = _STATE / f"{_NAME}-{number}"
        self.hosts = {machine.name: Host(machine.name, self.state) for machine in site.MACHINES}
        self.codes = site.Codes()

    @classmethod
    def reserve(cls) -> Cluster:
        """One with a number that nobody uses, for as long as this process lives."""
        with _alone():
            for number in _NUMBERS:
                cluster = cls(number)
                if cluster.state.exists():
                    if cluster._owner_lives():
                        continue
                    cluster.down()
                cluster.state.mkdir()
                (cluster.state / "owner").write_text(str(os.getpid()))
                return cluster
        raise HostFailed(f"All of {_STATE}/{_NAME}-* are in use.")

    def _owner_lives(self) -> bool:
        try:
            return Path("/proc", (self.state / "owner").read_text()).exists()
        except FileNotFoundError:
            return True  # it is just being taken down

    # -- where things are --------------------------------------------------------------------------

    @property
    def login(self) -> Host:
        """The host that the laptop reaches."""
        return self.hosts[site.LOGIN.name]

    @property
    def master(self) -> Host:
        """The host of Slurm's own daemons."""
        return self.hosts[site.MASTER.name]

    @property
    def address(self) -> str:
        """Of the login node, from outside; of a range that is for measurements within a laboratory."""
        return f"198.18.{self.number}.2"

    @property
    def laptop_address(self) -> str:
        """Of this machine, as the login node reaches it."""
        return f"198.18.{self.number}.1"

    @property
    def client(self) -> Path:
        """The laptop's side: key, known_hosts, ssh_config, configuration of the program."""
        return self.state / "client"

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`; `site.LOGINS` are the ways in."""
        return self.client / "ssh_config"

    # -- up and down -------------------------------------------------------------------------------

    def is_up(self) -> bool:
        """Whether every host runs and every node takes jobs."""
        return all(host.pid for host in self.hosts.values()) and self._idle_nodes() == len(site.COMPUTE)

    def up(self, *, keep: bool = False) -> None:
        """Bring it up, from nothing; with `keep` it outlives this process.

        Raises:
            HostFailed: Something did not come up; what is in the `log` of the folder says why.
        """
        self.state.mkdir(exist_ok=True)
        files.write(self.state, self.address)
        self.boot(site.MACHINES, keep=keep)
        self.start_sshds()
        for machine in site.COMPUTE:
            self.start_sshd(machine.name, machine.name, pam="node")
        self._start_slurm()
        wait_for(lambda: self._idle_nodes() == len(site.COMPUTE), "the nodes to be idle")

    def down(self) -> None:
        """Stop everything and leave nothing."""
        for host in self.hosts.values():
            host.kill()
        # The kernel takes a network namespace down some time after its last process.
        wait_for(lambda: not Path(f"/sys/class/net/{self._link}").exists(), "the link to go")
        if self.state.exists():
            shutil.rmtree(self.state)

    def boot(self, machines: Sequence[site.Machine], *, keep: bool = False) -> None:
        """Start hosts, the master first, with their networks but no services."""
        hosts = [self.hosts[machine.name] for machine in machines]
        for host in hosts:
            host.begin(keep=keep)
        for host, machine in zip(hosts, machines, strict=True):
            host.wait_alive()
            self._wire(machine)
        for host in hosts:
            host.finish()
        for host in hosts:
            self.start_munged(host.name)

    def revive(self, node: str) -> None:
        """Start a compute node again that was killed, and wait until it takes jobs."""
        wait_for(
            lambda: self.master.run("ip", "link", "show", _leg(node), check=False).returncode,
            "its link to go",
        )
        self.boot([machine for machine in site.COMPUTE if machine.name == node])
        self.start_sshd(node, node, pam="node")
        self.start_slurmd(node)
        wait_for(self.is_up, f"{node} to take jobs again")

    # -- the network -------------------------------------------------------------------------------

    @property
    def _link(self) -> str:
        return f"mace-wan-{self.number}"

    def _wire(self, machine: site.Machine) -> None:
        """A bridge on the master, a leg of it to every other host, and one from login to the outside."""
        pid, master = self.hosts[machine.name].pid, self.master.pid
        steps = ["link set lo up"]
        if machine == site.MASTER:
            steps += ["link add eth0 type bridge"]
        else:
            leg = _leg(machine.name)
            _ip(master, f"link add {leg} type veth peer name eth0 netns {pid}")
            _ip(master, f"link set {leg} master eth0 up")
        steps += [f"addr add {machine.address}/24 dev eth0", "link set eth0 up"]
        if machine == site.LOGIN:
            _ip(None, f"link add {self._link} type veth peer name wan netns {pid}")
            _ip(None, f"addr add {self.laptop_address}/30 dev {self._link}", f"link set {self._link} up")
            steps += [f"addr add {self.address}/30 dev wan", "link set wan up"]
        _ip(pid, *steps)

    def cut(self) -> None:
        """Take the link to the laptop down without telling either side: packets vanish."""
        _ip(self.login.pid, "link set wan down")

    def mend(self) -> None:
        """Put the link back."""
        _ip(self.login.pid, "link set wan up")
        self._filter()
        wait_for(self._answers, "the login node to be reached again")

    def lose_packets(self, part: float) -> None:
        """Drop this part of the packets that come from the laptop, by chance; none with 0."""
        chance = ["-m", "statistic", "--mode", "random", "--probability", str(part)]
        self._filter(*([*chance, "-j", "DROP"] if part else []))

    def reset_connections(self) -> None:
        """Answer everything that comes from the laptop with a reset, until `mend` or another fault."""
        self._filter("-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")

    def forget_connections(self) -> None:
        """Drop the packets of the connections that there are, for good; new ones work."""
        listing = self.login.run("ss", "-Htn", "state", "established", f"dst {self.laptop_address}").stdout
        for line in listing.splitlines():
            port = line.split()[3].rpartition(":")[2]
            self._filter("-p", "tcp", "--sport", port, "-j", "DROP", alone=False)

    def _filter(self, *rule: str, alone: bool = True) -> None:
        """Have packets from the laptop go by a rule, in place of the others where it is to be alone."""
        if alone:
            self.login.run("iptables", "-F", "INPUT")
        if rule:
            self.login.run("iptables", "-A", "INPUT", "-i", "wan", *rule)

    def _answers(self) -> bool:
        try:
            socket.create_connection((self.address, site.LOGINS[0].port), timeout=1).close()
        except OSError:
            return False
        return True

    # -- services ----------------------------------------------------------------------------------

    def _start_slurm(self) -> None:
        self.start_database()
        # slurmdbd gives up where the database is not there yet.
        self.wait_for_database()
        self.start_slurmdbd()
        self.wait_for_slurmdbd()
        for machine in site.COMPUTE:
            self.start_slurmd(machine.name)
        # All of it before slurmctld, which misses what it is told while it starts.
        accounting = (site.FILES / "accounting.sacctmgr").read_text()
        self.master.run("sacctmgr", "-i", "-Q", stdin=accounting)
        self.start_slurmctld()

    def start_login(self, login: site.Login, *options: str) -> None:
        """Start one more way in, with these lines of sshd_config before the usual ones."""
        config = self.state / f"etc/ssh/sshd-{login.name}"
        config.write_text(site.sshd_config(login, site.LOGIN, options))
        pam = "key" if login.methods == "publickey" else "password"
        self.start_sshd(site.LOGIN.name, login.name, pam=pam)
        listening = ("ss", "-Hltn", f"sport = :{login.port}")
        wait_for(lambda: self.login.run(*listening).stdout, f"sshd to listen on {login.port}")

    def wait_for_database(self) -> None:
        """Until it answers."""
        # Its socket is there before that, and is left behind by one that was killed.
        ping = ("mariadb-admin", "--no-defaults", "--socket=/run/mysqld/mysqld.sock", "ping")
        self._wait_on_master("MariaDB", *ping)

    def wait_for_slurmdbd(self) -> None:
        """Until it answers."""
        self._wait_on_master("slurmdbd", "sacctmgr", "-n", "list", "cluster")

    def _wait_on_master(self, what: str, *argv: str) -> None:
        wait_for(lambda: self.master.run(*argv, check=False).returncode == 0, what)

    def start_munged(self, host: str) -> None:
        """Start the daemon by which Slurm knows who asks."""
        own = ["--key-file=/etc/munge/munge.key", "--log-file=/run/munge/log", "--seed-file=/run/munge/seed"]
        self.hosts[host].serve("munged", [f"{_SBIN}/munged", "-F", "--num-threads=2", *own], user="munge")

    def start_database(self) -> None:
        """Start MariaDB: without privileges, for only root and slurm can reach its socket."""
        quick = [
            "--innodb-flush-method=nosync",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=0",
        ]
        small = ["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=8M", "--performance-schema=0"]
        self.master.serve(
            "mariadbd",
            [
                f"{_SBIN}/mariadbd",
                "--no-defaults",
                "--user=mysql",
                "--datadir=/srv/var/mysql",
                "--socket=/run/mysqld/mysqld.sock",
                "--skip-networking",
                "--skip-grant-tables",
                "--skip-log-bin",
                "--init-file=/srv/var/create.sql",
                "--innodb-lock-wait-timeout=900",
                *quick,
                *small,
            ],
        )

    def start_slurmdbd(self) -> None:
        """Start the accounting daemon."""
        self.master.serve("slurmdbd", [f"{_SBIN}/slurmdbd", "-D"], user="slurm")

    def start_slurmctld(self) -> None:
        """Start the scheduler itself."""
        self.master.serve("slurmctld", [f"{_SBIN}/slurmctld", "-D", "-i"], user="slurm")

    def start_slurmd(self, node: str) -> None:
        """Start the daemon that runs jobs on a node."""
        self.hosts[node].serve("slurmd", [f"{_SBIN}/slurmd", "-D"])

    def start_sshd(self, host: str, name: str, *, pam: str) -> None:
        """Start an sshd with the configuration `/etc/ssh/sshd-NAME` and the PAM stack `site/pam/PAM`."""
        # Every sshd asks PAM for the service of the same name: give each its own file of that name.
        own_pam = (
            f"mount --bind /srv/pam/{pam} /etc/pam.d/sshd && exec {_SBIN}/sshd -D -e -f /etc/ssh/sshd-{name}"
        )
        self.hosts[host].serve(f"sshd-{name}", ["unshare", "--mount", "sh", "-c", own_pam])

    def start_sshds(self) -> None:
        """Start all ways in to the login node."""
        for login in site.LOGINS:
            self.start_sshd(site.LOGIN.name, login.name, pam=login.name)

    def stop_sshds(self) -> None:
        """End all ways in, and with them every session."""
        self.login.stop("sshd", "KILL")

    def _idle_nodes(self) -> int:
        listing = self.login.run("sinfo", "-h", "-N", "-o", "%N %t", check=False).stdout.splitlines()
        # A star says that the node has not answered yet.
        return len({line for line in listing if line.split()[1] in ("idle", "mix", "alloc", "comp")})


@contextmanager
def _alone() -> Iterator[None]:
    """Not at the same time as anybody else who reserves a number."""
    folder = os.open(_STATE, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _leg(name: str) -> str:
    """The master's end of the cable to another host."""
    return f"to-{name}"


def _ip(pid: int | None, *steps: str) -> None:
    """Have `ip` do all of the steps, in the root namespace or in that of a process."""
    enter = ["nsenter", "-t", str(pid), "--net", "--"] if pid else []
    subprocess.run([*enter, "ip", "-batch", "-"], input="\n".join(steps), text=True, check=True)
