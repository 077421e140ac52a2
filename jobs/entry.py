"""The frame of every entry point: `python -m jobs.EXPERIMENT SPEC.json`.

It reads the spec, opens the events beside it, says where it runs, watches what it uses, and makes sure
that however the work ends, the events and the exit code say so: results whole or not at all, expected
failures as one sentence, and a stop that was asked for as a stop.

    exit code   0  completed        2  the spec is missing or cannot be understood
                1  failed           3  another process is at this run already
               73  no room is left on the disk, which may be all that can still be told
                128 + n  stopped by signal n

A warning that the time is nearly up (SIGUSR1) is told in the events; an experiment that can save where it
is does so, and goes on until it is stopped.
"""

from __future__ import annotations

import argparse
import errno
import faulthandler
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol

from accel.errors import AccelError
from accel.provenance import provenance
from jobs.protocol import Body, Caution, Failure, Finish, Json, Result, Start
from jobs.resources import ResourceSampler
from jobs.spec import RunSpec, SpecError
from jobs.writer import EventWriter, WriterBusy

log = logging.getLogger(__name__)

EVENTS_FILE = "events.jsonl"
RESULTS_FILE = "results.json"
WARNING = signal.SIGUSR1
"""What says that the time of the job is nearly up."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_FAILED, _BAD_SPEC, _BUSY, _NO_ROOM, _SIGNALLED = 1, 2, 3, 73, 128
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Stopped(BaseException):
    """Somebody asked this process to end."""

    def __init__(self, signal_number: int) -> None:
        self.exit_code = _SIGNALLED + signal_number
        super().__init__(f"Stopped by {signal.Signals(signal_number).name}.")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run hands over."""

    results: Mapping[str, Json]
    """All of it, for the results file."""
    summary: Mapping[str, Json]
    """What is shown at once: `columns`, `rows`."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Texts to be left beside the results, by the file's name."""


class Work(Protocol):
    """One experiment: what it is asked to do, in; what it found, out."""

    def __call__(self, spec: RunSpec, emit: Callable[[Body], object]) -> Outcome:
        """Do it, telling with `emit` how it goes.

        Raises:
            AccelError: It cannot be done.
        """


def main(experiment: str, work: Work, argv: list[str] | None = None) -> int:
    """Run the experiment that the spec named on the command line asks for; its exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m jobs.{experiment}")
    parser.add_argument("spec", type=Path, help="spec.json; events and results are written beside it")
    path: Path = parser.parse_args(argv).spec
    faulthandler.enable()  # compiled code may crash; the log should then say where
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        text = path.read_bytes()
    except OSError as error:
        log.error("The spec %s cannot be read: %s.", path, error.strerror)
        return _BAD_SPEC
    try:
        with EventWriter(path.with_name(EVENTS_FILE)) as writer:
            attempt = Attempt(experiment, writer, path.parent)
            with attempt:
                attempt.run(text, work)
            return attempt.exit_code
    except WriterBusy as error:
        log.error("%s", error)
        return _BUSY
    except OSError as error:
        log.error("%s", _sentence(error, path.parent))
        return _exit_code(error)


class Attempt:
    """One attempt at a run: a context that turns every way of ending into events and an exit code.

    An error that was not foreseen passes through, so that its traceback is in the log, but only after
    the events have said that the run failed.
    """

    def __init__(self, experiment: str, writer: EventWriter, folder: Path) -> None:
        self.exit_code = 0
        self._experiment = experiment
        self._writer = writer
        self._folder = folder
        self._began = time.monotonic()
        self._started = False
        self._before: dict[int, Any] = {}
        self._telling: list[threading.Thread] = []

    def run(self, text: bytes, work: Work) -> None:
        """Do what the spec in `text` asks for, and leave the results in the folder."""
        spec = RunSpec.from_json(text)
        if spec.experiment != self._experiment:
            raise SpecError(
                f"The spec asks for {spec.experiment!r}: start it with python -m jobs.{spec.experiment}."
            )
        for variable in _THREAD_VARIABLES:  # read once, when the libraries are loaded
            os.environ[variable] = str(spec.threads)
        self._start(spec, provenance(device=spec.device, threads=spec.threads))
        with ResourceSampler(self._writer.emit):
            outcome = work(spec, self._writer.emit)
        for name, text_of_file in outcome.files.items():
            write_text(self._folder / name, text_of_file)
        write_json(self._folder / RESULTS_FILE, {"spec": json.loads(spec.to_json()), **outcome.results})
        self._writer.emit(Result(RESULTS_FILE, outcome.summary), durable=True)

    def _start(self, spec: RunSpec | None, measured_on: Mapping[str, Json]) -> None:
        self._started = True
        name = spec.name if spec else ""
        self._writer.emit(Start(self._experiment, name, os.uname().nodename, os.getpid(), measured_on))

    def __enter__(self) -> Attempt:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._stop)
        self._before[WARNING] = signal.signal(WARNING, self._warn)
        return self

    def _warn(self, number: int, frame: FrameType | None) -> None:
        # From a thread: a signal may come while this one writes an event.
        self._telling.append(threading.Thread(target=self._tell_warning))
        self._telling[-1].start()

    def _tell_warning(self) -> None:
        message = "The time of this job is nearly up."
        log.warning("%s", message)
        try:
            self._writer.emit(Caution(message))
        except OSError as error:  # the run itself meets the full disk too, and says so
            log.warning("The warning is not recorded: %s.", error.strerror)

    def _stop(self, number: int, _: FrameType | None) -> None:
        # The first signal ends the work; a second one must not end the farewell.
        for each in self._before:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        for each in self._before:
            signal.signal(each, signal.SIG_IGN)
        for thread in self._telling:
            thread.join()
        try:
            return self._end(error)
        finally:
            for each, handler in self._before.items():
                signal.signal(each, handler)

    def _end(self, error: BaseException | None) -> bool:
        """Write the last events; whether the error is dealt with."""
        status, foreseen = "failed", True
        if error is None:
            status, message = "completed", ""
        elif isinstance(error, Stopped):
            status, message, self.exit_code = "stopped", str(error), error.exit_code
        elif isinstance(error, SpecError):
            message, self.exit_code = str(error), _BAD_SPEC
        elif isinstance(error, AccelError):
            message, self.exit_code = str(error), _FAILED
        elif isinstance(error, OSError | MemoryError) or _is_missing_library(error):
            message, self.exit_code = _sentence(error, self._folder), _exit_code(error)
        else:
            foreseen, self.exit_code = False, _FAILED
            message = (
                f"The run ended by an error of the program ({type(error).__name__}); the log says where."
            )
        if message:
            log.error("%s", message)
        try:
            if not self._started:
                self._start(None, {})
            if message and status == "failed":
                self._writer.emit(Failure(message))
            self._writer.emit(Finish(status, self.exit_code, time.monotonic() - self._began), durable=True)
        except OSError as again:  # the disk that is full is this one
            log.error("%s", _sentence(again, self._folder))
            self.exit_code = self.exit_code or _exit_code(again)
        return foreseen


def write_json(path: Path, value: Mapping[str, Json]) -> None:
    """Put a JSON file in place whole, or leave what was there before.

    Raises:
        OSError: There is no room, or no permission.
    """
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Put a file in place whole, or leave what was there before.

    Raises:
        OSError: There is no room, or no permission.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _is_missing_library(error: BaseException) -> bool:
    """Whether the environment lacks something; an import among our own modules that fails is a bug."""
    return isinstance(error, ImportError) and (error.name or "").partition(".")[0] not in ("accel", "jobs")


def _exit_code(error: BaseException) -> int:
    return _NO_ROOM if isinstance(error, OSError) and error.errno in _FULL else _FAILED


def _sentence(error: BaseException, folder: Path) -> str:
    """What went wrong with the machine, and the way out."""
    if isinstance(error, MemoryError):
        return "The run needs more memory than there is: ask for more, or take a smaller system."
    if isinstance(error, ImportError):
        return (
            f"Python here ({sys.executable}) cannot import {error.name or 'a library'}: {error}. "
            "Install mace-workbench[accel] there, or name another Python in the profile."
        )
    assert isinstance(error, OSError)
    where = error.filename or folder
    if error.errno in _FULL:
        return f"No room is left for {where} ({error.strerror}): make room, and start the run again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where} may not be written ({error.strerror}): choose a folder that is yours."
    return f"{where}: {error.strerror or error}."
