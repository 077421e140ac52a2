"""Throughput and latency of a tunnel beside plain `ssh -L`, through the test cluster's sshd (root, Debian).

Both lead to the same server on the login node. Throughput is measured on the bare link between two processes
of this machine, where nothing but the processor counts; a round trip also on a way that takes as long as one
within a city, because that is what a program adds to.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from pathlib import Path

from tests.bench.measure import machine, show
from tests.cluster.cluster import Cluster, why_not
from workbench.ports import ByteStream
from workbench.remote.asking import NoPrompter
from workbench.remote.ssh_config import SshTarget
from workbench.remote.tunnels import Forward

_KINDS = ("asyncssh", "openssh", "paramiko")
_SERVER_PORT = 7777
_MEGABYTE = 1_000_000
_DELAY_S = 0.0025
_ROUNDS = 5
_ROUND_TRIPS = 200
_SERVER = """
import socket, threading
listener = socket.create_server(("127.0.0.1", %d), backlog=64)
def serve(link):
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    file = link.makefile("rb")
    while line := file.readline():
        what, _, size = line.decode().partition(" ")
        left = int(size)
        while left and what == "get":
            left -= link.send(bytes(min(left, 1 << 18)))
        while left and what == "put":
            left -= len(file.read1(min(left, 1 << 18)))
        link.sendall(b".")
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


async def forward(kind: str, config: Path) -> None:
    """Be a tunnel, in a process of its own, until it is ended."""
    from workbench.remote import asyncssh_connection, openssh_connection, paramiko_connection

    target = SshTarget("login", config)
    match kind:
        case "asyncssh":
            connection = await asyncssh_connection.connect(target, NoPrompter())
        case "openssh":
            connection = await openssh_connection.connect(target)
        case _:
            connection = await paramiko_connection.connect(target, NoPrompter())

    def reach() -> AbstractAsyncContextManager[ByteStream]:
        return connection.open_channel("127.0.0.1", _SERVER_PORT)

    print(await Forward("bench", reach).listen(), flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await connection.close()


class Way:
    """One local port, and how fast it is."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.link = socket.create_connection(("127.0.0.1", port))
        self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def megabytes_per_s(self, what: str, size: int) -> float:
        began = time.perf_counter()
        self.link.sendall(f"{what} {size}\n".encode())
        if what == "put":
            for start in range(0, size, _MEGABYTE):
                self.link.sendall(bytes(min(_MEGABYTE, size - start)))
        left = (size if what == "get" else 0) + 1
        while left:
            left -= len(self.link.recv(min(left, 1 << 18)))
        return size / _MEGABYTE / (time.perf_counter() - began)

    def round_trip_ms(self) -> float:
        times = []
        for _ in range(_ROUND_TRIPS):
            began = time.perf_counter()
            self.link.sendall(b"get 0\n")
            self.link.recv(1)
            times.append(1000 * (time.perf_counter() - began))
        return statistics.median(times)


async def delay(address: str, port: int) -> None:
    """Be a way to `address:port` that takes `_DELAY_S` in each direction."""
    loop = asyncio.get_running_loop()

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionResetError):
            while data := await reader.read(1 << 18):
                loop.call_later(_DELAY_S, writer.write, data)
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(address, port)
        await asyncio.gather(hand_on(reader, back), hand_on(there, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def _delayed(cluster: Cluster) -> Iterator[Path]:
    """An ssh configuration by which the login node is reached on the slower way."""
    here = [sys.executable, "-m", "tests.bench.bench_tunnels", "delay", cluster.address, "22"]
    process = subprocess.Popen(here, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    config = cluster.client / "delayed"
    port = int(process.stdout.readline())
    key = (cluster.client / "known_hosts").read_text().split()[1:3]
    known = config.with_name("delayed-known-hosts")
    known.write_text(f"[127.0.0.1]:{port} {' '.join(key)}\n")
    place = f"Host login\nHostName 127.0.0.1\nPort {port}\nUserKnownHostsFile {known}\nHost *\n"
    config.write_text(f"{place}Include {cluster.ssh_config}\n")
    try:
        yield config
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _ways(config: Path) -> Iterator[list[Way]]:
    processes: list[subprocess.Popen[str]] = []
    ports = {}
    probe = socket.create_server(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    plain = ["ssh", "-F", str(config), "-N", "-L", f"{port}:127.0.0.1:{_SERVER_PORT}", "login"]
    processes.append(subprocess.Popen(plain, text=True))
    ports["ssh -L"] = port
    for kind in _KINDS:
        command = [sys.executable, "-m", "tests.bench.bench_tunnels", kind, str(config)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        processes.append(process)
        ports[kind] = int(process.stdout.readline())
    try:
        yield [Way(name, number) for name, number in ports.items()]
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def _compare(ways: list[Way], what: str, measure: Callable[[Way], float], unit: str, goal: str) -> None:
    """Each way's figure, and how it stands to that of plain `ssh -L`, which is the first."""
    figures: dict[str, list[float]] = {way.name: [] for way in ways}
    for _, way in itertools.product(range(_ROUNDS), ways):  # one after the other, so that load hits all
        figures[way.name].append(measure(way))
    base = statistics.median(figures[ways[0].name])
    for name, values in figures.items():
        show(f"tunnel, {what}, {name}: {statistics.median(values) / base:.2f} ×", values, unit, goal)


def main() -> None:
    """Measure, where a cluster can be brought up."""
    if reason := why_not():
        print(f"tunnels were not measured: {reason}")
        return
    cluster = Cluster.reserve()
    size = 100 * _MEGABYTE
    try:
        cluster.up()
        cluster.login.serve("bench-server", [sys.executable, "-c", _SERVER % _SERVER_PORT])
        with _ways(cluster.ssh_config) as ways:
            _compare(ways, "down", lambda way: way.megabytes_per_s("get", size), "MB/s", "≥ 0.7 ×")
            _compare(ways, "up", lambda way: way.megabytes_per_s("put", size), "MB/s", "≥ 0.7 ×")
            _compare(ways, "round trip on the bare link", Way.round_trip_ms, "ms", "—")
        with _delayed(cluster) as config, _ways(config) as ways:
            _compare(ways, "round trip on a link of 5 ms", Way.round_trip_ms, "ms", "≤ 2 ×")
    finally:
        cluster.down()


if __name__ == "__main__":
    if sys.argv[1:2] == ["delay"]:
        asyncio.run(delay(sys.argv[2], int(sys.argv[3])))
    elif len(sys.argv) > 1:
        asyncio.run(forward(sys.argv[1], Path(sys.argv[2])))
    else:
        print(f"measured on {machine()}\n")
        main()
