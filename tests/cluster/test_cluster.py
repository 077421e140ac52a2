"""The cluster that other tests rely on: that it is what it says, and that nothing of it is left."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster import site
from tests.cluster.cluster import Cluster
from tests.cluster.host import wait_for

Done = subprocess.CompletedProcess[str]
_JOB = ["-A", "MACE-SL3-CPU", "-p", "icelake", "-t", "5"]


def ssh(cluster: Cluster, alias: str, *command: str, **answers: str) -> Done:
    """Run a command through OpenSSH, which is given the `code` and the `password` it may ask for."""
    askpass = cluster.client / "askpass"
    askpass.write_text('#!/bin/sh\ncase $1 in *Code*) echo "$code" ;; *) echo "$password" ;; esac\n')
    askpass.chmod(0o700)
    return subprocess.run(
        ["ssh", "-F", cluster.ssh_config, "-o", "NumberOfPasswordPrompts=1", alias, *command],
        env={**os.environ, "SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force", **answers},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def as_user(cluster: Cluster, *argv: str) -> str:
    return cluster.login.run(*argv, user=site.USER.name).stdout.strip()


@contextmanager
def running_job(cluster: Cluster) -> Iterator[str]:
    """A job of the user's that runs; the name of its node."""
    job = as_user(
        cluster, "sbatch", "--parsable", *_JOB, "-D", "/tmp", "-w", "cpu-q-1", "--wrap", "sleep 600"
    )
    wait_for(lambda: as_user(cluster, "squeue", "-h", "-j", job, "-o", "%T") == "RUNNING", "the job to run")
    try:
        yield as_user(cluster, "squeue", "-h", "-j", job, "-o", "%N")
    finally:
        as_user(cluster, "scancel", job)
        wait_for(lambda: not as_user(cluster, "squeue", "-h", "-t", "R,PD,CG", "-o", "%i"), "the job to end")


def test_a_key_lets_the_user_in(cluster: Cluster) -> None:
    assert ssh(cluster, "login", "hostname").stdout == "login-q-1\n"


def test_a_key_and_a_one_time_code_let_the_user_in(cluster: Cluster) -> None:
    done = ssh(cluster, "login-key-code", "hostname", code=cluster.codes.next())
    assert done.stdout == "login-q-1\n", done.stderr


def test_a_password_and_a_one_time_code_let_the_user_in(cluster: Cluster) -> None:
    done = ssh(cluster, "login-password-code", "hostname", password=site.PASSWORD, code=cluster.codes.next())
    assert done.stdout == "login-q-1\n", done.stderr


def test_a_password_alone_lets_the_user_in_where_that_is_enough(cluster: Cluster) -> None:
    assert ssh(cluster, "login-password", "hostname", password=site.PASSWORD).stdout == "login-q-1\n"
    assert ssh(cluster, "login-password", "hostname", password="guess").returncode == 255


def test_a_one_time_code_is_refused_the_second_time(cluster: Cluster) -> None:
    code = cluster.codes.next()
    assert ssh(cluster, "login-key-code", "true", code=code).returncode == 0
    refused = ssh(cluster, "login-key-code", "true", code=code)
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr


def test_a_wrong_password_is_refused_with_a_right_code(cluster: Cluster) -> None:
    done = ssh(cluster, "login-password-code", "true", password="guess", code=cluster.codes.next())
    assert done.returncode == 255


def test_a_node_lets_nobody_in_without_a_job(cluster: Cluster) -> None:
    refused = ssh(cluster, "cpu-q-2", "hostname")
    assert refused.returncode == 255
    assert refused.stdout == ""


def test_a_node_lets_in_who_has_a_job_there_and_only_there(cluster: Cluster) -> None:
    with running_job(cluster) as node:
        assert ssh(cluster, node, "hostname").stdout == f"{node}\n"
        assert ssh(cluster, "cpu-q-2", "hostname").returncode == 255


def test_a_node_is_reached_only_through_the_login_node(cluster: Cluster) -> None:
    with running_job(cluster) as node:
        assert ssh(cluster, "login", f"ssh {node} hostname").stdout == f"{node}\n"
        around = ssh(cluster, f"{site.USER.name}@{node}", "-o", "ProxyJump=none", "hostname")
        assert around.returncode == 255
        routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
        assert site.COMPUTE[0].address.rpartition(".")[0] not in routes
        forwards = cluster.login.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout
        assert forwards == "0\n"


def test_a_job_completes_and_accounting_knows(cluster: Cluster) -> None:
    job = as_user(
        cluster, "sbatch", "--parsable", *_JOB, "-o", "job.out", "-D", "/home/mw123", "--wrap", "hostname"
    )
    state = ["sacct", "-n", "-X", "-j", job, "-o", "state"]
    wait_for(lambda: as_user(cluster, *state) == "COMPLETED", "the job to complete")
    assert as_user(cluster, "cat", "/home/mw123/job.out") in site.CPU_NODES


def test_partitions_and_graphics_cards_are_those_of_the_site(cluster: Cluster) -> None:
    partitions = as_user(cluster, "sinfo", "-h", "-o", "%R %N %G").splitlines()
    assert partitions == ["icelake cpu-q-[1-2] (null)", "ampere gpu-q-1 gpu:a100:4"]


def test_an_account_is_only_good_for_its_own_partition(cluster: Cluster) -> None:
    wrong = ["sbatch", "-A", "MACE-SL3-CPU", "-p", "ampere", "-t", "1", "--wrap", "true"]
    refused = cluster.login.run(*wrong, user=site.USER.name, check=False)
    assert "Invalid account or account/partition combination" in refused.stderr


def test_intr_refuses_a_second_submission_and_more_than_an_hour(cluster: Cluster) -> None:
    submit = ["sbatch", "--parsable", "--qos=INTR", *_JOB, "-D", "/tmp", "--wrap", "sleep 600"]
    job = as_user(cluster, *submit)
    try:
        second = cluster.login.run(*submit, user=site.USER.name, check=False)
        assert "QOSMaxSubmitJobPerUserLimit" in second.stderr
    finally:
        as_user(cluster, "scancel", job)
    wait_for(lambda: not as_user(cluster, "squeue", "-h", "-t", "R,PD,CG", "-o", "%i"), "the job to end")
    long = cluster.login.run(*submit, "-t", "61", user=site.USER.name, check=False)
    assert long.returncode != 0


def test_a_sintr_session_ends_with_its_terminal(cluster: Cluster) -> None:
    terminal, inside = pty.openpty()
    session = subprocess.Popen(
        ["ssh", "-tt", "-F", cluster.ssh_config, "login", "sintr", *_JOB],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(inside)
    seen = b""
    while b"mw123@cpu-q-" not in seen:
        seen += os.read(terminal, 4096)
    job = as_user(cluster, "squeue", "-h", "-n", "sintr", "-t", "R", "-o", "%i")
    assert job
    os.close(terminal)
    session.kill()
    session.wait()
    state = ["sacct", "-n", "-X", "-j", job, "-o", "state%20"]
    wait_for(lambda: as_user(cluster, *state).startswith("CANCELLED"), "the session's job to be cancelled")


def test_a_second_cluster_comes_up_twice_and_leaves_nothing(cluster: Cluster) -> None:
    before = _machine()
    second = Cluster.reserve()
    for _ in range(2):
        second.up()
        spaces = _spaces(second)
        assert ssh(second, "login", "hostname").stdout == "login-q-1\n"
        second.down()
        assert not second.state.exists()
        assert not [pid for pid in Path("/proc").glob("[0-9]*") if _space(pid) in spaces]
    assert _machine() == before


def test_a_cluster_dies_with_the_tests_that_were_killed_and_is_cleared_away(cluster: Cluster) -> None:
    program = (
        "from tests.cluster.cluster import Cluster\n"
        "cluster = Cluster.reserve(); cluster.state.joinpath('x').touch()\n"
        "from tests.cluster import files, site\n"
        "files.write(cluster.state, cluster.address); cluster.boot(site.MACHINES)\n"
        "print(cluster.number, flush=True); input()"
    )
    tests = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert tests.stdout is not None
    assert tests.stdin is not None
    abandoned = Cluster(int(tests.stdout.readline()))
    assert all(host.pid for host in abandoned.hosts.values())
    tests.send_signal(signal.SIGKILL)
    tests.wait()
    tests.stdin.close()
    tests.stdout.close()
    wait_for(lambda: not any(host.pid for host in abandoned.hosts.values()), "its hosts to end")
    following = Cluster.reserve()
    try:
        assert following.number <= abandoned.number
        assert list(following.state.iterdir()) == [following.state / "owner"]
    finally:
        following.down()


@pytest.mark.parametrize("name", ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/hosts"])
def test_the_machine_s_own_files_are_not_touched(cluster: Cluster, name: str) -> None:
    text = Path(name).read_text()
    assert site.USER.name not in text
    assert site.LOGIN.name not in text


def _machine() -> tuple[str, ...]:
    """What a cluster could have left behind."""
    links = subprocess.run(["ip", "-o", "address"], capture_output=True, text=True, check=True).stdout
    accounts = Path("/etc/passwd").read_text()
    return Path("/proc/mounts").read_text(), "\n".join(sorted(links.splitlines())), accounts


def _space(process: Path) -> str:
    try:
        return str((process / "ns/pid").readlink())
    except OSError:  # it has ended, or is nobody's to look at
        return ""


def _spaces(cluster: Cluster) -> set[str]:
    """The process namespaces of its hosts."""
    pids = [host.pid for host in cluster.hosts.values()]
    return {_space(Path(f"/proc/{pid}")) for pid in pids} - {""}
