"""What can be asked for: each command takes a request and gives a record."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from jobs.detach.launch import detach, locked
from jobs.detach.process import Process
from jobs.detach.queue import end_orphans, places
from jobs.detach.record import (
    CANCEL_FILE,
    HOLD_FILE,
    RECORD_VERSION,
    SCRIPT_FILE,
    STATE_FILE,
    Record,
    Refused,
    load,
    load_end,
    named,
    save,
    script_for,
)

_NOT_OVER = {"PENDING", "RUNNING", "COMPLETING", "UNKNOWN"}


def submit(request: Record) -> Record:
    """Start a job, or find it started already; what is known of it."""
    folder = Path(request["folder"]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder) as lock:
        state = load(folder / STATE_FILE)
        if state is None:
            # Only for its owner, as the environment may hold secrets.
            save(folder / SCRIPT_FILE, script_for(folder, request["argv"], request["env"]), mode=0o700)
            last = load_end(folder, None)
            _start(folder, request, last["attempt"] + 1 if last else 1, lock)
        return _known(request["id"], folder)


def requeue(request: Record) -> Record:
    """Start the next attempt of a job that is over, by its old script or by a new `argv`."""
    folder = Path(request["folder"]).absolute()
    if not request.get("argv") and not (folder / SCRIPT_FILE).is_file():
        raise Refused(f"There is no {SCRIPT_FILE} in {folder}: submit the job anew.")
    with locked(folder) as lock:
        known = _known(request["id"], folder)
        if known["state"] in _NOT_OVER:
            raise Refused(f"Job {request['id']} is not over ({known['state'].lower()}): cancel it first.")
        if request.get("argv"):
            save(folder / SCRIPT_FILE, script_for(folder, request["argv"], request["env"]), mode=0o700)
        _start(folder, request, known.get("attempt", 0) + 1, lock)
        return _known(request["id"], folder)


def _start(folder: Path, request: Record, attempt: int, lock: int) -> None:
    if request["slots"] < 1 or request["time_limit_s"] <= 0:
        raise Refused("A job needs a time limit above 0 s, and the host at least one slot.")
    for left_over in (CANCEL_FILE, HOLD_FILE):
        (folder / left_over).unlink(missing_ok=True)
    state: Record = {
        "v": RECORD_VERSION,
        "id": request["id"],
        "attempt": attempt,
        "submitted_at": time.time(),
        "node": os.uname().nodename,
        "queue": str(Path(request["queue"]).absolute()),
        **{name: request[name] for name in ("slots", "time_limit_s", "grace_s")},
    }
    detach(folder, state, lock)
    places.cache_clear()


def cancel(request: Record) -> Record:
    """Ask a job to end; one that is over stays as it is."""
    folder = Path(request["folder"]).absolute()
    known = _known(request["id"], folder)
    state = load(folder / STATE_FILE)
    if state is None or known["state"] not in _NOT_OVER:
        return known
    supervisor = Process(**state["supervisor"])
    try:
        save(folder / CANCEL_FILE, str(state["attempt"]))
    except OSError:  # a full disk keeps nobody from ending what fills it
        if not supervisor.is_alive:
            raise
    if supervisor.is_alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(supervisor.pid, signal.SIGTERM)
    return known


def hold(request: Record) -> Record:
    """Keep a job that waits from starting; it gives up its place in the queue."""
    folder = _waiting(request)
    save(folder / HOLD_FILE, "")
    return _known(request["id"], folder)


def release(request: Record) -> Record:
    """Let a job go that is held; it takes its place at the end of the queue."""
    folder = _waiting(request)
    (folder / HOLD_FILE).unlink(missing_ok=True)
    return _known(request["id"], folder)


def _waiting(request: Record) -> Path:
    """The folder of a job that waits, whose supervisor looks there again within a second."""
    folder = Path(request["folder"]).absolute()
    state = _known(request["id"], folder)["state"]
    if state != "PENDING":
        raise Refused(
            f"Job {request['id']} does not wait ({state.lower()}): only a job that waits can be held."
        )
    return folder


def status(request: Record) -> Record:
    """What is known of a job. What a killed supervisor left running is ended."""
    return _known(request["id"], Path(request["folder"]).absolute())


def _known(job_id: str, folder: Path) -> Record:
    unsure = {"id": job_id, "attempt": 0, "node": os.uname().nodename}
    try:
        state = load(folder / STATE_FILE)
    except Refused as error:
        return {**unsure, "state": "UNKNOWN", "reason": str(error)}
    end = load_end(folder, state)
    if end is not None:
        return end
    if state is None:
        reason = "it was never started" if folder.is_dir() else f"its folder {folder} is gone"
        return {**unsure, "state": "ABSENT", "reason": reason}
    supervisor = Process(**state["supervisor"])
    known = {**named(state), "state": state["state"], "reason": "", "started_at": state.get("started_at")}
    if supervisor.is_elsewhere:
        reason = f"it was started on {supervisor.host}, and this is {os.uname().nodename}"
        return {**known, "state": "UNKNOWN", "reason": reason}
    if supervisor.is_alive:
        return {**known, **_stage(folder, state)}
    # It may have ended by itself between the two looks.
    return load_end(folder, state) or {**known, **_lost(folder, state)}


def _lost(folder: Path, state: Record) -> Record:
    reason = "its supervisor was killed, or the host went down, before its end was written"
    if end_orphans(folder, state):
        reason += "; what still ran of it has been ended"
    signs_of_life = [state["submitted_at"]]
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            signs_of_life.append(path.stat().st_mtime)
    return {"state": "LOST", "reason": reason, "ended_at": max(signs_of_life)}


def _stage(folder: Path, state: Record) -> Record:
    """Where a job is whose supervisor lives."""
    if state["state"] == "PENDING" and (folder / HOLD_FILE).exists():
        return {"reason": "held by you: `mace-workbench release` lets it go", "held_by": "you"}
    if state["state"] == "PENDING":
        place = places(Path(state["queue"])).get(folder, 0)
        return {"reason": f"waits for a slot, {place} before it" if place >= state["slots"] else ""}
    if not Process(**state["child"]).is_alive:
        return {
            "state": "COMPLETING",
            "reason": "it has ended: that is written down once there is room on the disk",
        }
    return {}
