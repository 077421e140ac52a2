"""The arguments of `mace-accel`: what can be asked, and how it is asked. Reads them and does nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

_PARITY = ("reference-fp32", "swap", "swap-fp32", "exact", "fast")
"""What runs everywhere and compiles for no minutes."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; leaves the program on wrong usage."""
    return _parser().parse_args(argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mace-accel", description="Measure MACE models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    bench = commands.add_parser(
        "bench", help="time and error of several plans on structures of several sizes"
    )
    _common(bench)
    bench.add_argument("structures", help="a file that ASE reads, or shipped:liquid, shipped:test, …")
    bench.add_argument(
        "--plans",
        type=_names,
        default=["reference", "reference-fp32"],
        metavar="A,B,…",
        help="names or files; all: every plan, with the reason for those that cannot be had here",
    )
    bench.add_argument(
        "--sizes",
        type=_sizes,
        default=[],
        metavar="N,N,…",
        help="atoms; without it the first structure as it is",
    )
    bench.add_argument(
        "--labelled", type=_count, default=40, metavar="N", help="labelled structures to measure the error on"
    )
    bench.add_argument("--seed", type=_count, default=0, help="of the displacements")
    bench.add_argument("--stress", action="store_true", help="compute stress too")
    bench.set_defaults(repeats=20)

    parity = commands.add_parser(
        "parity", help="whether plans compute what mace-torch does in fp64, and keep what physics keeps"
    )
    _common(parity, repeats=False)
    parity.add_argument("structures", help="a file that ASE reads, or shipped:liquid, shipped:test, …")
    parity.add_argument(
        "--plans", type=_names, default=list(_PARITY), metavar="A,B,…", help="names or files; all: every plan"
    )
    parity.add_argument("--limit", type=_positive, default=3, metavar="N", help="structures to try them on")
    parity.add_argument(
        "--drift-steps", type=_count, default=0, metavar="N", help="of 0.5 fs in NVE; 0: no dynamics"
    )

    _tune_arguments(commands.add_parser("tune", help="the fastest plan inside an error budget"))

    profile = commands.add_parser("profile", help="time and tensors of every step of a model")
    _common(profile)
    profile.add_argument("structures", nargs="?", default="shipped:liquid")
    profile.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    profile.add_argument("--size", type=_positive, default=96, metavar="N", help="atoms")
    profile.set_defaults(repeats=10)
    _add_md(commands)
    _add_eval(commands)
    return parser


def _tune_arguments(tune: argparse.ArgumentParser) -> None:
    _common(tune)
    tune.add_argument("structures", nargs="?", default="shipped:liquid")
    tune.add_argument("--force", default="0.1meV/A", metavar="LIMIT", help="force error allowed, rms")
    tune.add_argument(
        "--force-max", default="", metavar="LIMIT", help="largest component allowed; ten times --force"
    )
    tune.add_argument("--energy", default="0.01meV/atom", metavar="LIMIT", help="energy error allowed, rms")
    tune.add_argument(
        "--stress", default="", metavar="LIMIT", help="compute stress too, with this error allowed: 0.1meV/A3"
    )
    tune.add_argument(
        "--plans", type=_names, default=[], metavar="A,B,…", help="choose from these; without it from all"
    )
    tune.add_argument(
        "--skip",
        type=_names,
        default=[],
        metavar="A,B,…",
        help="techniques to leave out: compile takes minutes",
    )
    tune.add_argument(
        "--sizes",
        type=_sizes,
        default=[],
        metavar="N,N,…",
        help="atoms; without it the first structure as it is",
    )
    tune.add_argument(
        "--labelled", type=_count, default=40, metavar="N", help="labelled structures to judge on"
    )
    tune.add_argument("--seed", type=_count, default=0, help="of the displacements")
    tune.add_argument(
        "--memory", action="store_true", help="measure peak memory, each plan in a process of its own"
    )
    tune.add_argument("--out", type=Path, metavar="FILE.json", help="write the plan there")
    tune.set_defaults(repeats=20)


def _add_md(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    md = commands.add_parser("md", help="dynamics or a minimisation, with any plan")
    _common(md, repeats=False)
    md.add_argument("structures", help="a file that ASE reads, or shipped:liquid, shipped:test, …")
    md.add_argument("-o", "--output", default="trajectory.xyz", metavar="NAME.xyz")
    md.add_argument("--resume", action="store_true", help="go on from the checkpoint beside the output")
    md.add_argument("--plan", default="exact", help="how forces are computed: a name, or a plan's file")
    md.add_argument("--size", type=_count, default=0, metavar="N", help="atoms; 0: the first structure")
    md.add_argument(
        "--ensemble", default="nve", help="nve, langevin, nose-hoover, npt; or to minimise fire, lbfgs"
    )
    for option, name, kind, value, words in (
        ("--steps", "n_steps", int, 1000, ""),
        ("--time-step", "time_step_fs", float, 0.5, "fs"),
        ("--temperature", "temperature_k", float, 300.0, "K; of velocities drawn, and of the thermostat"),
        ("--pressure", "pressure_bar", float, 1.0, "bar"),
        ("--damping", "damping_fs", float, 100.0, "fs; of the thermostat"),
        ("--pressure-damping", "pressure_damping_fs", float, 1000.0, "fs; of the barostat"),
        ("--force-tolerance", "force_tolerance_ev_per_a", float, 0.01, "eV/Å; where minimising ends"),
        ("--frame-every", "frame_every", int, 100, "steps; frames are checkpoints too"),
        ("--check-every", "check_every", int, 0, "steps; compare with mace-torch in fp64, 0: never"),
        ("--seed", "seed", int, 0, "of velocities and of Langevin's forces"),
    ):
        md.add_argument(option, dest=name, type=kind, default=value, metavar="X", help=words)


def _add_eval(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = commands.add_parser("eval", help="energies and forces of every frame of a file")
    _common(evaluate, repeats=False)
    evaluate.add_argument("structures", help="a file that ASE reads; frames are read one at a time")
    evaluate.add_argument("-o", "--output", required=True, metavar="NAME.xyz")
    evaluate.add_argument("--plan", default="exact", help="how: a plan's name, or its file")
    evaluate.add_argument("--stress", action="store_true", help="compute stress too, where periodic")
    evaluate.add_argument(
        "--batch",
        type=_positive,
        default=1024,
        metavar="N",
        help="atoms at once: small frames are evaluated together until they have so many; 1: one by one",
    )


def _common(parser: argparse.ArgumentParser, *, repeats: bool = True) -> None:
    parser.add_argument("model", help="a shipped model, a folder with weights, or a .model file")
    if repeats:
        parser.add_argument("--repeats", type=_positive, metavar="N", help="evaluations that are timed")
    parser.add_argument("--threads", type=_positive, default=1, metavar="N")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, …")
    parser.add_argument("--json", action="store_true", help="everything that was measured, as JSON")
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="open a .model file, which can run any code: trust its author",
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _sizes(text: str) -> list[int]:
    return [_positive(part) for part in text.split(",")]


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number
