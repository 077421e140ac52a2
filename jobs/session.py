"""An interactive session: `python -m jobs.session SPEC.json` holds it for as long as its job may run.

It holds a terminal multiplexer (tmux, else screen) that people attach to and leave again, and a Jupyter
server where the spec asks for one. Neither hangs on any terminal or connection. Where they are is said in
`session.json` beside the spec. Needs only the standard library, and Jupyter where that is wanted.

Jupyter's token is read by Jupyter itself, from a file that only the user can read: it is on no command
line, in no log and in nothing that is written here.

    exit code   0  the shell was left      2  the spec is missing or cannot be understood
                1  failed                  128 + n  stopped by signal n
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from jobs.protocol import Body, Caution, Failure, Finish, Json, Start
from jobs.spec import RunSpec, SessionParameters, SpecError
from jobs.writer import EventWriter, WriterBusy

log = logging.getLogger(__name__)

PLACE_FILE = "session.json"
TOKEN_FILE = "token"
EVENTS_FILE = "events.jsonl"
_FAILED, _BAD_SPEC, _SIGNALLED = 1, 2, 128
_START_S = 120.0
"""How long Jupyter may take to begin: its first start on a cluster's file system is slow."""
_LOOK_S = 0.1
_END_S = 5.0
"""How long what is held here has to end by itself."""
_MODULES = {"lab": "jupyterlab", "tree": "notebook"}


class SessionFailed(Exception):
    """The session cannot go on; the sentence says why."""


class Stopped(BaseException):
    """Somebody asked this process to end."""

    def __init__(self, number: int) -> None:
        self.number = number


@dataclass(frozen=True)
class Shell:
    """A terminal multiplexer that runs here."""

    kind: str
    """`tmux`, `screen`, or `none`."""
    socket: str
    """What it is found by; for screen the folder of its sockets."""
    process: subprocess.Popen[bytes]
    """Ends when the last shell in it was left."""


def main(argv: Sequence[str] | None = None) -> int:
    """Hold a session; its exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    arguments = sys.argv[1:] if argv is None else list(argv)
    if len(arguments) != 1:
        log.error("usage: python -m jobs.session SPEC.json")
        return _BAD_SPEC
    path = Path(arguments[0])
    try:
        spec = RunSpec.from_json(path.read_bytes())
        if not isinstance(spec.parameters, SessionParameters):
            raise SpecError(f"The spec asks for {spec.experiment!r}: python -m jobs.{spec.experiment}.")
    except (OSError, SpecError) as error:
        log.error("The session's spec cannot be used: %s", error)
        return _BAD_SPEC
    try:
        with EventWriter(path.with_name(EVENTS_FILE)) as writer:
            return _held(spec, spec.parameters, path.parent, writer.emit)
    except (OSError, WriterBusy) as error:
        log.error("The session cannot be held in %s: %s", path.parent, error)
        return _FAILED


def _held(spec: RunSpec, parameters: SessionParameters, folder: Path, emit: Callable[..., object]) -> int:
    """Hold the session and say in its events how it began and ended; the exit code."""
    began = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    emit(Start("session", spec.name, os.uname().nodename, os.getpid(), {}))
    status, code = "completed", 0
    try:
        _hold(parameters, folder, emit)
    except Stopped as stop:
        status, code = "stopped", _SIGNALLED + stop.number
    except (SessionFailed, OSError) as error:
        log.error("%s", error)
        emit(Failure(str(error)))
        status, code = "failed", _FAILED
    emit(Finish(status, code, time.monotonic() - began), durable=True)
    return code


def _stop(number: int, _: FrameType | None) -> None:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)  # a second one must not end the farewell
    raise Stopped(number)


def _hold(parameters: SessionParameters, folder: Path, emit: Callable[[Body], object]) -> None:
    """Start everything, say where it is, and wait for its end."""
    place = folder / PLACE_FILE
    place.unlink(missing_ok=True)  # of the last attempt, on another node
    work_folder = Path.home() / parameters.work_folder
    if not work_folder.is_dir():
        raise SessionFailed(f"There is no folder {work_folder} to work in: choose another one.")
    # On the node: sockets do not work on every shared file system.
    sockets = Path(tempfile.mkdtemp(prefix="mace-session-"))
    jupyter: subprocess.Popen[bytes] | None = None
    shell: Shell | None = None
    try:
        shell = _start_shell(work_folder, sockets)
        record: dict[str, Json] = {"shell": shell.kind, "socket": shell.socket}
        if parameters.page:
            jupyter, found = _start_jupyter(parameters, work_folder, folder)
            record |= found
        signal.signal(signal.SIGUSR1, lambda *_: _warn(shell, emit))
        _say(place, {**record, "work_folder": str(work_folder), **_where()})
        _wait(shell, jupyter)
    finally:
        place.unlink(missing_ok=True)
        for process in (jupyter, shell.process if shell else None):
            if process is not None:
                _end(process)
        if shell is not None and shell.kind == "tmux":
            _run(["tmux", "-S", shell.socket, "kill-server"])
        shutil.rmtree(sockets, ignore_errors=True)


def _where() -> Mapping[str, Json]:
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    return {
        "v": 1,
        "node": os.uname().nodename,
        "pid": os.getpid(),
        "job": os.environ.get("SLURM_JOB_ID", ""),
        "attempt": int(os.environ.get("MACE_WORKBENCH_ATTEMPT", "1")),
        "ends_at": int(end) if end.isdigit() else None,
        "since": time.time(),
    }


def _say(path: Path, record: Mapping[str, Json]) -> None:
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(record, file)
    part.replace(path)


def _warn(shell: Shell | None, emit: Callable[[Body], object]) -> None:
    """The time is nearly up: say so where people look."""
    sentence = "The session's time is nearly up: save your work; it can be renewed with one key."
    emit(Caution(sentence))
    if shell is not None and shell.kind == "tmux":
        _run(["tmux", "-S", shell.socket, "display-message", "-d", "0", sentence])


def _wait(shell: Shell, jupyter: subprocess.Popen[bytes] | None) -> None:
    """Until the shell was left, where it is all there is; a Jupyter server is not outlived."""
    while True:
        if jupyter is not None:
            if (code := jupyter.poll()) is not None:
                raise SessionFailed(f"Jupyter has ended with {code}: the log says why.")
        elif shell.process.poll() is not None:
            return
        time.sleep(_LOOK_S)


# -- the shell -------------------------------------------------------------------------------------


def _start_shell(work_folder: Path, sockets: Path) -> Shell:
    """A shell that can be attached to, by the best of what is installed here."""
    # A batch job has no terminal, and so no TERM; what is attached later brings its own.
    env = {**os.environ, "TERM": "xterm-256color", "LANG": os.environ.get("LANG", "C.UTF-8")}
    path = str(sockets / "tmux")
    if shutil.which("tmux"):
        made = _run(["tmux", "-S", path, "new-session", "-d", "-s", "session", "-c", str(work_folder)], env)
        if made.returncode == 0:
            # It waits for what nobody says, and so for the end of the server.
            waiting = subprocess.Popen(["tmux", "-S", path, "wait-for", "the-end"], stdin=subprocess.DEVNULL)
            return Shell("tmux", path, waiting)
        log.warning("tmux could not begin: %s", made.stderr.decode(errors="replace").strip())
    if shutil.which("screen"):
        folder = sockets / "screen"
        folder.mkdir(mode=0o700)
        held = subprocess.Popen(
            ["screen", "-D", "-m", "-S", "session"],
            env={**env, "SCREENDIR": str(folder)},
            cwd=work_folder,
            stdin=subprocess.DEVNULL,
        )
        return Shell("screen", str(folder), held)
    return Shell("none", "", subprocess.Popen(["sleep", "infinity"], stdin=subprocess.DEVNULL))


def _run(argv: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)


# -- Jupyter ---------------------------------------------------------------------------------------


def _start_jupyter(
    parameters: SessionParameters, work_folder: Path, folder: Path
) -> tuple[subprocess.Popen[bytes], Mapping[str, Json]]:
    """A Jupyter server, and where it listens."""
    module = _MODULES.get(parameters.page)
    if module is None:
        raise SessionFailed(f"The page {parameters.page!r} is not known: choose lab or tree.")
    token = Path(parameters.private_folder) / TOKEN_FILE
    _check_private(token)
    runtime = folder / "runtime"
    shutil.rmtree(runtime, ignore_errors=True)
    runtime.mkdir(mode=0o700)
    address = "127.0.0.1" if parameters.reach != "hostname" else socket.gethostname()
    argv = [
        *(sys.executable, "-m", module, "--no-browser"),
        *(f"--ServerApp.ip={address}", f"--ServerApp.port={_free_port(address)}"),
        # Somebody may take the port in between: then another one near it.
        *("--ServerApp.port_retries=100", f"--ServerApp.root_dir={work_folder}"),
        # With the same one in the next job, an open tab stays logged in.
        f"--ServerApp.cookie_secret_file={token.with_name('cookie_secret')}",
    ]
    if os.geteuid() == 0:  # as in containers; the token keeps everybody else out
        argv.append("--allow-root")
    env = {**os.environ, "JUPYTER_TOKEN_FILE": str(token), "JUPYTER_RUNTIME_DIR": str(runtime)}
    env.pop("JUPYTER_TOKEN", None)
    process = subprocess.Popen(argv, env=env, cwd=work_folder, stdin=subprocess.DEVNULL)
    try:
        found = _runtime_record(process, runtime)
    except BaseException:
        _end(process)
        raise
    return process, {"address": address, "port": found["port"], "base_url": found.get("base_url", "/")}


def _check_private(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise SessionFailed(f"Jupyter's token {path} cannot be read ({error.strerror}).") from error
    if stat.S_IMODE(mode) & 0o077:
        raise SessionFailed(f"Jupyter's token {path} can be read by others: it is not used.")


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _runtime_record(process: subprocess.Popen[bytes], runtime: Path) -> Mapping[str, Any]:
    """What Jupyter says of itself, once it has begun."""
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SessionFailed(
                f"Jupyter could not begin: it ended with {process.returncode}, and the log says why. Install "
                f"mace-workbench[notebook] for {sys.executable}, or name another Python in the profile."
            )
        for path in runtime.glob("jpserver-*.json"):
            try:
                record = json.loads(path.read_bytes())
            except ValueError:
                continue  # it is being written
            if isinstance(record, dict) and "port" in record:
                return record
        time.sleep(_LOOK_S)
    raise SessionFailed(f"Jupyter has not begun within {_START_S:g} s; the log says why.")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have it end; by force where it does not."""
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
