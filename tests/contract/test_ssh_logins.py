"""Logging in: who the host is, who the user is, and what is asked, once."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import files, site
from tests.cluster.cluster import Cluster
from tests.contract.ssh import Answers, Laptop, by_asyncssh, by_openssh, by_paramiko, end_master
from workbench.errors import ConnectionFailed, HostKeyRefused, LinkLost, LoginRefused
from workbench.remote import openssh_connection
from workbench.remote.ssh_config import SshTarget

CODE = "TOTP Verification Code:"

asking = pytest.mark.parametrize("connect", [by_asyncssh, by_paramiko])
every = pytest.mark.parametrize("connect", [by_asyncssh, by_paramiko, by_openssh])


@pytest.fixture
def laptop(cluster: Cluster, tmp_path: Path) -> Laptop:
    return Laptop(cluster, tmp_path)


@pytest.fixture
def locked_key(cluster: Cluster, tmp_path: Path) -> Path:
    """A key with a passphrase, which the site knows."""
    key = tmp_path / "locked"
    files.new_key(key, "laptop", passphrase="open sesame")
    with (cluster.state / "home" / site.USER.name / ".ssh/authorized_keys").open("a") as known:
        known.write(files.public_key(key) + "\n")
    return key


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An ssh-agent, empty."""
    socket = tmp_path / "agent"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    process.stdout.readline()  # it listens by now
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    yield socket
    process.terminate()
    process.wait()
    process.stdout.close()


async def command(
    argv: list[str], *, env: dict[str, str] | None = None, check: bool = False
) -> subprocess.CompletedProcess[str]:
    """A command of this machine, off the event loop."""
    return await asyncio.to_thread(
        lambda: subprocess.run(argv, capture_output=True, text=True, env=env, check=check)
    )


async def hostname(connect: Any, target: SshTarget, answers: Answers | None = None) -> bytes:
    async with connect(target, answers) as connection:
        stdout: bytes = (await connection.run(["hostname"])).stdout
    return stdout


# -- who the user is -------------------------------------------------------------------------------


@asking
async def test_a_key_and_a_code_let_the_user_in_who_is_asked_once(connect: Any, laptop: Laptop) -> None:
    answers = Answers([laptop.cluster.codes.next()])
    assert await hostname(connect, laptop.target("login-key-code"), answers) == b"login-q-1\n"
    (question,) = answers.questions
    assert question.host == "login-key-code"
    assert question.text.endswith(CODE)


@asking
async def test_a_password_and_a_code_are_asked_for_in_turn(connect: Any, laptop: Laptop) -> None:
    answers = Answers([site.PASSWORD, laptop.cluster.codes.next()])
    assert await hostname(connect, laptop.target("login-password-code"), answers) == b"login-q-1\n"
    assert "Password" in answers.questions[0].text
    assert CODE in answers.questions[1].text
    assert answers.questions[0].secret


@asking
async def test_a_password_alone_is_asked_for_once(connect: Any, laptop: Laptop) -> None:
    answers = Answers([site.PASSWORD])
    target = laptop.target("login-password", "PubkeyAuthentication no")
    assert await hostname(connect, target, answers) == b"login-q-1\n"
    assert len(answers.questions) == 1


@asking
async def test_a_used_code_is_refused_and_nothing_is_tried_again(connect: Any, laptop: Laptop) -> None:
    code = laptop.cluster.codes.next()
    assert await hostname(connect, laptop.target("login-key-code"), Answers([code])) == b"login-q-1\n"
    answers = Answers([code, laptop.cluster.codes.next()])
    with pytest.raises(LoginRefused, match="not tried again by itself"):
        await hostname(connect, laptop.target("login-key-code"), answers)
    assert len(answers.questions) == 1


@asking
async def test_who_gives_up_is_asked_nothing_more(connect: Any, laptop: Laptop) -> None:
    answers = Answers([None, "never"])
    with pytest.raises(LoginRefused, match="given up"):
        await hostname(connect, laptop.target("login-password-code"), answers)
    assert len(answers.questions) == 1


@asking
async def test_a_key_with_a_passphrase_is_opened_with_it(
    connect: Any, laptop: Laptop, locked_key: Path
) -> None:
    answers = Answers(["open sesame"])
    target = laptop.target("login", f"IdentityFile {locked_key}", "IdentityAgent none")
    assert await hostname(connect, target, answers) == b"login-q-1\n"
    assert str(locked_key) in answers.questions[0].text
    assert answers.questions[0].secret


@asking
async def test_a_wrong_passphrase_is_named_as_the_trouble(
    connect: Any, laptop: Laptop, locked_key: Path
) -> None:
    target = laptop.target("login", f"IdentityFile {locked_key}", "IdentityAgent none")
    with pytest.raises(LoginRefused, match="was the passphrase right"):
        await hostname(connect, target, Answers(["open barley"]))


@every
async def test_a_key_in_the_agent_lets_the_user_in_without_a_question(
    connect: Any, laptop: Laptop, locked_key: Path, agent: Path
) -> None:
    askpass = locked_key.with_name("askpass")
    askpass.write_text("#!/bin/sh\necho open sesame\n")
    askpass.chmod(0o700)
    env = {**os.environ, "SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force"}
    await command(["ssh-add", str(locked_key)], env=env, check=True)
    lines = ["Host *", f"IdentityFile {locked_key}", f"IdentityAgent {agent}", "IdentitiesOnly yes"]
    answers = Answers()
    assert await hostname(connect, laptop.target("login", *lines), answers) == b"login-q-1\n"
    assert answers.questions == []


@every
async def test_a_key_that_the_site_does_not_know_is_refused(
    connect: Any, laptop: Laptop, tmp_path: Path
) -> None:
    files.new_key(tmp_path / "stranger", "stranger")
    config = laptop.cluster.ssh_config.read_text().replace(
        str(laptop.cluster.client / "id_ed25519"), str(tmp_path / "stranger")
    )
    (tmp_path / "strange").write_text(f"ControlPath {laptop.master}\n{config}")
    with pytest.raises(LoginRefused):
        await hostname(connect, SshTarget("login", tmp_path / "strange"))


@asking
async def test_no_secret_is_logged_or_written(
    connect: Any, laptop: Laptop, locked_key: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    code = laptop.cluster.codes.next()
    await hostname(connect, laptop.target("login-password-code"), Answers([site.PASSWORD, code]))
    target = laptop.target("login", f"IdentityFile {locked_key}", "IdentityAgent none")
    await hostname(connect, target, Answers(["open sesame"]))
    written = "".join(path.read_text(errors="replace") for path in laptop.folder.rglob("*") if path.is_file())
    for secret in (site.PASSWORD, code, "open sesame"):
        assert secret not in caplog.text
        assert secret not in written


# -- who the host is -------------------------------------------------------------------------------


@asking
async def test_an_unknown_host_is_asked_about_once_with_its_fingerprint(connect: Any, laptop: Laptop) -> None:
    laptop.known_hosts.write_text("# nothing yet")
    answers = Answers(trusts=True)
    assert await hostname(connect, laptop.target(), answers) == b"login-q-1\n"
    key = laptop.cluster.state / "etc/ssh/host_keys" / site.LOGIN.name
    printed = (await command(["ssh-keygen", "-lf", str(key)], check=True)).stdout
    assert answers.shown == [("login", "ssh-ed25519", printed.split()[1])]
    assert await hostname(connect, laptop.target(), answers) == b"login-q-1\n"
    assert len(answers.shown) == 1
    checked = ["ssh-keygen", "-F", laptop.cluster.address, "-f", str(laptop.known_hosts)]
    assert (await command(checked)).returncode == 0


@asking
async def test_an_unknown_host_that_is_not_trusted_is_told_nothing(connect: Any, laptop: Laptop) -> None:
    laptop.known_hosts.write_text("")
    answers = Answers(["secret"])
    with pytest.raises(HostKeyRefused, match="not known and was not trusted"):
        await hostname(connect, laptop.target("login-password-code"), answers)
    assert answers.questions == []
    assert laptop.known_hosts.read_text() == ""


@asking
async def test_a_user_who_wants_strict_checking_is_not_asked(connect: Any, laptop: Laptop) -> None:
    laptop.known_hosts.write_text("")
    answers = Answers(trusts=True)
    with pytest.raises(HostKeyRefused):
        await hostname(connect, laptop.target("login", "StrictHostKeyChecking yes"), answers)
    assert answers.shown == []


@asking
async def test_who_accepts_new_hosts_is_not_asked(connect: Any, laptop: Laptop) -> None:
    laptop.known_hosts.write_text("")
    answers = Answers()
    target = laptop.target("login", "StrictHostKeyChecking accept-new")
    assert await hostname(connect, target, answers) == b"login-q-1\n"
    assert answers.shown == []
    assert laptop.cluster.address in laptop.known_hosts.read_text()


@asking
async def test_a_trusted_host_is_reached_though_its_key_is_kept_nowhere(connect: Any, laptop: Laptop) -> None:
    target = laptop.target("login", "UserKnownHostsFile /dev/null")
    assert await hostname(connect, target, Answers(trusts=True)) == b"login-q-1\n"


@every
async def test_a_host_behind_several_others_is_reached(connect: Any, laptop: Laptop) -> None:
    jumps = f"login,{site.USER.name}@{laptop.cluster.address}:22"
    lines = [f"HostName {site.LOGIN.address}", f"HostKeyAlias {laptop.cluster.address}", f"ProxyJump {jumps}"]
    target = laptop.target("far", "Host far", *lines, "Host *")
    assert await hostname(connect, target) == b"login-q-1\n"


@every
@pytest.mark.parametrize("hashed", [False, True])
async def test_a_changed_host_key_is_refused_with_the_way_out(
    connect: Any, laptop: Laptop, tmp_path: Path, hashed: bool
) -> None:
    files.new_key(tmp_path / "other", "other")
    laptop.known_hosts.write_text(f"{laptop.cluster.address} {files.public_key(tmp_path / 'other')}\n")
    if hashed:
        await command(["ssh-keygen", "-H", "-f", str(laptop.known_hosts)], check=True)
    answers = Answers(trusts=True)
    with pytest.raises(HostKeyRefused, match=f"ssh-keygen -R '{laptop.cluster.address}'"):
        await hostname(connect, laptop.target(), answers)
    assert answers.shown == []


# -- the user's own master -------------------------------------------------------------------------


@pytest.fixture
def master(laptop: Laptop) -> Iterator[SshTarget]:
    """A master connection to the host that asks for a code, opened in a terminal."""
    target = laptop.target("login-key-code")
    askpass = laptop.folder / "askpass"
    askpass.write_text(f"#!/bin/sh\necho {laptop.cluster.codes.next()}\n")
    askpass.chmod(0o700)
    env = {**os.environ, "SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force"}
    # It keeps what it was given open for as long as it lives: not our pipes.
    null = subprocess.DEVNULL
    login = target.command("-f", "-N", "-M")
    subprocess.run(login, env=env, check=True, stdin=null, stdout=null, stderr=null)
    yield target
    end_master(target)


async def test_the_users_own_master_serves_without_another_code(master: SshTarget) -> None:
    connection = await openssh_connection.connect(master)
    assert (await connection.run(["hostname"])).stdout == b"login-q-1\n"
    await connection.close()
    assert (await command(master.command("-O", "check"))).returncode == 0, "it should outlive us"


async def test_a_dead_master_fails_at_once_and_asks_nobody(master: SshTarget) -> None:
    connection = await openssh_connection.connect(master)
    await connection.run(["true"])
    await command(master.command("-O", "exit"), check=True)
    for _ in range(2):
        with pytest.raises(LinkLost):
            await connection.run(["true"])
    await connection.close()


async def test_a_host_that_asks_is_left_to_a_terminal(laptop: Laptop) -> None:
    with pytest.raises(LoginRefused, match=r"run `ssh .* -M .*login-key-code` in a terminal"):
        await hostname(by_openssh, laptop.target("login-key-code"))


async def test_openssh_leaves_an_unknown_host_to_a_terminal(laptop: Laptop) -> None:
    laptop.known_hosts.write_text("")
    with pytest.raises(HostKeyRefused, match="in a terminal"):
        await hostname(by_openssh, laptop.target())


@every
async def test_a_connection_that_is_refused_is_told_from_a_login_that_is(
    connect: Any, laptop: Laptop
) -> None:
    with pytest.raises(ConnectionFailed, match="refused") as caught:
        await hostname(connect, laptop.port(9))
    assert not isinstance(caught.value, LoginRefused)


def test_ssh_libraries_are_imported_only_when_used() -> None:
    program = (
        "import sys, workbench.remote.asyncssh_connection, workbench.remote.paramiko_connection\n"
        "assert not {'asyncssh', 'paramiko', 'cryptography'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
