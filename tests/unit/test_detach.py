"""`jobs.detach` by its command line, with real processes, killed at the worst moments."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from jobs.detach.commands import status
from jobs.detach.queue import places, queued, take_ticket
from jobs.detach.supervisor import _end_by_itself
from tests.waiting import until

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-E", "-S", "-m", "jobs.detach"]
OVER = {"COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "OUT_OF_MEMORY", "LOST", "ABSENT"}
WAIT_FOR_GO = "until [ -e go ]; do sleep 0.02; done"
"""A script that runs until its test makes the file."""

Record = dict[str, Any]


class Refused(Exception):
    pass


class Host:
    """A work folder, and the command as any connection runs it."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.jobs: list[str] = []

    def folder(self, job: str) -> Path:
        return self.work / "runs" / job

    def file(self, job: str, name: str) -> Path:
        return self.folder(job) / name

    def request(self, job: str, argv: list[str], **changes: Any) -> Record:
        if job not in self.jobs:
            self.jobs.append(job)
        request = {
            "id": job,
            "folder": str(self.folder(job)),
            "queue": str(self.work / "queue"),
            "argv": argv,
            "env": {},
            "slots": 1,
            "time_limit_s": 600,
            "grace_s": 0.3,
        }
        return {**request, **changes}

    async def ask(self, command: str, *requests: Record) -> list[Record]:
        done = await asyncio.to_thread(
            subprocess.run,
            [*COMMAND, command],
            input="".join(json.dumps(request) + "\n" for request in requests),
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        if done.returncode:
            raise Refused(done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    async def submit(self, job: str, script: str, **changes: Any) -> Record:
        [answer] = await self.ask("submit", self.request(job, ["sh", "-c", script], **changes))
        return answer

    async def requeue(self, job: str, **changes: Any) -> Record:
        [answer] = await self.ask("requeue", self.request(job, [], **changes))
        return answer

    async def cancel(self, job: str) -> None:
        await self.ask("cancel", self.request(job, []))

    async def status(self, job: str) -> Record:
        """Asked in this process, as tests do it often; `ask` does it as a command."""
        places.cache_clear()
        return await asyncio.to_thread(status, self.request(job, []))

    async def has_left_queue(self, job: str) -> bool:
        return self.folder(job) not in [folder for _, folder in queued(self.work / "queue")]

    async def reaches(self, job: str, *states: str) -> Record:
        return await until(lambda: self.status(job), lambda known: known["state"] in states)

    async def is_over(self, job: str) -> Record:
        return await self.reaches(job, *OVER)

    async def writes(self, job: str, name: str) -> str:
        """The content of a file in the job's folder, once it ends with a newline."""

        async def content() -> str:
            path = self.file(job, name)
            return path.read_text() if path.exists() else ""

        return await until(content, lambda text: text.endswith("\n"))

    def state(self, job: str) -> Record:
        record = json.loads(self.file(job, "state.json").read_text())
        assert isinstance(record, dict)
        return record

    def kill_supervisor(self, job: str, number: int = signal.SIGKILL) -> None:
        os.kill(self.state(job)["supervisor"]["pid"], number)

    def processes(self) -> list[int]:
        """All that live and belong to a run of this work folder."""
        mark = f"MACE_WORKBENCH_RUN={self.work}/".encode()
        return [pid for pid, environment in _environments().items() if mark in environment]


def _environments() -> dict[int, bytes]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = (entry / "environ").read_bytes()
            except OSError:
                continue
    return found


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    host = Host(tmp_path / "work folder's")
    yield host
    for job in host.jobs:
        if (await host.status(job))["state"] not in OVER:
            await host.cancel(job)
    for job in host.jobs:
        await host.is_over(job)
    assert host.processes() == []


# -- how it ends ---------------------------------------------------------------------------------


async def test_a_run_completes_and_its_folder_tells_everything(host: Host) -> None:
    first = await host.submit("a", "echo out; echo err >&2; pwd")
    assert first["state"] in ("PENDING", "RUNNING", "COMPLETING", "COMPLETED")
    end = await host.is_over("a")
    assert (end["state"], end["exit_code"], end["attempt"], end["reason"]) == ("COMPLETED", 0, 1, "")
    assert end["submitted_at"] <= end["started_at"] <= end["ended_at"]
    assert json.loads(host.file("a", "exit.json").read_text()) == end
    assert host.file("a", "stdout.log").read_text() == f"out\nerr\n{host.folder('a')}\n"
    assert list((host.work / "queue").iterdir()) == []


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [
        ("exit 3", 3, "exit status 3"),
        ("kill -SEGV $$", 139, "SIGSEGV"),
        ("kill -KILL $$", 137, "SIGKILL from outside: most often the kernel does so when memory runs out"),
        ("exit 255", 255, "exit status 255"),
    ],
)
async def test_a_run_that_fails_says_how(host: Host, script: str, code: int, reason: str) -> None:
    await host.submit("a", script)
    end = await host.is_over("a")
    assert (end["state"], end["exit_code"]) == ("FAILED", code)
    assert reason in end["reason"]


async def test_a_command_that_is_not_there_fails_and_the_log_says_so(host: Host) -> None:
    await host.ask("submit", host.request("a", ["no-such-program", "x"]))
    end = await host.is_over("a")
    assert (end["state"], end["exit_code"]) == ("FAILED", 127)
    assert "no-such-program" in host.file("a", "stdout.log").read_text()


def test_an_end_for_want_of_memory_is_told_apart() -> None:
    # The kernel's own count cannot be raised on purpose here; how it is read is the same everywhere.
    assert _end_by_itself(137, out_of_memory=True)["state"] == "OUT_OF_MEMORY"
    assert _end_by_itself(137, out_of_memory=False)["state"] == "FAILED"
    assert _end_by_itself(0, out_of_memory=True)["state"] == "COMPLETED"


async def test_a_time_limit_ends_a_run_that_may_still_tidy_up(host: Host) -> None:
    script = "trap 'echo tidied; exit 5' TERM; echo begun; while :; do sleep 0.02; done"
    await host.submit("a", script, time_limit_s=0.5, grace_s=60)
    end = await host.is_over("a")
    assert (end["state"], end["exit_code"]) == ("TIMEOUT", 5)
    assert "time limit of 0.5 s" in end["reason"]
    assert host.file("a", "stdout.log").read_text().endswith("tidied\n")


async def test_a_time_limit_ends_a_run_that_will_not_listen(host: Host) -> None:
    await host.submit("a", "trap '' TERM; while :; do sleep 0.02; done", time_limit_s=0.3)
    end = await host.is_over("a")
    assert (end["state"], end["exit_code"]) == ("TIMEOUT", 137)


async def test_waiting_in_the_queue_does_not_count_towards_the_time_limit(host: Host) -> None:
    await host.submit("a", "sleep 0.5")
    await host.submit("b", "true", time_limit_s=0.3)
    end = await host.is_over("b")
    assert end["state"] == "COMPLETED"
    assert end["ended_at"] - end["submitted_at"] > 0.3


async def test_what_a_run_leaves_in_the_background_is_ended_with_it(host: Host) -> None:
    await host.submit("a", "(trap '' TERM; while :; do sleep 0.02; done) & echo $! > pid")
    assert (await host.is_over("a"))["state"] == "COMPLETED"
    assert not is_alive(int(host.file("a", "pid").read_text()))


# -- cancelling ----------------------------------------------------------------------------------


async def test_cancelling_ends_the_whole_group_even_where_it_will_not_listen(host: Host) -> None:
    deaf = "trap '' TERM; while :; do sleep 0.02; done"
    await host.submit("a", f"trap '' TERM; (({deaf}) & {deaf}) & echo begun; {deaf}")
    await host.writes("a", "stdout.log")
    assert len(host.processes()) >= 3
    await host.cancel("a")
    end = await host.is_over("a")
    assert (end["state"], end["exit_code"], end["reason"]) == ("CANCELLED", 137, "cancelled")
    assert host.processes() == []


async def test_cancelling_a_stopped_run_ends_it(host: Host) -> None:
    await host.submit("a", "echo begun; kill -STOP $$; echo never")
    await host.writes("a", "stdout.log")
    await host.cancel("a")
    assert (await host.is_over("a"))["state"] == "CANCELLED"
    assert host.file("a", "stdout.log").read_text() == "begun\n"


async def test_a_job_cancelled_in_the_queue_never_runs(host: Host) -> None:
    await host.submit("a", WAIT_FOR_GO)
    await host.submit("b", "echo never")
    await host.submit("c", "echo third")
    await host.cancel("b")
    end = await host.is_over("b")
    assert end["state"] == "CANCELLED"
    assert "started_at" not in end
    host.file("a", "go").touch()
    assert (await host.is_over("c"))["state"] == "COMPLETED"
    assert host.file("b", "stdout.log").read_text() == ""


async def test_a_held_job_lets_others_go_first_and_begins_at_the_end_once_it_is_released(host: Host) -> None:
    await host.submit("first", "until [ -e go ]; do sleep 0.02; done")
    await host.submit("second", "true")
    [held] = await host.ask("hold", host.request("second", []))
    assert (held["state"], held["held_by"]) == ("PENDING", "you")
    await host.submit("third", "until [ -e go ]; do sleep 0.02; done")
    host.file("first", "go").touch()
    await host.reaches("third", "RUNNING")
    assert (await host.status("second"))["reason"].startswith("held by you")
    [released] = await host.ask("release", host.request("second", []))
    assert "held_by" not in released
    await until(lambda: host.status("second"), lambda known: known["reason"].startswith("waits for a slot"))
    host.file("third", "go").touch()
    assert (await host.is_over("second"))["state"] == "COMPLETED"


async def test_a_held_job_can_be_cancelled_and_a_job_that_runs_cannot_be_held(host: Host) -> None:
    await host.submit("first", "sleep 60")
    await host.reaches("first", "RUNNING")
    with pytest.raises(Refused, match=r"first does not wait \(running\): only a job that waits can be held"):
        await host.ask("hold", host.request("first", []))
    await host.submit("second", "true")
    await host.ask("hold", host.request("second", []))
    await until(lambda: host.has_left_queue("second"))
    await host.cancel("second")
    assert (await host.is_over("second"))["state"] == "CANCELLED"
    await host.cancel("first")
    assert (await host.requeue("second"))["state"] == "PENDING"
    assert (await host.is_over("second"))["state"] == "COMPLETED"


def test_a_home_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path / "none"), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [*COMMAND, "status"], input="", env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("the home folder cannot be used: No such file or directory")
    assert "set HOME" in done.stderr
    assert "Error" not in done.stderr


async def test_cancelling_what_is_over_changes_nothing(host: Host) -> None:
    await host.submit("a", "true")
    end = await host.is_over("a")
    await host.cancel("a")
    assert await host.status("a") == end


async def test_a_supervisor_ended_by_the_system_ends_its_run_and_says_so(host: Host) -> None:
    await host.submit("a", WAIT_FOR_GO)
    await host.reaches("a", "RUNNING")
    host.kill_supervisor("a", signal.SIGTERM)
    end = await host.is_over("a")
    assert end["state"] == "CANCELLED"
    assert "from outside" in end["reason"]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
async def test_a_supervisor_does_not_mind_what_a_closing_terminal_sends(host: Host, number: int) -> None:
    await host.submit("a", WAIT_FOR_GO)
    await host.reaches("a", "RUNNING")
    host.kill_supervisor("a", number)
    host.file("a", "go").touch()
    assert (await host.is_over("a"))["state"] == "COMPLETED"


# -- killed, full, gone --------------------------------------------------------------------------


async def test_a_killed_supervisor_means_a_lost_run_and_nothing_is_left_running(host: Host) -> None:
    await host.submit("a", "(while :; do sleep 0.02; done) & echo begun; while :; do sleep 0.02; done")
    await host.writes("a", "stdout.log")
    host.kill_supervisor("a")
    end = await host.is_over("a")
    assert end["state"] == "LOST"
    assert "what still ran of it has been ended" in end["reason"]
    assert host.processes() == []
    assert end["started_at"] <= end["ended_at"]


async def test_what_a_killed_supervisor_and_a_dead_child_left_is_found(host: Host) -> None:
    await host.submit("a", "(while :; do sleep 0.02; done) & echo begun; while :; do sleep 0.02; done")
    await host.writes("a", "stdout.log")
    state = host.state("a")
    os.kill(state["supervisor"]["pid"], signal.SIGKILL)
    os.kill(state["child"]["pid"], signal.SIGKILL)
    await until(lambda: asyncio.to_thread(lambda: not is_alive(state["child"]["pid"])))
    assert (await host.is_over("a"))["state"] == "LOST"
    assert host.processes() == []


async def test_a_supervisor_killed_in_the_queue_holds_nobody_up(host: Host) -> None:
    for job in "abc":
        await host.submit(job, f"echo {job}; {WAIT_FOR_GO}")
    host.kill_supervisor("b")
    host.file("a", "go").touch()
    await host.writes("c", "stdout.log")
    host.file("c", "go").touch()
    assert (await host.is_over("c"))["state"] == "COMPLETED"
    assert (await host.is_over("b"))["state"] == "LOST"
    assert host.file("b", "stdout.log").read_text() == ""


async def test_the_next_in_the_queue_ends_what_a_killed_supervisor_left(host: Host) -> None:
    await host.submit("a", f"echo begun; {WAIT_FOR_GO}")
    await host.writes("a", "stdout.log")
    await host.submit("b", "echo begun")
    host.kill_supervisor("a")
    await host.writes("b", "stdout.log")  # and nobody has asked for the status meanwhile
    assert [pid for pid in host.processes() if pid == host.state("a")["child"]["pid"]] == []


async def test_an_end_that_cannot_be_written_is_not_lost(host: Host) -> None:
    await host.submit("a", WAIT_FOR_GO)
    await host.reaches("a", "RUNNING")
    host.file("a", "exit.json").mkdir()  # in the way, as a full disk is
    host.file("a", "go").touch()
    assert "once there is room" in (await host.reaches("a", "COMPLETING"))["reason"]
    await host.submit("b", "true")
    assert (await host.is_over("b"))["state"] == "COMPLETED"  # its slot is free
    host.file("a", "exit.json").rmdir()
    assert (await host.is_over("a"))["state"] == "COMPLETED"


async def test_an_end_that_never_could_be_written_counts_as_lost(host: Host) -> None:
    await host.submit("a", WAIT_FOR_GO)
    await host.reaches("a", "RUNNING")
    host.file("a", "exit.json").mkdir()
    host.file("a", "go").touch()
    await host.reaches("a", "COMPLETING")
    host.kill_supervisor("a")
    assert (await host.is_over("a"))["state"] == "LOST"


async def test_removing_the_folder_of_a_run_ends_it(host: Host, tmp_path: Path) -> None:
    await host.submit("a", "while :; do sleep 0.02; done")
    await host.reaches("a", "RUNNING")
    supervisor = host.state("a")["supervisor"]["pid"]
    host.folder("a").rename(tmp_path / "aside")
    await until(lambda: asyncio.to_thread(lambda: not is_alive(supervisor)))
    assert host.processes() == []
    known = await host.status("a")
    assert known["state"] == "ABSENT"
    assert "is gone" in known["reason"]


async def test_a_disk_without_room_refuses_a_job_in_words_and_starts_nothing(host: Host) -> None:
    request = host.request("a", ["true"])
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *COMMAND, "submit"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1
    assert f"{host.folder('a')}: File too large" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (await host.status("a"))["state"] == "ABSENT"
    await host.ask("submit", request)
    assert (await host.is_over("a"))["state"] == "COMPLETED"


async def test_a_reused_process_number_is_not_mistaken_for_the_supervisor(host: Host) -> None:
    await host.submit("a", WAIT_FOR_GO)
    await host.reaches("a", "RUNNING")
    host.kill_supervisor("a")
    state = host.state("a")
    state["supervisor"]["pid"] = os.getpid()
    host.file("a", "state.json").write_text(json.dumps(state))
    assert (await host.is_over("a"))["state"] == "LOST"


async def test_a_restart_of_the_host_loses_what_ran_and_another_host_is_not_judged(host: Host) -> None:
    await host.submit("a", WAIT_FOR_GO)
    state = await until(lambda: asyncio.to_thread(host.state, "a"), lambda found: found["state"] == "RUNNING")
    for name in ("supervisor", "child"):
        state[name]["boot"] = "another"
    honest = host.file("a", "state.json").read_text()
    host.file("a", "state.json").write_text(json.dumps(state))
    assert (await host.status("a"))["state"] == "LOST"
    state["supervisor"]["host"] = "elsewhere"
    host.file("a", "state.json").write_text(json.dumps(state))
    known = await host.status("a")
    assert known["state"] == "UNKNOWN"
    assert "started on elsewhere" in known["reason"]
    with pytest.raises(Refused, match="is not over"):
        await host.requeue("a")
    host.file("a", "state.json").write_text(honest)


@pytest.mark.parametrize("rubbish", ["", "{", "[]", "null", '{"v": 1}', "\0" * 100])
async def test_rubbish_in_a_folder_spoils_no_other_answer(host: Host, rubbish: str) -> None:
    await host.submit("a", "true")
    await host.is_over("a")
    for job, name in [("state", "state.json"), ("exit", "exit.json")]:
        host.folder(job).mkdir()
        host.file(job, name).write_text(rubbish)
    jobs = ["state", "a", "exit", "missing"]
    requests = [{"id": job, "folder": str(host.folder(job))} for job in jobs]
    answers = await host.ask("status", *requests)
    assert [answer["state"] for answer in answers] == ["UNKNOWN", "COMPLETED", "ABSENT", "ABSENT"]
    assert str(host.file("state", "state.json")) in answers[0]["reason"]


async def test_half_an_exit_record_is_never_taken_for_an_end(host: Host) -> None:
    await host.submit("a", "true")
    await host.is_over("a")
    path = host.file("a", "exit.json")
    path.write_bytes(path.read_bytes()[:-20])
    assert (await host.status("a"))["state"] == "LOST"


# -- starting ------------------------------------------------------------------------------------


async def test_submitting_twice_is_one_run_with_one_key(host: Host) -> None:
    first = await host.submit("a", "echo once")
    second = await host.submit("a", "echo twice")
    assert second["submitted_at"] == first["submitted_at"]
    await host.is_over("a")
    third = await host.submit("a", "echo thrice")
    assert (third["state"], third["submitted_at"]) == ("COMPLETED", first["submitted_at"])
    assert host.file("a", "stdout.log").read_text() == "once\n"


async def test_submitting_many_times_at_once_is_one_run(host: Host) -> None:
    answers = await asyncio.gather(*(host.submit("a", "echo once") for _ in range(6)))
    assert len({answer["submitted_at"] for answer in answers}) == 1
    await host.is_over("a")
    assert host.file("a", "stdout.log").read_text() == "once\n"


async def test_killing_the_starter_and_its_whole_group_leaves_the_run_alone(host: Host) -> None:
    request = host.request("a", ["sh", "-c", f"{WAIT_FOR_GO}; echo done"])
    starter = await asyncio.create_subprocess_exec(
        *COMMAND, "submit", stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True
    )
    assert starter.stdin is not None
    starter.stdin.write(json.dumps(request).encode() + b"\n")  # and no end: it waits for more
    await host.reaches("a", "RUNNING")
    os.killpg(starter.pid, signal.SIGKILL)
    await starter.communicate()
    host.file("a", "go").touch()
    assert (await host.is_over("a"))["state"] == "COMPLETED"
    assert host.file("a", "stdout.log").read_text() == "done\n"


async def test_a_starter_killed_at_any_moment_leaves_a_whole_run_or_none(host: Host) -> None:
    for n in range(12):
        job = f"job{n}"
        request = host.request(job, ["sh", "-c", "echo once"], slots=12)
        starter = await asyncio.create_subprocess_exec(
            *COMMAND, "submit", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=ROOT
        )
        assert starter.stdin is not None
        starter.stdin.write(json.dumps(request).encode() + b"\n")
        milestones = ["", ".submit.lock", "run.sh", "stdout.log", "state.json", "exit.json"]
        path = host.file(job, milestones[n % len(milestones)])
        await until(lambda path=path: asyncio.to_thread(path.exists))  # type: ignore[misc]
        starter.kill()
        await starter.communicate()
        await host.ask("submit", request)  # what anybody does whose submission got no answer
        assert (await host.is_over(job))["state"] == "COMPLETED"
        assert host.file(job, "stdout.log").read_text() == "once\n"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"time_limit_s": 0}, "time limit above 0 s"),
        ({"slots": 0}, "at least one slot"),
        ({"env": {"A B": "x"}}, "'A B' cannot be the name of a variable"),
        ({"env": {"A": "x\0y"}}, "NUL byte"),
        ({"argv": ["true", "\ud800"]}, "not valid Unicode"),
    ],
)
async def test_what_cannot_be_started_is_refused_in_one_sentence(
    host: Host, changes: Record, words: str
) -> None:
    with pytest.raises(Refused) as caught:
        await host.ask("submit", {**host.request("a", ["true"]), **changes})
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert (await host.status("a"))["state"] == "ABSENT"


AWKWARD = ["two words", "it's", 'say "so"', "$HOME `id`", "a\nb\n", "a|b;c&d", "*", "ÄÖ→", "-n", "\\", ""]


async def test_command_and_environment_arrive_unchanged_and_the_script_runs_again_by_hand(host: Host) -> None:
    env = {f"GIVEN_{n}": value for n, value in enumerate(AWKWARD)}
    script = 'printf "%s\\0" "$@"; env -0 | grep -z ^GIVEN_ | sort -z; echo'
    request = host.request("an odd 'name'\n→", ["sh", "-c", script, "sh", *AWKWARD], env=env)
    await host.ask("submit", request)
    job = host.jobs[0]
    await host.is_over(job)
    output = host.file(job, "stdout.log").read_bytes()
    words = [*AWKWARD, *sorted(f"{name}={value}" for name, value in env.items())]
    assert sorted(output.removesuffix(b"\n").split(b"\0")[:-1]) == sorted(word.encode() for word in words)
    by_hand = await asyncio.to_thread(
        subprocess.run, [str(host.file(job, "run.sh"))], capture_output=True, cwd="/", check=True
    )
    assert by_hand.stdout == output
    assert host.file(job, "run.sh").stat().st_mode & 0o777 == 0o700


# -- the queue -----------------------------------------------------------------------------------


async def test_one_slot_runs_one_at_a_time_in_the_order_of_submission(host: Host) -> None:
    jobs = [f"job{n}" for n in range(5)]
    for job in jobs:
        await host.submit(job, "sleep 0.1")
    ends = [await host.is_over(job) for job in jobs]
    assert [end["state"] for end in ends] == ["COMPLETED"] * 5
    for earlier, later in pairwise(ends):
        assert earlier["ended_at"] <= later["started_at"]


async def test_a_waiting_job_says_how_many_are_before_it(host: Host) -> None:
    for job in "abc":
        await host.submit(job, WAIT_FOR_GO)
    await host.reaches("a", "RUNNING")
    answers = await host.ask("status", *(host.request(job, []) for job in "abc"))
    assert [answer["state"] for answer in answers] == ["RUNNING", "PENDING", "PENDING"]
    assert [answer["reason"] for answer in answers[1:]] == [
        "waits for a slot, 1 before it",
        "waits for a slot, 2 before it",
    ]


async def test_two_slots_run_two_at_once_and_no_third(host: Host) -> None:
    meet = "touch ../{mine}; until [ -e ../{other} ]; do sleep 0.02; done; echo met; " + WAIT_FOR_GO
    await host.submit("a", meet.format(mine="one", other="two"), slots=2)
    await host.submit("b", meet.format(mine="two", other="one"), slots=2)
    await host.submit("c", "echo third", slots=2)
    assert await host.writes("a", "stdout.log") == await host.writes("b", "stdout.log") == "met\n"
    assert (await host.status("c"))["state"] == "PENDING"
    host.file("b", "go").touch()
    assert (await host.is_over("c"))["state"] == "COMPLETED"
    assert (await host.status("a"))["state"] == "RUNNING"
    host.file("a", "go").touch()


def test_tickets_taken_at_once_are_all_different(tmp_path: Path) -> None:
    taken: list[str] = []

    def take(n: int) -> None:
        for _ in range(20):
            taken.append(take_ticket(tmp_path / "queue", tmp_path / str(n)).name)  # noqa: PERF401

    threads = [threading.Thread(target=take, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == len(taken) == 120
    assert sorted(taken) == sorted(path.name for path in (tmp_path / "queue").iterdir())


# -- again ---------------------------------------------------------------------------------------


async def test_a_requeued_job_is_its_next_attempt_in_the_same_folder(host: Host) -> None:
    first = await host.submit("a", "echo run; [ -e go ]")
    assert (await host.is_over("a"))["state"] == "FAILED"
    host.file("a", "go").touch()
    again = await host.requeue("a")
    assert again["attempt"] == 2
    assert again["submitted_at"] > first["submitted_at"]
    end = await host.is_over("a")
    assert (end["state"], end["attempt"], end["exit_code"]) == ("COMPLETED", 2, 0)
    assert host.file("a", "stdout.log").read_text() == "run\nrun\n"


async def test_a_lost_run_can_be_requeued(host: Host) -> None:
    await host.submit("a", WAIT_FOR_GO)
    await host.reaches("a", "RUNNING")
    host.kill_supervisor("a")
    await host.is_over("a")
    host.file("a", "go").touch()
    assert (await host.requeue("a"))["attempt"] == 2
    assert (await host.is_over("a"))["state"] == "COMPLETED"


async def test_a_cancelled_run_can_be_requeued_and_is_not_cancelled_again(host: Host) -> None:
    await host.submit("a", WAIT_FOR_GO)
    await host.cancel("a")
    assert (await host.is_over("a"))["state"] == "CANCELLED"
    host.file("a", "go").touch()
    await host.requeue("a")
    assert (await host.is_over("a"))["state"] == "COMPLETED"


async def test_what_is_not_over_is_not_started_again(host: Host) -> None:
    await host.submit("a", WAIT_FOR_GO)
    await host.submit("b", WAIT_FOR_GO)
    await host.reaches("a", "RUNNING")
    for job, state in [("a", "running"), ("b", "pending")]:
        with pytest.raises(Refused, match=rf"Job {job} is not over \({state}\): cancel it first"):
            await host.requeue(job)


async def test_only_one_of_many_requeues_at_once_starts_an_attempt(host: Host) -> None:
    await host.submit("a", "echo run; [ ! -e wait ] || " + WAIT_FOR_GO)
    await host.is_over("a")
    host.file("a", "wait").touch()
    answers = await asyncio.gather(*(host.requeue("a") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(answer, Refused) for answer in answers) == 4
    host.file("a", "go").touch()
    assert (await host.is_over("a"))["attempt"] == 2
    assert host.file("a", "stdout.log").read_text() == "run\nrun\n"


async def test_a_job_that_never_was_cannot_be_requeued(host: Host) -> None:
    with pytest.raises(Refused, match="submit the job anew"):
        await host.requeue("a")
