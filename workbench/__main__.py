"""The way in: reads the command line, puts the program together, turns errors into sentences and statuses.

Only what a command needs is imported: `--version` and `--help` answer before Textual is loaded, and
nothing here ever loads torch.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from workbench.cli import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, parse
from workbench.errors import WorkbenchError
from workbench.plain import plain

if TYPE_CHECKING:
    from workbench.config import Config

_FAREWELL_S = 5.0
"""For the screens to close by themselves when their terminal is gone."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program; never returns."""
    arguments = parse(sys.argv[1:] if argv is None else argv)
    try:
        status = asyncio.run(_run(arguments))
        sys.stdout.flush()
    except WorkbenchError as error:
        # A host may have had a part in it.
        said = "\n".join(plain(line) for line in str(error).split("\n"))
        print(f"mace-workbench: {said}", file=sys.stderr)
        status = EXIT_FAILED
    except KeyboardInterrupt:
        print("mace-workbench: interrupted; jobs go on.", file=sys.stderr)
        status = EXIT_INTERRUPTED
    except OSError as error:
        if error.filename is not None:  # not the output, and nobody has translated it
            raise
        if not isinstance(error, BrokenPipeError):  # whoever read has seen enough, as `| head` has
            print(f"mace-workbench: The output cannot be written: {error.strerror}.", file=sys.stderr)
        # What is left of it in the buffer must not be complained about by the interpreter at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = EXIT_FAILED
    sys.exit(status)


async def _run(arguments: argparse.Namespace) -> int:
    from workbench.config import load_config

    on_screen = not arguments.command or (arguments.command == "demo" and not arguments.headless)
    if on_screen and not (sys.stdin.isatty() and sys.stdout.isatty()):
        instead = "demo --headless" if arguments.command else "--help"
        print(
            f"mace-workbench: The screens need a terminal; see `mace-workbench {instead}`.", file=sys.stderr
        )
        return EXIT_USAGE
    config = load_config()
    _log_to(config.state_folder, verbose=arguments.verbose)
    return await (_on_screen if on_screen else _headless)(config, arguments)


async def _headless(config: Config, arguments: argparse.Namespace) -> int:
    from workbench import headless, headless_profiles
    from workbench.prompting import TerminalPrompter
    from workbench.services import open_services

    if arguments.command == "init":
        return await headless_profiles.init(config, arguments, TerminalPrompter())
    async with open_services(config, TerminalPrompter()) as services:
        return await headless.run(services, arguments)


async def _on_screen(config: Config, arguments: argparse.Namespace) -> int:
    # What a key has changed is drawn at the next tick of this clock; Textual reads it when it is imported.
    os.environ.setdefault("TEXTUAL_FPS", "120")
    from workbench.app import WorkbenchApp
    from workbench.painting import Painter
    from workbench.ports.painting import PAINT
    from workbench.screens.ask import ScreenPrompter
    from workbench.services import open_services
    from workbench.turns import Turns

    prompter, turns = ScreenPrompter(), Turns()
    async with open_services(config, prompter, turns) as services:
        job = await services.start_demo() if arguments.command else None
        prompter.app = app = WorkbenchApp(services, open_job=job.id if job else None, turns=turns)
        # Without this the terminal would be left as the screens need it.
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, app.exit)
        _favour_keys()
        threading.Thread(target=_tell_of_hangup, args=(sys.stdin.fileno(),), daemon=True).start()
        with closing(Painter()) as painter:
            PAINT.set(painter.paint)
            await app.run_async()
        return EXIT_OK


def _tell_of_hangup(terminal: int) -> None:
    """Wait until the terminal is gone, as where `docker exec` is cut off, which tells nobody; then leave."""
    poll = select.poll()
    poll.register(terminal, 0)
    if not any(event & select.POLLHUP for _, event in poll.poll()):
        return  # this system does not say
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(_FAREWELL_S)
    os._exit(EXIT_FAILED)  # the screens still wait for the terminal to take what they draw


def _favour_keys() -> None:
    """Set the process up for screens: whatever else goes on, a key is answered at once."""
    import gc

    # What is here by now stays: collections that went through ten thousand jobs would hold up keys.
    gc.freeze()
    # What outlives two of the quick collections seldom is garbage, and to look through all of it takes 40 ms.
    gc.set_threshold(700, 10, 200)
    # Charts are built in a thread: at Python's own 5 ms a key would wait so long at each of its steps.
    sys.setswitchinterval(0.0005)


def _log_to(folder: os.PathLike[str], *, verbose: bool) -> None:
    """Write the log to a file that does not grow without end; where that cannot be, to standard error."""
    import logging
    from logging.handlers import RotatingFileHandler
    from pathlib import Path

    handler: logging.Handler
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(Path(folder) / "mace-workbench.log", maxBytes=1 << 20, backupCount=2)
    except OSError:
        handler = logging.StreamHandler()
    logging.raiseExceptions = False  # on a full disk every line would bring a traceback
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])


if __name__ == "__main__":
    main()
