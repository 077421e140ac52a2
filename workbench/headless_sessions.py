"""What the commands do with sessions and tunnels. Serving one means being there: until ^C, or its end."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from workbench import report
from workbench.cli import EXIT_FAILED, EXIT_OK
from workbench.errors import NotAllowed
from workbench.model.job import Resources
from workbench.model.session import Session, SessionKind, SessionView, computing, left_text, warning_due
from workbench.model.tunnel import Tunnel, TunnelStatus
from workbench.plain import plain
from workbench.services import Services
from workbench.sessions.desk import Desk

_TURN_S = 1.0
_STARTING_S = 0.2
"""Between two looks, while somebody waits for a session to be ready."""


async def session(services: Services, arguments: argparse.Namespace) -> int:
    """Do what `mace-workbench session` asks for."""
    desk = services.desk
    match arguments.doing:
        case "start":
            return await _start(services, arguments)
        case "list":
            return await _list(services, arguments)
        case "open":
            return await _serve(services, desk.session(arguments.session), arguments)
        case "attach":
            return await _attach(services, desk.session(arguments.session))
        case "renew":
            renewed = await desk.renew(desk.session(arguments.session).id)
            how = "in a job that waits for the end of this one" if renewed.next_job else "at once"
            if renewed.renews:
                how = "when this job ends, as long as this program or its screens are open then"
            return _said(desk, renewed, arguments, f"{renewed.id} goes on {how}.")
        case "stop":
            return await _stop(services, arguments)
        case "vscode":
            return await _vscode(services, desk.session(arguments.session), arguments)
        case _:
            found = desk.session(arguments.session)
            if found.kind is not SessionKind.JUPYTER or not found.local_port:
                raise NotAllowed(
                    f"Session {found.id} has no URL (yet): `mace-workbench session open {found.id}`."
                )
            return _said(desk, found, arguments, found.url)


async def _start(services: Services, arguments: argparse.Namespace) -> int:
    asked: Resources | None = None
    if arguments.minutes or arguments.qos:
        usual = await services.desk.usual(arguments.profile)
        asked = replace(
            usual,
            time_limit_s=60 * arguments.minutes if arguments.minutes else usual.time_limit_s,
            qos=arguments.qos or usual.qos,
        )
    started = await services.desk.start(
        SessionKind(arguments.kind),
        profile=arguments.profile,
        page=arguments.page,
        work_folder=arguments.folder,
        resources=asked,
    )
    if arguments.detach:
        return _said(services.desk, started, arguments, started.id)
    return await _serve(services, started, arguments)


async def _list(services: Services, arguments: argparse.Namespace) -> int:
    await services.refresh()
    views = services.desk.sessions()
    if arguments.json:
        print(json.dumps([record(services.desk, view) for view in views], indent=2))
    elif views:
        rows = [_row(view, time.time()) for view in views]
        print(report.table(("ID", "KIND", "STATE", "LEFT", "NODE", "PROFILE", "PORT", "JOB"), rows))
    else:
        print("No sessions yet: `mace-workbench session start` starts one.", file=sys.stderr)
    return EXIT_OK


async def _serve(services: Services, wanted: Session, arguments: argparse.Namespace) -> int:
    """Wait until a session is ready, say where it is, and serve it until it is over."""
    desk = services.desk
    shown, told, opened = "", None, False
    while True:
        await services.refresh()
        await desk.tend([wanted.id])
        view = desk.view(desk.session(wanted.id))
        if (elsewhere := desk.served_elsewhere(wanted.id)) is not None and view.session.local_port:
            print(f"It is served by process {elsewhere} already.", file=sys.stderr)
            return _said(desk, view.session, arguments, view.session.url)
        if (line := _line(view)) != shown:
            shown = line
            print(line, file=sys.stderr, flush=True)
        if view.state == "ready" and not opened:
            opened = True
            _said(desk, view.session, arguments, view.session.url if view.session.token else view.session.id)
            sys.stdout.flush()
            if view.session.token and not arguments.no_browser:
                await desk.browse(view.session.id)
            if view.session.kind is not SessionKind.JUPYTER:
                return EXIT_OK  # there is nothing to serve
        if (due := warning_due(view.left_s(time.time()), told)) is not None:
            told = due
            print(f"{_warning(view, due)}", file=sys.stderr, flush=True)
        if view.state in ("ended", "stopped", "lost") and not view.session.renews:
            why = f": {plain(view.job.status.reason)}" if view.job and view.job.status.reason else "."
            print(f"Session {view.session.id} is over{why}", file=sys.stderr)
            return EXIT_OK if opened else EXIT_FAILED
        await asyncio.sleep(_TURN_S if opened else _STARTING_S)


async def _attach(services: Services, wanted: Session) -> int:
    if not sys.stdin.isatty():
        raise NotAllowed("Attaching needs a terminal.")
    await services.refresh()
    return await services.desk.attach(wanted.id)


async def _stop(services: Services, arguments: argparse.Namespace) -> int:
    desk = services.desk
    wanted = desk.session(arguments.session)
    if not arguments.yes:
        await services.refresh()
        busy = await desk.busy_kernels(wanted)
        if busy:
            raise NotAllowed(f"{computing(busy)} in session {wanted.id}: add --yes to end it all the same.")
    return _said(desk, await desk.stop(wanted.id), arguments, f"{wanted.id}: asked to end")


async def _vscode(services: Services, wanted: Session, arguments: argparse.Namespace) -> int:
    await services.refresh()
    sentence = await services.desk.vscode(wanted.id)
    print(json.dumps({"sentence": sentence}) if arguments.json else sentence)
    return EXIT_OK


async def tunnel(services: Services, arguments: argparse.Namespace) -> int:
    """Do what `mace-workbench tunnel` asks for."""
    desk = services.desk
    if arguments.doing == "list":
        found = desk.tunnels()
        if arguments.json:
            print(json.dumps([_tunnel_record(desk, one, status) for one, status in found], indent=2))
        elif found:
            rows = [
                (one.name, f"127.0.0.1:{one.local_port}", one.target, one.profile, _server(desk, one.name))
                for one, _ in found
            ]
            print(report.table(("NAME", "HERE", "THERE", "PROFILE", "SERVED BY"), rows))
        else:
            print("No tunnels yet: `mace-workbench tunnel open HOST:PORT` opens one.", file=sys.stderr)
        return EXIT_OK
    if arguments.doing == "close":
        closed = await desk.close_tunnel(arguments.name)
        print(json.dumps(asdict(closed), indent=2) if arguments.json else f"{closed.name}: closed")
        return EXIT_OK
    opened = desk.open_tunnel(arguments.target, profile=arguments.profile, local_port=arguments.port)
    return await _serve_tunnel(desk, opened, arguments)


async def _serve_tunnel(desk: Desk, wanted: Tunnel, arguments: argparse.Namespace) -> int:
    await desk.tend([wanted.name])
    if (elsewhere := desk.served_elsewhere(wanted.name)) is not None:
        print(f"It is served by process {elsewhere} already.", file=sys.stderr)
        print(f"127.0.0.1:{wanted.local_port}")
        return EXIT_OK
    shown: object = None
    while True:
        await desk.tend([wanted.name])
        found = {one.name: (one, status) for one, status in desk.tunnels()}.get(wanted.name)
        if found is None:
            return EXIT_OK  # closed by another program
        one, status = found
        if shown is None:
            if arguments.json:
                print(json.dumps(_tunnel_record(desk, one, status)), flush=True)
            else:
                print(f"127.0.0.1:{one.local_port}", flush=True)
            shown = ""
        why = status.why if status else ""
        if why != shown:
            shown = why
            print(f"{one.target}: {plain(why) or 'it can be reached again'}", file=sys.stderr, flush=True)
        await asyncio.sleep(_TURN_S)


# -- words -------------------------------------------------------------------------------------------


def record(desk: Desk, view: SessionView) -> Mapping[str, Any]:
    """A session as plain JSON values; its token only within its URL."""
    own = asdict(view.session)
    del own["token"]
    return {
        **own,
        "state": view.state,
        "url": view.session.url if view.session.token and view.session.local_port else None,
        "node": view.place.node if view.place else (view.job.status.node if view.job else ""),
        "ends_at": view.ends_at,
        "kernels": None if view.kernels is None else [asdict(kernel) for kernel in view.kernels],
        "trouble": view.trouble,
        "served_by": desk.served_elsewhere(view.session.id),
    }


def _said(desk: Desk, one: Session, arguments: argparse.Namespace, text: str) -> int:
    print(json.dumps(record(desk, desk.view(one)), indent=2) if arguments.json else text)
    return EXIT_OK


def _row(view: SessionView, now: float) -> tuple[str, ...]:
    one, left = view.session, view.left_s(now)
    node = view.place.node if view.place else (view.job.status.node if view.job else "")
    kept = " ".join(filter(None, ("renews" if one.renews or one.next_job else "",)))
    return (
        one.id,
        str(one.kind),
        f"{view.state} {kept}".strip(),
        left_text(left),
        plain(node),
        one.profile,
        str(one.local_port or ""),
        one.job,
    )


def _line(view: SessionView) -> str:
    reason = view.job.status.reason if view.job else ""
    node = view.place.node if view.place else ""
    why = plain(view.trouble or reason)
    return (
        f"{view.session.id}: {view.state}{f' on {plain(node)}' if node else ''}{f' ({why})' if why else ''}"
    )


def _warning(view: SessionView, due_s: float) -> str:
    busy = f"; {computing(view.busy_kernels)}" if view.busy_kernels else ""
    return (
        f"Session {view.session.id} ends in less than {due_s / 60:g} min{busy}: "
        f"`mace-workbench session renew {view.session.id}` has it go on."
    )


def _tunnel_record(desk: Desk, one: Tunnel, status: TunnelStatus | None) -> Mapping[str, Any]:
    return {
        **asdict(one),
        "serving": status is not None,
        "served_by": desk.served_elsewhere(one.name),
        "down_since": status.down_since if status else None,
        "why": status.why if status else "",
    }


def _server(desk: Desk, name: str) -> str:
    pid = desk.served_elsewhere(name)
    return f"process {pid}" if pid is not None else "nobody"
