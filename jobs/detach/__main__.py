"""`python -E -S -m jobs.detach submit|requeue|status|cancel`: JSON lines in, JSON lines out."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jobs.detach.commands import cancel, requeue, status, submit
from jobs.detach.record import Record, Refused, sentence

COMMANDS: Mapping[str, Callable[[Record], Record]] = {
    "submit": submit,
    "requeue": requeue,
    "cancel": cancel,
    "status": status,
}


def main(arguments: Sequence[str]) -> int:
    """Do one command for every request on stdin; the exit status."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        sys.stderr.write(f"usage: python -m jobs.detach {'|'.join(COMMANDS)} < REQUESTS\n")
        return 2
    command = COMMANDS[arguments[0]]
    os.chdir(Path.home())  # what relative paths are relative to, as over SSH
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
