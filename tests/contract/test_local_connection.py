from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.connection_contract import ConnectionContract
from tests.waiting import until
from workbench.errors import FileFailed
from workbench.remote.local import LocalConnection
from workbench.remote.local_files import reason_of

_IN_A_CHILD = """
import asyncio, concurrent.futures.thread, os, resource, sys
from workbench.errors import FileFailed
from workbench.remote.local import LocalConnection
{before}
try:
    asyncio.run(LocalConnection().write(sys.argv[1], b"x" * 1_000_000))
except FileFailed as error:
    print(error)
"""


@pytest.fixture
def connection() -> LocalConnection:
    return LocalConnection()


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


class TestLocalConnection(ConnectionContract):
    async def test_cancelling_a_command_ends_its_whole_process_group(
        self, connection: LocalConnection, tmp_path: Path
    ) -> None:
        script = 'trap "" TERM; (sleep 1000; sleep 1000) & echo $$ $! > "$0.part"; mv "$0.part" "$0"; wait'
        pids = tmp_path / "pids"
        running = asyncio.ensure_future(connection.run(["sh", "-c", script, str(pids)]))
        await until(lambda: asyncio.to_thread(pids.exists))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        for pid in pids.read_text().split():
            await until(lambda pid=pid: asyncio.to_thread(_is_gone, int(pid)))  # type: ignore[misc]

    async def test_ended_commands_leave_no_file_open(self, connection: LocalConnection) -> None:
        flood = ["sh", "-c", "cat /dev/zero >&2 & cat /dev/zero"]
        await connection.run(["true"])
        before = await asyncio.to_thread(_open_files)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await connection.run(flood, stdin=b"x" * 1_000_000)
            async with connection.stream(["cat", "/dev/zero"]) as process:
                await anext(process.stdout())
            async with connection.stream(["true"]) as process:
                await process.wait()

        async def still_open() -> int:
            return await asyncio.to_thread(_open_files)

        assert await until(still_open, lambda count: count <= before) <= before

    async def test_what_a_command_leaves_in_the_background_goes_on(
        self, connection: LocalConnection, tmp_path: Path
    ) -> None:
        script = 'sh -c \'read go < "$0"; echo went > "$0.done"\' "$0" > /dev/null 2>&1 & echo started'
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        assert (await connection.run(["sh", "-c", script, str(pipe)])).stdout == b"started\n"
        await asyncio.to_thread(pipe.write_text, "go\n")
        done = tmp_path / "pipe.done"
        await until(lambda: asyncio.to_thread(lambda: done.exists() and done.read_text() == "went\n"))

    async def test_a_named_pipe_is_refused_and_never_waited_for(
        self, connection: LocalConnection, tmp_path: Path
    ) -> None:
        os.mkfifo(tmp_path / "pipe")
        async with asyncio.timeout(60):
            with pytest.raises(FileFailed, match="not a regular file"):
                await connection.read(str(tmp_path / "pipe"))

    def test_a_file_over_the_limit_leaves_the_old_one_and_no_other(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("before")
        said = _write_in_a_child(path, "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))")
        assert f"{path} on this machine: the file would be larger than the limit" in said
        assert path.read_text() == "before"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_folder_without_permission_is_named_with_the_way_out(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        path = tmp_path / "file"
        # Root may write anywhere, so the child is nobody.
        said = _write_in_a_child(path, "os.getuid() or os.setuid(65534)")
        assert (
            said
            == f"{path} on this machine: permission denied; change the permissions or choose another folder\n"
        )

    @pytest.mark.parametrize(
        ("number", "words"),
        [
            (errno.ENOSPC, "no space left on the disk; make room"),
            (errno.EDQUOT, "quota"),
            (errno.EROFS, "read-only"),
            (errno.EACCES, "permission denied"),
            (errno.EIO, os.strerror(errno.EIO)),
        ],
    )
    def test_a_reason_is_in_words(self, number: int, words: str) -> None:
        assert words in reason_of(OSError(number, os.strerror(number)))


def _open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def _is_gone(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def _write_in_a_child(path: Path, before: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _IN_A_CHILD.format(before=before), str(path)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return done.stdout
