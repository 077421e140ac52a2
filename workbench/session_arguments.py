"""The command line of sessions and tunnels: `mace-workbench session …` and `mace-workbench tunnel …`."""

from __future__ import annotations

import argparse
from typing import Any

_KINDS = ("jupyter", "shell", "sintr")


def add(commands: Any) -> None:
    """Add both commands to the parser's."""
    _sessions(commands.add_parser("session", help="shells and notebooks on a node, which outlive everything"))
    _tunnels(commands.add_parser("tunnel", help="ports of this machine that lead to the far side"))


def _sessions(parser: argparse.ArgumentParser) -> None:
    doing = parser.add_subparsers(metavar="WHAT", dest="doing", required=True)
    start = doing.add_parser("start", help="submit a session, wait for it, and serve it until ^C")
    start.add_argument("--kind", choices=_KINDS, default="jupyter", help="default: jupyter")
    start.add_argument("--profile", metavar="NAME", help="where; default: the default profile")
    start.add_argument(
        "--page", choices=("lab", "tree"), default="lab", help="lab, or Jupyter Notebook's tree"
    )
    start.add_argument(
        "--folder", metavar="FOLDER", default="", help="to work in there; default: the home folder"
    )
    start.add_argument("--minutes", type=_whole, help="default: `interactive_minutes` of the profile")
    start.add_argument("--qos", metavar="NAME", help="default: `interactive_qos` of the profile")
    start.add_argument("--detach", action="store_true", help="only submit it; `session open` serves it later")
    _serving(start)
    listing = doing.add_parser("list", help="list sessions, newest first")
    _json(listing)
    opening = doing.add_parser("open", help="wait for a session, and serve it until ^C")
    _named(opening)
    _serving(opening)
    attach = doing.add_parser("attach", help="a shell on the session's node; leave it with ^B d")
    _named(attach)
    for name, text in (
        ("renew", "have a session go on in another job"),
        ("stop", "end a session"),
        ("url", "print where a browser finds it (the URL holds its token)"),
        ("vscode", "write an ssh configuration for VS Code to reach the node"),
    ):
        other = doing.add_parser(name, help=text)
        _named(other)
        _json(other)
        if name == "stop":
            other.add_argument("--yes", action="store_true", help="also where kernels compute")


def _tunnels(parser: argparse.ArgumentParser) -> None:
    doing = parser.add_subparsers(metavar="WHAT", dest="doing", required=True)
    opening = doing.add_parser("open", help="open a tunnel and serve it until ^C; its port is remembered")
    opening.add_argument("target", metavar="HOST:PORT", help="as the far side calls it; :PORT for itself")
    opening.add_argument("--profile", metavar="NAME", help="from where; default: the default profile")
    opening.add_argument("--port", type=_whole, default=0, help="on this machine; default: one that is free")
    _json(opening)
    listing = doing.add_parser("list", help="list tunnels")
    _json(listing)
    closing = doing.add_parser("close", help="want a tunnel no more")
    closing.add_argument("name", metavar="NAME")
    _json(closing)


def _serving(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-browser", action="store_true", help="open no browser")
    _json(parser)


def _named(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", metavar="SESSION", help="id, or the beginning of it")


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} should be 1 or more")
    return number
