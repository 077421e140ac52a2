"""What every connection keeps to, whichever way it reaches its host.

A test module of an implementation subclasses `ConnectionContract` and provides two fixtures:
`connection`, and `folder`, an empty folder on the host by its absolute path; and `here`, where the host
is not the machine that the tests run on. They reach the host through nothing but the connection.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import PurePosixPath

import pytest

from tests.waiting import until
from workbench.errors import CommandFailed, ConnectionFailed, FileFailed
from workbench.ports import Connection

AWKWARD = [
    "",
    " ",
    "two words",
    "it's",
    'say "so"',
    "$HOME `id` $(id)",
    "a\nb",
    "a|b;c&d",
    "*",
    "ÄÖ→",
    "-n",
    "\\",
]
AWKWARD_NAMES = [" ", "two words", "it's", 'say "so"', "$HOME", "a\nb", "a|b;c&d", "*", "ÄÖ→", "-n", "\\"]


class ConnectionContract:
    """The tests; see the module."""

    @pytest.fixture
    def here(self) -> str:
        """The address of the machine that the tests run on, as the host can reach it."""
        return "127.0.0.1"

    # -- commands --------------------------------------------------------------------------------

    async def test_a_commands_output_and_exit_status_come_back(self, connection: Connection) -> None:
        done = await connection.run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
        assert (done.stdout, done.stderr, done.exit_status) == (b"out\n", b"err\n", 3)

    async def test_arguments_arrive_as_they_were_given(self, connection: Connection) -> None:
        done = await connection.run(["printf", r"%s\0", *AWKWARD])
        assert done.stdout == b"".join(word.encode() + b"\0" for word in AWKWARD)

    async def test_stdin_arrives_whole_whatever_its_bytes(self, connection: Connection) -> None:
        data = bytes(range(256)) * 4096
        assert (await connection.run(["cat"], stdin=data)).stdout == data

    async def test_a_command_without_stdin_reads_its_end_at_once(self, connection: Connection) -> None:
        async with asyncio.timeout(60):
            assert (await connection.run(["cat"])).stdout == b""

    async def test_a_command_that_ignores_its_stdin_is_no_error(self, connection: Connection) -> None:
        assert (await connection.run(["true"], stdin=b"x" * 1_000_000)).exit_status == 0

    async def test_environment_is_added_to_that_of_the_host(self, connection: Connection) -> None:
        value = "two lines\nand 'quotes' and $HOME"
        done = await connection.run(["sh", "-c", 'printf "%s" "$GIVEN:$PATH"'], env={"GIVEN": value})
        given, _, path = done.stdout.decode().rpartition(":/")
        assert given.startswith(value)
        assert path

    async def test_a_command_runs_in_the_folder_it_is_told_and_otherwise_at_home(
        self, connection: Connection, folder: str
    ) -> None:
        home = (await connection.run(["sh", "-c", "cd && pwd -P"])).stdout
        assert (await connection.run(["pwd", "-P"])).stdout == home
        there = (await connection.run(["pwd"], cwd=folder)).stdout.decode().strip()
        assert PurePosixPath(there).name == PurePosixPath(folder).name

    async def test_a_failing_command_raises_with_what_it_said_last(self, connection: Connection) -> None:
        with pytest.raises(CommandFailed, match="no such partition") as caught:
            await connection.run(["sh", "-c", "echo some noise >&2; echo no such partition >&2; exit 7"])
        assert caught.value.exit_status == 7
        assert connection.host in str(caught.value)

    async def test_a_missing_command_ends_with_127_as_in_a_shell(self, connection: Connection) -> None:
        done = await connection.run(["no-such-command-anywhere"], check=False)
        assert done.exit_status == 127
        assert b"not found" in done.stderr
        with pytest.raises(CommandFailed, match="not found"):
            await connection.run(["no-such-command-anywhere"])

    async def test_a_missing_folder_to_run_in_fails_the_command(
        self, connection: Connection, folder: str
    ) -> None:
        done = await connection.run(["true"], cwd=f"{folder}/missing", check=False)
        assert done.exit_status != 0
        assert b"missing" in done.stderr

    async def test_a_command_ended_by_a_signal_says_which(self, connection: Connection) -> None:
        assert (await connection.run(["sh", "-c", "kill -TERM $$"], check=False)).exit_status == -15

    async def test_much_output_on_both_streams_arrives_whole(self, connection: Connection) -> None:
        script = "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; head -c 3000000 /dev/zero"
        done = await connection.run(["sh", "-c", script])
        assert (len(done.stdout), len(done.stderr)) == (6_000_000, 3_000_000)

    async def test_many_commands_at_once_do_not_mix(self, connection: Connection) -> None:
        done = await asyncio.gather(*(connection.run(["echo", str(n)]) for n in range(20)))
        assert [item.stdout for item in done] == [f"{n}\n".encode() for n in range(20)]

    # -- streams ---------------------------------------------------------------------------------

    async def test_streamed_output_comes_while_the_command_runs(self, connection: Connection) -> None:
        script = 'while read line; do echo "got $line"; done; echo end'
        async with connection.stream(["sh", "-c", script]) as process:
            output = process.stdout()
            await process.write(b"one\n")
            assert await anext(output) == b"got one\n"
            await process.write(b"two\n")
            assert await anext(output) == b"got two\n"
            await process.write_eof()
            assert b"".join([piece async for piece in output]) == b"end\n"
            assert (await process.wait()).exit_status == 0

    async def test_waiting_for_a_streamed_command_gives_what_nobody_took(
        self, connection: Connection
    ) -> None:
        async with connection.stream(["sh", "-c", "echo out; echo err >&2; exit 4"]) as process:
            done = await process.wait()
        assert (done.stdout, done.stderr, done.exit_status) == (b"out\n", b"err\n", 4)

    async def test_leaving_a_stream_ends_its_command(self, connection: Connection, folder: str) -> None:
        script = 'echo $$ > "$0"; while :; do echo more; done'
        path = f"{folder}/pid"
        async with connection.stream(["sh", "-c", script, path]) as process:
            await anext(process.stdout())
        pid = (await connection.read(path)).data.decode().strip()
        await until(lambda: _is_gone(connection, pid))

    async def test_an_error_in_a_stream_passes_through_unchanged(self, connection: Connection) -> None:
        with pytest.raises(KeyError, match="mine"):
            async with connection.stream(["cat"]):
                raise KeyError("mine")

    # -- files -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("name", AWKWARD_NAMES)
    async def test_a_file_is_written_and_read_whatever_its_name(
        self, connection: Connection, folder: str, name: str
    ) -> None:
        data = bytes(range(256))
        await connection.write(f"{folder}/{name}/{name}", data)
        chunk = await connection.read(f"{folder}/{name}/{name}")
        assert (chunk.offset, chunk.data, chunk.size) == (0, data, 256)

    async def test_part_of_a_file_is_read(self, connection: Connection, folder: str) -> None:
        await connection.write(f"{folder}/file", b"0123456789")
        for offset, most, expected in [(3, 4, b"3456"), (8, 9, b"89"), (4, None, b"456789"), (0, 0, b"")]:
            chunk = await connection.read(f"{folder}/file", offset, most)
            assert (chunk.offset, chunk.data, chunk.size) == (offset, expected, 10)

    async def test_reading_past_the_end_gives_nothing_and_the_size(
        self, connection: Connection, folder: str
    ) -> None:
        await connection.write(f"{folder}/file", b"0123456789")
        for offset in (10, 11, 1000):
            chunk = await connection.read(f"{folder}/file", offset, 100)
            assert (chunk.offset, chunk.data, chunk.size) == (offset, b"", 10)

    async def test_a_growing_file_is_followed_without_a_gap(
        self, connection: Connection, folder: str
    ) -> None:
        path, seen = f"{folder}/log", b""
        await connection.write(path, b"")
        for n in range(5):
            await connection.run(["sh", "-c", f'echo {n} >> "$0"', path])
            chunk = await connection.read(path, len(seen))
            seen += chunk.data
            assert chunk.size == len(seen)
        assert seen == b"0\n1\n2\n3\n4\n"

    async def test_a_large_file_arrives_whole(self, connection: Connection, folder: str) -> None:
        data = os.urandom(1 << 20) * 24
        await connection.write(f"{folder}/large", data)
        assert (await connection.read(f"{folder}/large")).data == data

    async def test_relative_paths_begin_at_home(self, connection: Connection, folder: str) -> None:
        await connection.write(f"{folder}/file", b"here")
        home = (await connection.run(["sh", "-c", "cd && pwd -P"])).stdout.decode().strip()
        up = "/".join([".."] * (len(PurePosixPath(home).parts) - 1))
        assert (await connection.read(f"{up or '.'}{folder}/file")).data == b"here"

    async def test_a_missing_file_is_named(self, connection: Connection, folder: str) -> None:
        with pytest.raises(FileFailed, match="there is no such file") as caught:
            await connection.read(f"{folder}/missing")
        assert caught.value.path == f"{folder}/missing"
        assert connection.host in str(caught.value)

    async def test_reading_a_folder_fails(self, connection: Connection, folder: str) -> None:
        with pytest.raises(FileFailed):
            await connection.read(folder)

    async def test_writing_replaces_a_file_whole_and_sets_its_mode(
        self, connection: Connection, folder: str
    ) -> None:
        path = f"{folder}/file"
        await connection.write(path, b"a long first content")
        await connection.write(path, b"short", mode=0o600)
        assert (await connection.read(path)).data == b"short"
        assert (await connection.run(["ls", "-l", path])).stdout.startswith(b"-rw-------")
        await connection.write(path, b"short", mode=0o755)
        assert (await connection.run(["ls", "-l", path])).stdout.startswith(b"-rwxr-xr-x")

    async def test_a_reader_never_sees_half_a_file(self, connection: Connection, folder: str) -> None:
        path, contents = f"{folder}/file", [bytes([n]) * 300_000 for n in range(8)]
        await connection.write(path, contents[0])

        async def rewrite() -> None:
            for content in contents[1:]:
                await connection.write(path, content)

        writing = asyncio.ensure_future(rewrite())
        while not writing.done():
            assert (await connection.read(path)).data in contents
        await writing
        assert (await connection.read(path)).data == contents[-1]

    @pytest.mark.parametrize("inside", ["file/below", "folder"])
    async def test_a_write_that_cannot_be_leaves_everything_as_it_was(
        self, connection: Connection, folder: str, inside: str
    ) -> None:
        await connection.write(f"{folder}/file", b"before")
        await connection.write(f"{folder}/folder/kept", b"kept")
        before = await _listing(connection, folder)
        with pytest.raises(FileFailed) as caught:
            await connection.write(f"{folder}/{inside}", b"after")
        assert caught.value.path == f"{folder}/{inside}"
        assert await _listing(connection, folder) == before
        assert (await connection.read(f"{folder}/file")).data == b"before"

    # -- trees -----------------------------------------------------------------------------------

    async def test_a_tree_is_put_whole_and_only_once(self, connection: Connection, folder: str) -> None:
        tree = f"{folder}/new/tree"
        files = {
            "top": b"1",
            "some/where/deep": b"2" * 100_000,
            **{f"odd/{name}": b"3" for name in AWKWARD_NAMES},
        }
        await connection.put_tree(files, tree)
        for name, data in files.items():
            assert (await connection.read(f"{tree}/{name}")).data == data
        await connection.put_tree({"top": b"other", "more": b"more"}, tree)
        assert (await connection.read(f"{tree}/top")).data == b"1"
        with pytest.raises(FileFailed):
            await connection.read(f"{tree}/more")

    async def test_the_same_tree_put_by_many_at_once_is_there_whole(
        self, connection: Connection, folder: str
    ) -> None:
        tree, files = f"{folder}/tree", {f"{n}/file": bytes([n]) * 1000 for n in range(20)}
        await asyncio.gather(*(connection.put_tree(files, tree) for _ in range(8)))
        for name, data in files.items():
            assert (await connection.read(f"{tree}/{name}")).data == data
        assert await _listing(connection, folder) == sorted(
            [".", "./tree", *(f"./tree/{n}" for n in range(20)), *(f"./tree/{name}" for name in files)]
        )

    async def test_a_tree_that_cannot_be_put_leaves_nothing_behind(
        self, connection: Connection, folder: str
    ) -> None:
        with pytest.raises(FileFailed):
            await connection.put_tree({"clash": b"", "clash/below": b""}, f"{folder}/tree")
        assert await _listing(connection, folder) == ["."]

    @pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
    async def test_a_tree_never_reaches_outside_its_folder(
        self, connection: Connection, folder: str, name: str
    ) -> None:
        with pytest.raises(ValueError, match="outside"):
            await connection.put_tree({name: b""}, f"{folder}/tree")
        assert await _listing(connection, folder) == ["."]

    # -- channels --------------------------------------------------------------------------------

    async def test_a_channel_carries_bytes_both_ways_and_ends(
        self, connection: Connection, here: str
    ) -> None:
        async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(1000):
                writer.write(data.upper())
            writer.write(b"BYE")
            writer.close()
            await writer.wait_closed()

        async with _listening(here, upper) as port, connection.open_channel(here, port) as channel:
            await channel.write(b"hello")
            assert await channel.read(100) == b"HELLO"
            await channel.write_eof()
            assert await channel.read(100) == b"BYE"
            assert await channel.read(100) == b""

    async def test_a_channel_that_is_broken_off_ends_or_says_so(
        self, connection: Connection, here: str
    ) -> None:
        async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            link = writer.get_extra_info("socket")
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()

        async with _listening(here, break_off) as port, connection.open_channel(here, port) as channel:
            await channel.write(b"x")
            with suppress(ConnectionFailed):  # an sshd that forwards it does not say
                assert await channel.read(100) == b""

    async def test_a_channel_to_where_nobody_listens_fails(self, connection: Connection, here: str) -> None:
        async def nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            raise AssertionError

        async with _listening(here, nobody) as port:
            pass  # from here on it is free
        with pytest.raises(ConnectionFailed):
            async with connection.open_channel(here, port):
                pass


_Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _listening(address: str, handler: _Handler) -> AsyncIterator[int]:
    """A TCP server on a free port of this machine."""
    async with await asyncio.start_server(handler, address, 0) as server:
        yield int(server.sockets[0].getsockname()[1])


async def _listing(connection: Connection, folder: str) -> list[str]:
    return sorted((await connection.run(["find", "."], cwd=folder)).stdout.decode().splitlines())


async def _is_gone(connection: Connection, pid: str) -> bool:
    return (await connection.run(["kill", "-0", pid], check=False)).exit_status != 0
