"""`mace-accel`: measure any MACE model from a shell, without a cluster and without the workbench.

Progress goes to stderr, the result to stdout. Exit code 0: done; 1: it cannot be done, and one sentence
says why; 2: the command is not understood.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from accel.errors import AccelError
from accel.provenance import measured_on, provenance

if TYPE_CHECKING:
    from torch import nn

    from accel.measurement import Advanced, Compared, Noted, Timed

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_DONE, _FAILED, _INTERRUPTED = 0, 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    arguments = _parser().parse_args(argv)
    for variable in _THREAD_VARIABLES:  # read once, when the libraries are loaded
        os.environ[variable] = str(arguments.threads)
    commands = {"bench": _bench, "profile": _profile}
    try:
        text, record = commands[arguments.command](arguments)
    except AccelError as error:
        return _failed(str(error))
    except ImportError as error:
        return _failed(f"{error}: install mace-workbench[accel].")
    except KeyboardInterrupt:
        _failed("Stopped.")
        return _INTERRUPTED
    try:
        print(json.dumps(record, indent=1, allow_nan=False) if arguments.json else text, flush=True)
    except BrokenPipeError:  # `… | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _failed(f"The result cannot be written: {error.strerror}.")
    return _DONE


def _bench(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    from accel.bench import run_benchmark
    from accel.data import labels, load_structures
    from accel.plan import find_plan
    from accel.systems import make_systems
    from accel.table import benchmark_notes, benchmark_record, benchmark_table

    plans = [find_plan(name) for name in arguments.plans]
    model = _model(arguments)
    structures = load_structures(arguments.structures)
    labelled = [atoms for atoms in structures if labels(atoms) is not None][: arguments.labelled]
    show = _Progress()
    try:
        result = run_benchmark(
            model,
            plans,
            make_systems(model, structures, arguments.sizes),
            labelled,
            repeats=arguments.repeats,
            seed=arguments.seed,
            stress=arguments.stress,
            device=arguments.device,
            report=show,
        )
    finally:
        show.end()
    where = provenance(device=arguments.device, threads=arguments.threads)
    table = benchmark_table(result)
    notes = [*benchmark_notes(result), f"Measured on {measured_on(where)}."]
    record = {"measured_on": where, "table": table.record(), "notes": notes, **benchmark_record(result)}
    return "\n".join([table.text(), "", *notes]), record


def _profile(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    from accel.data import load_structures, sized_system
    from accel.profile import profile_model
    from accel.table import plain, profile_notes, profile_table

    model = _model(arguments)
    atoms = sized_system(load_structures(arguments.structures), arguments.size)
    show = _Progress()
    try:
        result = profile_model(
            model,
            atoms,
            repeats=arguments.repeats,
            advance=lambda done, total: show.line(f"{done}/{total} observing"),
        )
    finally:
        show.end()
    where = provenance(device=arguments.device, threads=arguments.threads)
    table = profile_table(result)
    notes = [*profile_notes(result), f"Measured on {measured_on(where)}."]
    record = {"measured_on": where, "table": table.record(), "notes": notes, "profile": plain(result)}
    return "\n".join([table.text(), "", *notes]), record


def _model(arguments: argparse.Namespace) -> nn.Module:
    import torch

    from accel.reference import load_model

    torch.set_num_threads(arguments.threads)
    dtype, device = getattr(arguments, "dtype", "float64"), arguments.device
    return load_model(arguments.model, dtype=dtype, device=device, allow_pickle=arguments.allow_pickle)


class _Progress:
    """One line on a terminal's stderr that is written over; elsewhere a line a stage."""

    def __init__(self) -> None:
        self._stage = ""
        self._live = sys.stderr.isatty()

    def __call__(self, report: Timed | Compared | Advanced | Noted) -> None:
        from accel.measurement import Advanced

        if isinstance(report, Advanced) and (self._live or report.stage != self._stage):
            self._stage = report.stage
            self.line(f"{100 * report.done // report.total:3} % {report.stage}")

    def line(self, text: str) -> None:
        print(
            f"\r\x1b[K{text}" if self._live else text,
            end="" if self._live else "\n",
            file=sys.stderr,
            flush=True,
        )

    def end(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _failed(sentence: str) -> int:
    print(f"mace-accel: {sentence}", file=sys.stderr)
    return _FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mace-accel", description="Measure MACE models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    bench = commands.add_parser(
        "bench", help="time and error of several plans on structures of several sizes"
    )
    _common(bench)
    bench.add_argument("structures", help="a file that ASE reads, or shipped:liquid, shipped:test, …")
    bench.add_argument("--plans", type=_names, default=["reference", "reference-fp32"], metavar="A,B,…")
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

    profile = commands.add_parser("profile", help="time and tensors of every step of a model")
    _common(profile)
    profile.add_argument("structures", nargs="?", default="shipped:liquid")
    profile.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    profile.add_argument("--size", type=_positive, default=96, metavar="N", help="atoms")
    profile.set_defaults(repeats=10)
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a shipped model, a folder with weights, or a .model file")
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
