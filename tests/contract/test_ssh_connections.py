from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.cluster import site
from tests.cluster.cluster import Cluster
from tests.contract.connection_contract import ConnectionContract
from tests.contract.ssh import Laptop, by_asyncssh, by_openssh, by_paramiko
from tests.waiting import until
from workbench.errors import CommandFailed, ConnectionFailed, LinkLost
from workbench.ports import Connection
from workbench.remote.agent_connection import AgentConnection
from workbench.remote.ssh_config import SshTarget

_ONE_SESSION = site.Login("one-session", 2231, "publickey")
_NO_SFTP = site.Login("no-sftp", 2232, "publickey")


@pytest.fixture(scope="session")
def odd_logins(cluster: Cluster) -> None:
    """Ways in that are unlike the usual ones."""
    banner = cluster.state / "etc/ssh/banner"
    banner.write_text("*** Unauthorised access is prohibited ***\n\x1b[31mreally\x1b[0m\n")
    cluster.start_login(_ONE_SESSION, "MaxSessions 1", "Banner /etc/ssh/banner")
    cluster.start_login(_NO_SFTP, "AllowTcpForwarding no", "Subsystem sftp /bin/false")


class SshContract(ConnectionContract):
    """The contract over SSH, and what only SSH can do wrong; a subclass says of which kind it is."""

    connect: ClassVar[Any]

    @pytest.fixture
    def here(self, cluster: Cluster) -> str:
        return cluster.laptop_address

    @pytest.fixture
    def laptop(self, cluster: Cluster, tmp_path: Path) -> Laptop:
        return Laptop(cluster, tmp_path)

    @pytest.fixture
    async def connection(self, laptop: Laptop) -> AsyncIterator[Connection]:
        async with self.connect(laptop.target()) as connection:
            yield connection

    @pytest.fixture
    async def folder(self, connection: Connection) -> str:
        made = await connection.run(["mktemp", "-d", f"/home/{site.USER.name}/contract.XXXXXX"])
        return made.stdout.decode().strip()

    async def test_a_hundred_megabytes_of_binary_output_arrive_whole(
        self, connection: Connection, folder: str
    ) -> None:
        make = ["sh", "-c", 'head -c 1000000 /dev/urandom > "$0"; for n in $(seq 100); do cat "$0"; done']
        output = (await connection.run([*make, f"{folder}/part"])).stdout
        part = (await connection.read(f"{folder}/part")).data
        assert len(part) == 1_000_000
        assert hashlib.sha256(output).digest() == hashlib.sha256(part * 100).digest()

    async def test_a_slow_reader_holds_up_nobody_else(self, connection: Connection) -> None:
        async with connection.stream(["cat", "/dev/zero"]) as process:
            await anext(process.stdout())
            assert (await connection.run(["echo", "quick"])).stdout == b"quick\n"

    async def test_a_cancelled_command_ends_on_the_host_with_all_it_started(
        self, connection: Connection, folder: str
    ) -> None:
        script = 'trap "" TERM; sleep 1000 & echo $$ $! > "$0.part"; mv "$0.part" "$0"; wait'
        running = asyncio.ensure_future(connection.run(["sh", "-c", script, f"{folder}/pids"]))
        await until(lambda: _exists(connection, f"{folder}/pids"))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        for pid in (await connection.read(f"{folder}/pids")).data.decode().split():
            await until(lambda pid=pid: _ended(connection, pid))  # type: ignore[misc]

    async def test_closing_the_connection_ends_its_commands_on_the_host(
        self, laptop: Laptop, cluster: Cluster
    ) -> None:
        async with (
            self.connect(laptop.target()) as connection,
            connection.stream(["sh", "-c", "echo $$; exec sleep 1000"]) as process,
        ):
            pid = (await anext(process.stdout())).decode().strip()
        ended = ["kill", "-0", pid]
        await until(lambda: asyncio.to_thread(lambda: cluster.login.run(*ended, check=False).returncode != 0))

    @pytest.mark.usefixtures("odd_logins")
    @pytest.mark.parametrize("port", [_ONE_SESSION.port, _NO_SFTP.port])
    async def test_everything_works_on_one_session_with_a_banner_and_without_sftp(
        self, laptop: Laptop, here: str, port: int
    ) -> None:
        _know(laptop, port)
        async with (
            self.connect(laptop.port(port)) as connection,
            connection.stream(["cat"]) as following,
            connection.stream(["cat"]),
        ):
            await connection.write("odd/file", b"content")
            assert (await connection.read("odd/file")).data == b"content"
            done = await asyncio.gather(*(connection.run(["echo", str(n)]) for n in range(20)))
            assert [item.stdout for item in done] == [f"{n}\n".encode() for n in range(20)]
            assert not any(item.stderr for item in done)
            await following.write(b"still here")
            assert await anext(following.stdout()) == b"still here"
            server = await asyncio.start_server(lambda r, w: w.close(), here, 0)
            async with server, connection.open_channel(here, server.sockets[0].getsockname()[1]) as channel:
                assert await channel.read(10) == b""

    async def test_what_start_up_files_print_is_in_no_output(self, laptop: Laptop) -> None:
        async with self.connect(laptop.target("login", f"User {site.NOISY_USER.name}")) as connection:
            done = await connection.run(["sh", "-c", "echo out; echo err >&2"])
            assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
            async with connection.stream(["echo", "first"]) as process:
                assert await anext(process.stdout()) == b"first\n"

    async def test_start_up_files_that_end_the_shell_are_named_as_the_trouble(
        self, laptop: Laptop, cluster: Cluster
    ) -> None:
        start_up = cluster.state / "home" / site.NOISY_USER.name / ".bashrc"
        before = start_up.read_text()
        start_up.write_text("echo licence server down >&2\nexit 1\n")
        try:
            async with self.connect(laptop.target("login", f"User {site.NOISY_USER.name}")) as connection:
                with pytest.raises(ConnectionFailed, match="licence server down"):
                    await connection.run(["true"])
        finally:
            start_up.write_text(before)

    async def test_what_a_command_has_said_is_there_at_its_end_however_often_that_is_asked_for(
        self, connection: Connection
    ) -> None:
        assert isinstance(connection, AgentConnection)
        for _ in range(10):
            pipe = await connection.link.start("echo licence server down >&2; exit 1")
            assert [await pipe.read(), await pipe.read()] == [b"", b""]
            assert pipe.said() == "licence server down"
            pipe.close()
            await pipe.wait_closed()

    async def test_an_agent_that_is_killed_is_lost_and_started_again(self, connection: Connection) -> None:
        with pytest.raises(LinkLost):
            await connection.run(["sh", "-c", "kill -9 $PPID; sleep 1000"])
        assert (await connection.run(["echo", "again"])).stdout == b"again\n"

    async def test_a_dead_link_is_noticed_and_everything_under_way_fails(
        self, laptop: Laptop, cluster: Cluster
    ) -> None:
        async with (
            self.connect(laptop.target(), ping_s=0.5) as connection,
            connection.stream(["cat"]) as process,
        ):
            await process.write(b"x")
            assert await anext(process.stdout()) == b"x"
            try:
                await asyncio.to_thread(cluster.cut)
                with pytest.raises(LinkLost, match="not answered"):
                    await anext(process.stdout())
                with pytest.raises(LinkLost):
                    await connection.run(["true"])
            finally:
                await asyncio.to_thread(cluster.mend)

    async def test_a_node_is_reached_through_the_login_node(self, laptop: Laptop, cluster: Cluster) -> None:
        options = ["-A", "MACE-SL3-CPU", "-p", "icelake", "-t", "5", "-w", "cpu-q-1", "-D", "/tmp"]
        async with self.connect(laptop.target()) as login:
            job = (await login.run(["sbatch", "--parsable", *options, "--wrap", "sleep 600"])).stdout.decode()
            state = ["squeue", "-h", "-j", job.strip(), "-o", "%T"]
            await until(lambda: _output(login, state), lambda said: said == "RUNNING\n")
            try:
                async with self.connect(laptop.target("cpu-q-1")) as node:
                    assert (await node.run(["hostname"])).stdout == b"cpu-q-1\n"
            finally:
                await login.run(["scancel", job.strip()])
                await until(lambda: _output(login, state), lambda said: not said)

    async def test_a_refused_submission_says_what_slurm_said(self, connection: Connection) -> None:
        with pytest.raises(CommandFailed, match="Invalid account or account/partition combination"):
            await connection.run(["sbatch", "-A", "NOBODY", "-p", "icelake", "-t", "1", "--wrap", "true"])

    async def test_a_configuration_with_match_and_include_is_followed(
        self, laptop: Laptop, tmp_path: Path
    ) -> None:
        (tmp_path / "site.conf").write_text(f"Match originalhost hpc\n  HostName {laptop.cluster.address}\n")
        target = laptop.target("hpc", f"Include {tmp_path}/site.conf", f"Match host {laptop.cluster.address}")
        async with self.connect(target) as connection:
            assert (await connection.run(["hostname"])).stdout == b"login-q-1\n"

    async def test_a_host_that_is_not_there_is_named(self, laptop: Laptop) -> None:
        target = laptop.target("nowhere", "Host nowhere", "  HostName nowhere.invalid", "Host *")
        with pytest.raises(ConnectionFailed, match=r"nowhere: .*check the network, or the name"):
            async with self.connect(target):
                pass

    async def test_a_configuration_that_ssh_refuses_is_named(self, laptop: Laptop, tmp_path: Path) -> None:
        laptop.config.write_text("Prot 22\n")
        with pytest.raises(ConnectionFailed, match="Bad configuration option: prot"):
            async with self.connect(SshTarget("login", laptop.config)):
                pass


class TestAsyncssh(SshContract):
    connect = staticmethod(by_asyncssh)


class TestParamiko(SshContract):
    connect = staticmethod(by_paramiko)


class TestOpenssh(SshContract):
    connect = staticmethod(by_openssh)


def _know(laptop: Laptop, port: int) -> None:
    """Take the login node's key for that of a further port."""
    kind, key = laptop.known_hosts.read_text().splitlines()[0].split()[1:3]
    with laptop.known_hosts.open("a") as file:
        file.write(f"[{laptop.cluster.address}]:{port} {kind} {key}\n")


async def _exists(connection: Connection, path: str) -> bool:
    return (await connection.run(["test", "-e", path], check=False)).exit_status == 0


async def _ended(connection: Connection, pid: str) -> bool:
    return (await connection.run(["kill", "-0", pid], check=False)).exit_status != 0


async def _output(connection: Connection, argv: list[str]) -> str:
    return (await connection.run(argv, check=False)).stdout.decode()
