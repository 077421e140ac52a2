"""`python -E -S -m jobs.detach submit|requeue|cancel|hold|release|status`: JSON lines in, JSON lines out."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jobs.detach.commands import cancel, hold, release, requeue, status, submit
from jobs.detach.record import Record, Refused, sentence

COMMANDS: Mapping[str, Callable[[Record], Record]] = {
    "submit": submit,
    "requeue": requeue,
    "cancel": cancel,
    "hold": hold,
    "release": release,
    "status": status,
}


def main(arguments: Sequence[str]) -> int:
    """Do one command for every request on stdin; the exit status."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        sys.stderr.write(f"usage: python -m jobs.detach {'|'.join(COMMANDS)} < REQUESTS\n")
        return 2
    command = COMMANDS[arguments[0]]
    try:
        os.chdir(Path.home())  # what relative paths are relative to, as over SSH
    except (OSError, RuntimeError) as error:
        said = sentence(error) if isinstance(error, OSError) else str(error)
        sys.stderr.write(f"the home folder cannot be used: {said}; set HOME to a folder that is there\n")
        return 1
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            sys.stdout.write(json.dumps(command(request)) + "\n")
        except Refused as error:
            sys.stderr.write(f"{error}\n")
            return 1
        except OSError as error:
            sys.stderr.write(f"{request['folder']}: {sentence(error)}.\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
