"""The screen of sessions: shells and notebooks on nodes, how long they have, and what to do with them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Static

from workbench.commands import SESSIONS, bindings
from workbench.messages import ActOnSession, StartSession
from workbench.model.session import WARNINGS_S, SessionKind, SessionView, computing, left_text
from workbench.plain import plain

_COLUMNS = ("id", "what", "state", "time left", "node", "kernels", "port", "place")
_EMPTY = """\
No sessions yet.

Press  n  for a Jupyter notebook on a node, or  t  for a shell there.
Both outlive this terminal and the connection; their URL stays the same.

Press  ?  for every key."""
_SYMBOLS = {"ready": "●", "starting": "◐", "waiting": "○", "ended": "■", "stopped": "■", "lost": "?"}


class SessionsScreen(Screen[None]):
    """All sessions, newest first."""

    CSS_PATH = "sessions.tcss"
    COMMANDS_HERE = SESSIONS
    BINDINGS = bindings(SESSIONS)

    def __init__(self) -> None:
        super().__init__()
        self._views: Sequence[SessionView] = ()
        self._now = 0.0
        self._title = Static(id="title", markup=False)
        self._table = DataTable[Text](cursor_type="row", zebra_stripes=False)
        self._empty = Static(_EMPTY, id="empty", markup=False)
        self._detail = Static(id="detail", markup=False)

    def compose(self) -> ComposeResult:
        """Title, table, what the selected one is about, keys."""
        yield self._title
        yield self._table
        yield self._empty
        yield self._detail
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Draw what was given before there was anything to draw on."""
        self._table.add_columns(*_COLUMNS)
        self._table.focus()
        self._draw("")

    @property
    def chosen(self) -> SessionView | None:
        """The session under the cursor."""
        row = self._table.cursor_row
        return self._views[row] if 0 <= row < len(self._views) else None

    def show(self, views: Sequence[SessionView], now: float) -> None:
        """Draw these."""
        chosen = self.chosen.session.id if self.is_mounted and self.chosen else ""
        self._views, self._now = views, now
        if self.is_mounted:
            self._draw(chosen)

    def _draw(self, chosen: str) -> None:
        views, now = self._views, self._now
        table = self._table
        table.display, self._empty.display = bool(views), not views
        table.clear()
        for view in views:
            table.add_row(*_cells(view, now), key=view.session.id)
        kept = next((row for row, view in enumerate(views) if view.session.id == chosen), 0)
        table.move_cursor(row=kept, animate=False)
        ready = sum(view.state == "ready" for view in views)
        title = Text("sessions", "bold").append(f"  {len(views)}, {ready} ready", "not bold")
        self._title.update(title)
        self._draw_detail()

    def on_data_table_row_highlighted(self) -> None:
        """Say what the session under the cursor is about."""
        self._draw_detail()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter, which the table keeps to itself."""
        event.stop()
        self.action_act("browse")

    def action_back(self) -> None:
        """Back to where one came from."""
        self.dismiss()

    def action_start(self, kind: str) -> None:
        """Start one."""
        self.post_message(StartSession(SessionKind(kind)))

    def action_act(self, doing: str) -> None:
        """Do something with the session under the cursor."""
        if view := self.chosen:
            self.post_message(ActOnSession(doing, view.session.id))
        else:
            self.notify("There is no session to do that with: n starts one.", severity="warning")

    def _draw_detail(self) -> None:
        view = self.chosen
        self._detail.update(_detail(view) if view else "")


def _cells(view: SessionView, now: float) -> Sequence[Text]:
    left = view.left_s(now)
    soon = left is not None and left <= WARNINGS_S[0]
    node = view.place.node if view.place else (view.job.status.node if view.job else "")
    kernels = "" if view.kernels is None else f"{view.busy_kernels}/{len(view.kernels)}"
    renewed = " ↻" if view.session.renews or view.session.next_job else ""
    return [
        Text(view.session.id),
        Text(str(view.session.kind)),
        Text(f"{_SYMBOLS[view.state]} {view.state}{renewed}"),
        Text(left_text(left), "bold reverse" if soon and left is not None else ""),
        Text(plain(node)),
        Text(kernels),
        Text(str(view.session.local_port or "")),
        Text(view.session.profile),
    ]


def _detail(view: SessionView) -> Text:
    """Four lines: where it is found; how the way to it is; what runs; what comes next."""
    one = view.session
    text = Text(no_wrap=True, overflow="ellipsis")
    if one.kind is SessionKind.JUPYTER and one.local_port:
        text.append(f"http://127.0.0.1:{one.local_port}/{one.page}  (y copies it with its token)")
    else:
        text.append("a attaches to its shell; ^B d leaves it again")
    waits = plain(view.job.status.reason) if view.job and view.job.status.reason else ""
    down = plain(view.tunnel.why) if view.tunnel and view.tunnel.why else ""
    text.append(f"\n{plain(view.trouble) or down or waits or 'all is well'}", "dim")
    running = ", ".join(f"{plain(kernel.name)}{' ✱' if kernel.busy else ''}" for kernel in view.kernels or ())
    busy = f" — {computing(view.busy_kernels)}" if view.busy_kernels else ""
    text.append(f"\nkernels: {running or 'none'}{busy}" if one.kind is SessionKind.JUPYTER else "\n", "dim")
    if one.next_job:
        text.append(f"\nis renewed: job {one.next_job} waits for the end of job {one.job}", "dim")
    elif one.renews:
        text.append(f"\nis renewed once, when job {one.job} ends", "dim")
    else:
        text.append(f"\njob {one.job}; R renews it", "dim")
    return text
