"""What `scontrol show job` says of one job. Pure: whatever the text, nothing here raises.

Slurm writes `Key=Value` pairs several on a line, and those with free text on a line of their own. A value
may itself look like pairs, or run over several lines: a job's name is whatever somebody has typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from workbench.model.queue import QueuedJob
from workbench.schedulers.slurm.parse import parse_time

_LINE = re.compile(r"\n {3}(?=[A-Z]\S*?=)")
_PAIR = re.compile(r"(?:^|(?<=\s))([A-Z][\w/:.-]*)=")
_WHOLE_LINE = frozenset({"Command", "WorkDir", "StdErr", "StdIn", "StdOut", "Comment", "AdminComment"})
_NOTHING = frozenset({"", "(null)", "N/A", "None"})


def parse_job(native_id: str, text: str) -> QueuedJob:
    """The first job in `text`: of an array that waits, all parts are told one after the other."""
    first = text.replace("\r", "").strip("\n").split("\n\n")[0]
    head, *lines = _LINE.split(first)
    facts = [
        ("JobId", native_id),
        ("JobName", _name(head)),
        *(pair for line in lines for pair in _pairs(line)),
    ]
    known = dict(facts)
    return QueuedJob(
        native_id=native_id,
        facts=tuple((key, value) for key, value in facts if value not in _NOTHING),
        log_path=expanded(_value(known, "StdOut"), _patterns(head, known)),
        command=_value(known, "Command"),
        folder=_value(known, "WorkDir"),
        submitted_at=parse_time(known.get("SubmitTime", "")),
    )


def expanded(path: str, patterns: Mapping[str, str]) -> str:
    """A path with its patterns put in: older versions of Slurm have done that already."""

    def put_in(found: re.Match[str]) -> str:
        width, letter = found[1], found[2]
        if letter == "%":
            return "%"
        value = patterns.get(letter)
        if value is None:
            return found[0]
        return value.zfill(min(int(width), 10)) if width and value.isdecimal() else value

    return re.sub(r"%(\d{0,3})([A-Za-z%])", put_in, path)


def _patterns(head: str, known: Mapping[str, str]) -> Mapping[str, str]:
    """What sbatch(1) says that each letter stands for; nothing where a letter means nothing for this job."""
    of_job = dict(re.findall(r"(JobId|ArrayJobId|ArrayTaskId)=(\d+)", head, re.ASCII))
    job = of_job.get("JobId", "")
    found = {
        "j": job,
        "J": job,
        "A": of_job.get("ArrayJobId", job),
        "a": of_job.get("ArrayTaskId", "4294967294"),
        "x": known.get("JobName", ""),
        "u": known.get("UserId", "").partition("(")[0],
        "N": known.get("BatchHost", ""),
        "n": "0",
        "t": "0",
        "s": "batch",
    }
    return {letter: value for letter, value in found.items() if value}


def _name(head: str) -> str:
    return head.partition("JobName=")[2]


def _value(known: Mapping[str, str], key: str) -> str:
    value = known.get(key, "")
    return "" if value in _NOTHING else value


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    key, _, value = line.partition("=")
    if key in _WHOLE_LINE:
        yield key, value
        return
    starts = list(_PAIR.finditer(line))
    for index, start in enumerate(starts):
        end = starts[index + 1].start() if index + 1 < len(starts) else len(line)
        yield start[1], line[start.end() : end].strip()
