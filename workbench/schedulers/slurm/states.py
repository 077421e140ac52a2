"""What Slurm says of a job, in this program's words: states, reasons, refusals, and the way out of each.

Slurm's own words are from squeue(1), sacct(1) and the messages of sbatch. What is not known here is kept
as Slurm says it, and a state that is not known is never taken for an end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from workbench.model.job import JobState

_STATES = {
    "BOOT_FAIL": JobState.NODE_FAIL,
    "CANCELLED": JobState.CANCELLED,
    "COMPLETED": JobState.COMPLETED,
    "DEADLINE": JobState.TIMEOUT,
    "FAILED": JobState.FAILED,
    "NODE_FAIL": JobState.NODE_FAIL,
    "OUT_OF_MEMORY": JobState.OUT_OF_MEMORY,
    "PENDING": JobState.PENDING,
    "PREEMPTED": JobState.PREEMPTED,
    "RUNNING": JobState.RUNNING,
    "SUSPENDED": JobState.SUSPENDED,
    "TIMEOUT": JobState.TIMEOUT,
    # Flags, which stand in place of the state while they hold.
    "COMPLETING": JobState.COMPLETING,
    "CONFIGURING": JobState.PENDING,
    "LAUNCH_FAILED": JobState.PENDING,
    "POWER_UP_NODE": JobState.PENDING,
    "RECONFIG_FAIL": JobState.UNKNOWN,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "REQUEUE_HOLD": JobState.PENDING,
    "RESIZING": JobState.RUNNING,
    "RESV_DEL_HOLD": JobState.PENDING,
    "REVOKED": JobState.UNKNOWN,
    "SIGNALING": JobState.RUNNING,
    "SPECIAL_EXIT": JobState.PENDING,
    "STAGE_OUT": JobState.COMPLETING,
    "STOPPED": JobState.SUSPENDED,
    "UPDATE_DB": JobState.UNKNOWN,
}

_WAITING = {
    "AssocGrpCPUMinutesLimit": "the account has no hours left: use another account, or ask for more hours",
    "AssocGrpGRES": "the account uses as many GPUs as it may: wait, or ask for fewer",
    "AssocGrpGRESMinutes": "the account has no GPU hours left: use another account, or ask for more hours",
    "AssocGrpBillingMinutes": "the account has no hours left: use another account, or ask for more hours",
    "AssocMaxJobsLimit": "the account runs as many jobs as it may: it starts when one of them ends",
    "AssociationJobLimit": "the account runs as many jobs as it may: it starts when one of them ends",
    "BadConstraints": "no node has what it asks for: cancel it, and ask for less",
    "BeginTime": "its time to begin has not come; after a requeue that takes a minute or two",
    "CONFIGURING": "its nodes are being made ready",
    "Dependency": "it waits for another job to end",
    "DependencyNeverSatisfied": "the job that it waits for did not end as it should: cancel it",
    "JobArrayTaskLimit": "the array runs as many tasks at once as it may",
    "JobHeldAdmin": "held by an administrator: ask them, nobody else can let it go",
    "JobHeldUser": "held by you: `mace-workbench release` lets it go",
    "JobHoldMaxRequeue": "it was put back too often and is held: look at its log, then release it",
    "launch_failed_requeued_held": "it could not be started and is held: look at its log, then release it",
    "Licenses": "it waits for a licence",
    "MaxGRESPerAccount": "the account uses as many GPUs as it may: wait, or ask for fewer",
    "MaxMemPerLimit": "it asks for more memory a core than is allowed: cancel it, and ask for less",
    "NodeDown": "a node that it needs is down: wait, or ask for another one",
    "PartitionDown": "its partition is closed, for maintenance as a rule: wait, or take another one",
    "PartitionInactive": "its partition is closed: wait, or take another one",
    "PartitionNodeLimit": "it asks for more nodes than its partition gives: cancel it, and ask for fewer",
    "PartitionTimeLimit": "it asks for more time than its partition gives: cancel it, and ask for less",
    "Priority": "others are before it in the queue: a shorter time limit may let it slip in earlier",
    "QOSGrpGRES": "everybody in its QOS uses as many GPUs as they may: wait, or take another QOS",
    "QOSMaxCpuPerUserLimit": "you use as many cores as its QOS gives: it starts when a job of yours ends",
    "QOSMaxGRESPerUser": "you use as many GPUs as its QOS gives: it starts when a job of yours ends",
    "QOSMaxJobsPerUserLimit": "you run as many jobs as its QOS gives: it starts when one of them ends",
    "QOSMaxWallDurationPerJobLimit": "it asks for more time than its QOS gives: cancel it, ask for less",
    "QOSUsageThreshold": "its QOS has no hours left: take another one",
    "ReqNodeNotAvail": "a node is down or kept for maintenance: a shorter time limit may fit in before it",
    "Reservation": "it waits for its reservation to begin",
    "Resources": "nothing is free for it yet: fewer GPUs, cores or less time would start it earlier",
    "ReservationDeleted": "its reservation is gone: cancel it",
}
"""By Slurm's reason: what it means, and what to do about it."""

_ENDED = {
    JobState.TIMEOUT: "its time was up: ask for more time",
    JobState.OUT_OF_MEMORY: "it needed more memory than it asked for: ask for more, or take a smaller system",
    JobState.NODE_FAIL: "its node failed: start it again",
    JobState.PREEMPTED: "it had to make way for another job: start it again, or take another QOS",
}

_NO_ROOM = "as where the disk is full or a quota used up: make room there, and start it again"
_EXITS = {
    72: "its folder could not be entered on the node: look at the work folder, and start it again",
    73: f"its folder could not be written on the node, {_NO_ROOM}",
    120: f"its log could not be written on the node, {_NO_ROOM}",
    126: "its command could not be run: look at its log, and at `python` and `setup` of the profile",
    127: "its command was not found: look at its log, and at `python` and `setup` of the profile",
    128 + 53: f"Slurm could not open its log in its folder on the node, {_NO_ROOM}",
    128 + 9: "it was killed (signal 9), as it happens where memory runs out: ask for more memory",
}
"""Of the batch script, of the shell in it, of Python (120) and of Slurm (0:53), where they say more than that
it failed."""

_NO_COMMANDS = "add the folder of Slurm's commands to PATH in ~/.bash_profile there, or set `scheduler`"
_REFUSALS = (
    (
        "invalid account",
        "set `account` (and `partition`) of the profile to one that `sacctmgr show assoc` lists",
    ),
    ("invalid partition", "set `partition` of the profile to one that `sinfo` lists"),
    ("invalid qos", "set `qos` of the profile to one that your account may use"),
    (
        "qosmaxsubmitjob",
        "this QOS takes one job at a time, waiting ones included: cancel the other one first",
    ),
    ("maxsubmitjob", "you have as many jobs in the queue as you may: wait for one to end"),
    ("qosmaxwall", "ask for less time: this QOS does not give so much"),
    ("time limit", "ask for less time: the partition does not give so much"),
    ("violates accounting", "ask for less time or fewer jobs: a limit of the account or the QOS is reached"),
    ("more processors requested", "ask for fewer cores: no node of the partition has so many"),
    ("requested node configuration is not available", "ask for less: no node of the partition has so much"),
    ("memory specification", "ask for less memory: no node of the partition has so much"),
    ("generic resource", "ask for GPUs only in a partition that has them"),
    ("access/permission denied", "an administrator holds it, or it is not yours: ask them"),
    ("already finished", "it has ended by itself"),
    ("no longer pending", "it has started already"),
    ("invalid job id", "Slurm does not know it any more, or never did"),
    ("not permitted to use this partition", "set `partition` or `account` of the profile to another one"),
    ("permission denied", "set `work_folder` of the profile to a folder that you may write to"),
    ("read-only file system", "set `work_folder` of the profile to a folder that you may write to"),
    ("disk quota", "make room in your home and work folder"),
    ("no space left", "make room in your home and work folder"),
    ("can't cd to", "the run's folder is gone, or cannot be entered: resubmit the run"),
    ("unable to contact slurm controller", "Slurm is down or restarts: wait, as a rule some minutes"),
    ("munge", "the host cannot prove to Slurm who you are: tell the site, or take another login node"),
    ("problem talking to the database", "the accounting is down: wait, what runs is followed without it"),
    ("accounting storage is disabled", "the site keeps no accounts: what runs is followed without them"),
    ("sbatch': no such file", _NO_COMMANDS),
    (": not found", _NO_COMMANDS),
    ("command not found", _NO_COMMANDS),
)
"""Part of what is said on stderr, in lower case, and what to do about it."""


@lru_cache(maxsize=256)
def job_state(text: str) -> JobState:
    """The state in Slurm's words: `RUNNING`, `CANCELLED by 1000`, `RUNNING,COMPLETING`."""
    words = [word.rstrip("+") for word in re.split(r"[\s,]+", text.strip())]
    states = [_STATES[word] for word in words if word in _STATES]
    # Of several the last is the flag that holds at the moment; "by" and a number are no states.
    return states[-1] if states else JobState.UNKNOWN


@lru_cache(maxsize=256)
def explained(reason: str) -> str:
    """Why a job waits, in plain words, with Slurm's own in brackets."""
    if reason in ("", "None", "(null)"):
        return ""
    key = re.split(r"[\s,(:]", reason.strip("()"), maxsplit=1)[0]
    return f"{_WAITING[key]} ({reason})" if key in _WAITING else reason


def ending(state: JobState, said: str = "", exit_code: int | None = None) -> str:
    """Why a job ended, as far as its state and its exit code say that."""
    by = re.search(r"CANCELLED by (\d+)", said)
    if by:
        return f"cancelled by user {by[1]}"
    if state == JobState.FAILED and exit_code in _EXITS:
        return _EXITS[exit_code]
    return _ENDED.get(state, "")


def refusal(said: str) -> str:
    """What a command of Slurm's said on its stderr, and what to do about it."""
    text = _sentence(said)
    for part, advice in _REFUSALS:
        if part in text.lower():
            return f"{text}: {advice}"
    return text


_FRAME = re.compile(
    r"^mace-workbench-[a-z]+: (?:line )?\d+: |^(?:s[a-z_]+ (?=error: )|s[a-z]+: )?(?:error: |fatal: )?|"
    r" for job \S+$"
)
"""What the commands put around what they have to say."""


def _sentence(said: str) -> str:
    lines: Sequence[str] = [_FRAME.sub("", line.strip()) for line in said.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line)) or "nothing was said"
