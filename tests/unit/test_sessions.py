"""What is kept of sessions and tunnels, and what is worked out from it; without any cluster."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.end_to_end.sessions import Browser, opened, ready
from tests.tui.moment import NOW
from tests.tui.recorded_sessions import view
from tests.waiting import until
from workbench.errors import NotAllowed, NotFound, StoreError
from workbench.model.job import JobState
from workbench.model.profile import ClusterProfile
from workbench.model.session import Place, Session, SessionKind, left_text, warning_due
from workbench.model.tunnel import Tunnel
from workbench.services import Services
from workbench.sessions import vscode
from workbench.sessions.book import Book
from workbench.sessions.kernels import JupyterFailed, parse

ROOT = Path(__file__).parents[2]
SESSION = Session("ab23", SessionKind.JUPYTER, "csd3", NOW, job="j1", token="t0ken", local_port=23456)


# -- the book ----------------------------------------------------------------------------------------


def test_a_session_is_kept_in_a_file_that_nobody_else_can_read(tmp_path: Path) -> None:
    Book(tmp_path).keep_session(SESSION)
    (path,) = (tmp_path / "sessions").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Book(tmp_path).sessions() == [SESSION]


def test_a_session_that_cannot_be_read_takes_no_other_along(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.keep_session(SESSION)
    for name, text in (("x", "{"), ("y", '{"v": 2}'), ("z", '{"v": 1, "id": "z"}'), ("w", "[]")):
        (tmp_path / f"sessions/{name}.json").write_text(text)
    assert book.sessions() == [SESSION]


def test_the_token_is_in_no_text_that_describes_a_session() -> None:
    assert SESSION.token not in repr(SESSION)
    assert SESSION.url == "http://127.0.0.1:23456/lab?token=t0ken"


def test_one_program_at_a_time_serves_an_entry_until_it_ends_however_that_was(tmp_path: Path) -> None:
    holder = "from workbench.sessions.book import Book; from pathlib import Path; import sys, time\n"
    holder += "print(Book(Path(sys.argv[1])).claim('ab23'), flush=True); time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        book = Book(tmp_path)
        assert not book.claim("ab23")
        assert book.server_of("ab23") == other.pid
        other.kill()
    assert book.server_of("ab23") is None
    assert book.claim("ab23")
    assert book.server_of("ab23") == os.getpid()
    book.close()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("in the way")
    with pytest.raises(StoreError, match="XDG_STATE_HOME"):
        Book(tmp_path).keep_session(SESSION)


# -- what is worked out ------------------------------------------------------------------------------


def test_a_session_is_warned_of_ten_and_two_minutes_before_its_end_once_each() -> None:
    told: float | None = None
    given = []
    for left_s in (3600, 601, 600, 599, 400, 121, 120, 60, 0):
        if (due := warning_due(left_s, told)) is not None:
            told = due
            given.append((left_s, due))
    assert given == [(600, 600), (120, 120)]
    assert warning_due(100, None) == 120  # opened late: only the one that counts
    assert warning_due(None, None) is None


def test_the_time_that_is_left_is_known_without_asking() -> None:
    running = view("ab23", NOW, left_s=90.0)
    assert running.left_s(NOW) == 90.0
    assert running.left_s(NOW + 1000) == 0.0
    assert left_text(running.left_s(NOW)) == "0:01:30"
    assert view("ab23", NOW, state=JobState.PENDING).left_s(NOW) is None
    assert running.place is not None
    told = replace(running.place, ends_at=NOW + 30)
    assert replace(running, place=told).left_s(NOW) == 30.0  # the job itself knows best


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"node": "x"}', b"null"])
def test_a_place_that_cannot_be_understood_is_none(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Place.from_json(text)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 403 Forbidden\r\n\r\n{}", b"HTTP/1.1 200 OK\r\n\r\n{", b"HTTP/1.1 200 OK\r\n\r\n[1]"],
)
def test_a_list_of_kernels_that_is_none_is_said_to_be_none(answer: bytes) -> None:
    with pytest.raises(JupyterFailed):
        parse(answer)


# -- VS Code -----------------------------------------------------------------------------------------


def test_the_ssh_configuration_for_a_node_is_one_that_ssh_understands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    profile = ClusterProfile("csd3", connection="asyncssh", host="login-gpu", scheduler="slurm")
    for node in ("gpu-q-1", "gpu-q-2", "gpu-q-1"):
        written = vscode.write(Place(node, "tmux", "", "", 1), profile)
    asked = subprocess.run(["ssh", "-G", "-F", written.path, "mace-gpu-q-1"], capture_output=True, check=True)
    lines = asked.stdout.decode().splitlines()
    assert "hostname gpu-q-1" in lines
    assert "proxyjump login-gpu" in lines
    assert Path(written.path).read_text().count("Host mace-gpu-q-") == 2
    assert f"Include {written.path}" in written.sentence


def test_a_node_whose_name_would_be_more_than_one_is_refused() -> None:
    profile = ClusterProfile("csd3", connection="asyncssh", host="login", scheduler="slurm")
    with pytest.raises(NotAllowed, match="cannot be written"):
        vscode.host_block("x\n  ProxyCommand evil", profile)


# -- on this machine ---------------------------------------------------------------------------------


@pytest.fixture
def env(tmp_path: Path) -> Mapping[str, str]:
    return {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}


async def test_a_notebook_on_this_machine_is_started_and_stopped_alike(env: Mapping[str, str]) -> None:
    async with opened(env) as services:
        view = await ready(services, await services.desk.start())
        assert b"JupyterLab" in await Browser(view.session).lasting("/lab")
        with pytest.raises(NotAllowed, match="stop it first"):
            services.desk.forget(view.session.id)
        with pytest.raises(NotAllowed, match="no way into a node is needed"):
            await services.desk.vscode(view.session.id)
        await services.desk.stop(view.session.id)
        await until(lambda: _state(services, view.session.id), lambda state: state == "stopped")
        services.desk.forget(view.session.id)
        assert services.desk.sessions() == []


async def test_a_tunnel_has_the_same_port_the_next_time(env: Mapping[str, str]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhere")
        writer.close()

    def got(port: int) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
            return bytes(page.read())

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        target = f":{server.sockets[0].getsockname()[1]}"
        ports = []
        for _ in range(2):
            async with opened(env) as services:
                services.desk.open_tunnel(target)
                await services.desk.tend()
                ((tunnel, status),) = services.desk.tunnels()
                assert status is not None
                assert status.local_port == tunnel.local_port
                assert await asyncio.to_thread(got, tunnel.local_port) == b"here"
                ports.append(tunnel.local_port)
        assert ports[0] == ports[1]
        async with opened(env) as services:
            await services.desk.close_tunnel(tunnel.name)
            assert services.desk.tunnels() == []
            with pytest.raises(NotFound):
                await services.desk.close_tunnel(tunnel.name)


@pytest.mark.parametrize("target", ["8888", "host:", "host:0", "host:99999", "-oX:22", "host:http"])
async def test_what_cannot_be_the_target_of_a_tunnel_is_refused(env: Mapping[str, str], target: str) -> None:
    async with opened(env) as services:
        with pytest.raises(NotAllowed, match="HOST:PORT"):
            services.desk.open_tunnel(target)


async def test_the_commands_print_what_scripts_can_read(env: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "workbench"]
    serving = await asyncio.create_subprocess_exec(
        *command, "tunnel", "open", ":9", "--json", cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE
    )
    assert serving.stdout is not None
    said = json.loads(await serving.stdout.readline())
    listed = json.loads(await _output(*command, "tunnel", "list", "--json", env=env))
    assert listed == [{**said, "serving": False, "served_by": serving.pid}]
    assert said["serving"] is True
    await _output(*command, "tunnel", "close", said["name"], env=env)
    assert await serving.wait() == 0  # closed by another program, it has nothing left to do
    assert json.loads(await _output(*command, "session", "list", "--json", env=env)) == []


async def test_a_notebook_that_is_started_by_a_command_outlives_it(env: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "workbench", "session"]
    serving = await asyncio.create_subprocess_exec(
        *command,
        "start",
        "--no-browser",
        cwd=ROOT,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        # Where the tests run in the background of a shell, ^C is ignored by them and all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert serving.stdout is not None
    url = (await serving.stdout.readline()).decode().strip()
    (listed,) = json.loads(await _output(*command, "list", "--json", env=env))
    assert url == listed["url"] == (await _output(*command, "url", listed["id"], env=env)).strip()
    assert "token" not in listed
    assert listed["served_by"] == serving.pid
    serving.send_signal(signal.SIGINT)
    assert await serving.wait() == 130
    async with opened(env) as services:  # another program goes on with it, at the same port
        found = await ready(services, services.desk.session(listed["id"]))
        assert found.session.url == url
        assert (await Browser(found.session).get("/api/kernels"))[0] == 200


@pytest.mark.parametrize(
    ("node", "started_at", "left"),
    [
        ("cpu-q-2", 1000.0, True),
        ("cpu-q-1", 1000.0, False),
        ("cpu-q-2", 90.0, False),  # which calls itself something else
        ("cpu-q-2", None, False),
        ("", 1000.0, False),
    ],
)
def test_what_a_dead_node_has_said_is_known_for_it(node: str, started_at: float | None, left: bool) -> None:
    place = Place("cpu-q-1.hpc.cam.ac.uk", "tmux", "", "", 1, since=100.0)
    assert place.is_left_by(node, started_at) is left


def test_an_entry_of_another_program_is_seen_at_once(tmp_path: Path) -> None:
    first, second = Book(tmp_path), Book(tmp_path)
    tunnel = first.keep_tunnel(Tunnel("x", "local", "127.0.0.1", 80, 20001))
    assert second.tunnels() == [tunnel]
    second.forget_tunnel("x")
    assert first.tunnels() == []


async def _state(services: Services, session_id: str) -> str:
    return services.desk.view(services.desk.session(session_id)).state


async def _output(*argv: str, env: Mapping[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(*argv, cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode()
