"""The command line: what can be asked, and how it is asked. Reads arguments and does nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from workbench import __version__, session_arguments

EXIT_OK = 0
EXIT_FAILED = 1
"""An error, or a job that was waited for and did not complete."""
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_EPILOG = """\
exit status: 0 done, 1 failed (with --wait also: the job did not complete), 2 wrong usage, 130 interrupted.
Jobs are named by their id or the beginning of it. Results go to standard output, progress to standard error.
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, with `command` empty where the screens are wanted. Leaves the program on wrong usage."""
    return _parser().parse_args(argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mace-workbench",
        description="Submit MACE experiments and watch them live. Without a command: the screens.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mace-workbench {__version__}")
    parser.add_argument(
        "--verbose", action="store_true", help="log details (to mace-workbench.log in the state folder)"
    )
    parser.set_defaults(command="")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")

    demo = commands.add_parser("demo", help="run the demonstration benchmark on this machine and watch it")
    demo.add_argument(
        "--headless", action="store_true", help="without the screens: wait and print the result"
    )
    _json(demo)

    submit = commands.add_parser("submit", help="start a run from a recipe's name or a spec file")
    submit.add_argument(
        "spec", metavar="RECIPE|SPEC.json", help="see `mace-workbench submit --list`", nargs="?"
    )
    submit.add_argument("--list", action="store_true", help="list the recipes")
    submit.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a part of the spec: `--set threads=2 --set parameters.sizes=[96,192]`",
    )
    submit.add_argument(
        "--sweep",
        metavar="KEY=A,B,…",
        action="append",
        default=[],
        help="one run for each value, and for each combination where it is given again: "
        "`--sweep sizes=24,96 --sweep seed=0..4`",
    )
    _resources(submit)
    submit.add_argument("--profile", metavar="NAME", help="where to run it; default: the default profile")
    submit.add_argument(
        "--estimate", action="store_true", help="say when it would start, and submit nothing (Slurm)"
    )
    _later(submit)
    _wait(submit)
    _json(submit)

    jobs = commands.add_parser("jobs", help="list jobs, newest first")
    jobs.add_argument("--active", action="store_true", help="only those that are not over")
    jobs.add_argument(
        "--all",
        action="store_true",
        help="all your jobs in the queues of the clusters, also those not started by this program",
    )
    jobs.add_argument("--profile", metavar="NAME", help="of this place only")
    _json(jobs)

    logs = commands.add_parser("logs", help="print the standard output and error of a job")
    _job(logs)
    logs.add_argument(
        "--profile",
        metavar="NAME",
        help="JOB is the number of a job in the queue of this cluster, whoever has started it",
    )
    logs.add_argument("--follow", "-f", action="store_true", help="go on until the job is over")
    logs.add_argument("--tail", metavar="KIB", type=_whole, help="only the last so many KiB")
    logs.add_argument("--json", action="store_true", help="print JSON, one object for each piece read")

    for name, text in (
        (
            "resubmit",
            "start a job that is over again: from its checkpoint, or in a new folder; of a sweep what failed",
        ),
        ("requeue", "start a job that is over once more in its own folder"),
    ):
        again = commands.add_parser(name, help=text)
        _job(again)
        _resources(again)
        if name == "resubmit":
            _later(again)
        _wait(again)
        _json(again)

    for name, text in (
        ("cancel", "end a job"),
        ("hold", "keep a job that waits from starting"),
        ("release", "let a job go that is held"),
    ):
        change = commands.add_parser(name, help=text)
        _job(change)
        if name == "cancel":
            _later(change)
        change.add_argument(
            "--native",
            action="store_true",
            help="JOB is the number of a job in a cluster's queue, whoever has started it",
        )
        change.add_argument("--profile", metavar="NAME", help="with --native: of this cluster")
        _json(change)

    adopt = commands.add_parser("adopt", help="make a job submitted by hand, such as `sbatch run.sh`, a run")
    adopt.add_argument("job", metavar="NUMBER", help="of the job in the cluster's queue")
    adopt.add_argument("--profile", metavar="NAME", help="the cluster; default: the only one")
    _json(adopt)

    runs = commands.add_parser("runs", help="list runs with their outcome, or show one with its result")
    runs.add_argument("job", metavar="JOB", nargs="?", help="id, or the beginning of it")
    runs.add_argument(
        "--find",
        action="store_true",
        help="first look in the work folder for runs that are not known here, as those of another machine "
        "or of a store that was thrown away; submits nothing",
    )
    runs.add_argument(
        "--profile",
        metavar="NAME",
        help="of this place only; --find looks at the default profile's otherwise",
    )
    _json(runs)

    compare = commands.add_parser("compare", help="set the results of several runs side by side")
    compare.add_argument(
        "jobs", metavar="JOB", nargs="+", help="the first one is what the others are held against"
    )
    _json(compare)

    doctor = commands.add_parser("doctor", help="check that a profile has all that runs need")
    doctor.add_argument("profile", metavar="PROFILE", nargs="?", help="default: the default profile")
    _json(doctor)
    _create_environment(doctor)
    _init(commands.add_parser("init", help="write the profile of a cluster by asking the cluster"))
    session_arguments.add(commands)
    return parser


def _resources(parser: argparse.ArgumentParser) -> None:
    asked = parser.add_argument_group("what the scheduler is asked for")
    asked.add_argument(
        "--time-limit", metavar="MINUTES", dest="time_limit_s", type=_minutes, help="of a new run: 60"
    )
    asked.add_argument("--memory", metavar="MB", dest="memory_mb", type=_whole)
    asked.add_argument(
        "--links",
        metavar="N",
        type=_whole,
        help="how often a run that can go on may have its time, one job after the other",
    )


def _create_environment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--create-env",
        metavar="FOLDER",
        nargs="?",
        const="",
        help="make a Python environment for runs there; default: `env` in the work folder",
    )
    parser.add_argument(
        "--base", metavar="PYTHON", default="python3", help="to make it with, of 3.11 or newer"
    )
    parser.add_argument(
        "--requirement",
        metavar="REQ",
        action="append",
        default=[],
        help="to install in place of what the accel extra needs; may be given again",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands that would make it")
    parser.add_argument(
        "--yes", action="store_true", help="set `python` of the profile to it, without asking"
    )


def _init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="what to call the profile")
    parser.add_argument("--host", metavar="ALIAS", help="as in `ssh ALIAS`; default: NAME")
    kinds = ("asyncssh", "openssh", "paramiko", "local")
    parser.add_argument("--connection", choices=kinds, help="default: asyncssh")
    parser.add_argument("--ssh-config", metavar="FILE", help="read in place of ~/.ssh/config")
    parser.add_argument(
        "--yes",
        action="store_true",
        help="ask nothing: take the defaults, replace a profile of that name",
    )
    _json(parser)


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="id, or the beginning of it")


def _wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="wait for the end and print the result")


def _later(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--queue-offline",
        action="store_true",
        help="where the host cannot be reached, keep the request until that can be done",
    )


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} should be 1 or more")
    return number


def _minutes(text: str) -> int:
    """Minutes as seconds."""
    return 60 * _whole(text)
