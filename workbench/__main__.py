"""The way in: reads the command line, sets up the log, turns errors into sentences and exit statuses.

Only what a command needs is imported: `--version` and `--help` answer before Textual is loaded, and
nothing here ever loads torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from workbench.cli import EXIT_FAILED, EXIT_INTERRUPTED, parse
from workbench.errors import WorkbenchError


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program; never returns."""
    arguments = parse(sys.argv[1:] if argv is None else argv)
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except WorkbenchError as error:
        print(f"mace-workbench: {error}", file=sys.stderr)
        status = EXIT_FAILED
    except KeyboardInterrupt:
        print("mace-workbench: interrupted; jobs go on.", file=sys.stderr)
        status = EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone, as `| head` does; the interpreter must not complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = EXIT_FAILED
    sys.exit(status)


def _run(arguments: object) -> int:
    from workbench.commandline import run  # late: it brings asyncio and the services

    return run(arguments)


if __name__ == "__main__":
    main()
