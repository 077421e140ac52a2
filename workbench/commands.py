"""Commands: what a person can ask for, each defined once for its key, the footer, the palette and help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True, slots=True)
class Command:
    """One thing that can be asked for on a screen."""

    action: str
    """The screen's or app's method `action_…`, arguments included."""
    key: str
    """One or more of Textual's key names, separated by commas."""
    label: str
    """In the footer and in the palette."""
    tip: str
    """What it does, for help and the palette."""
    footer: bool = True
    """Whether the footer has room for it."""
    shown_key: str | None = None
    """How the key is written, where Textual's own way is not plain."""

    @property
    def key_text(self) -> str:
        """The keys as a person would write them."""
        return self.shown_key or " ".join(_WRITTEN.get(key, key) for key in self.key.split(","))

    @property
    def binding(self) -> Binding:
        """For a screen's or widget's `BINDINGS`."""
        shown = self.shown_key or _WRITTEN.get(self.key.partition(",")[0])
        return Binding(
            self.key, self.action, self.label, show=self.footer, key_display=shown, tooltip=self.tip
        )


_WRITTEN = {
    "slash": "/",
    "question_mark": "?",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "enter": "↵",
    "escape": "esc",
    "down": "↓",
    "up": "↑",
    "left": "←",
    "right": "→",
    "ctrl+p": "^p",
    "ctrl+l": "^l",
    "ctrl+d": "^d",
    "ctrl+u": "^u",
    "ctrl+s": "^s",
    "ctrl+t": "^t",
    "pagedown": "PgDn",
    "pageup": "PgUp",
}


def bindings(commands: Sequence[Command]) -> list[BindingType]:
    """The commands as Textual wants them."""
    return [command.binding for command in commands]


RECONNECT = Command(
    "reconnect", "ctrl+l", "connect", "Try the connections that are down now; log in", footer=False
)
SESSIONS = (
    Command("back", "escape", "back", "Back to where one came from"),
    Command("start('jupyter')", "n", "notebook", "Start Jupyter on a node, and open it in the browser"),
    Command("start('shell')", "t", "shell", "Start a shell on a node that outlives this terminal"),
    Command("start('sintr')", "i", "sintr", "The site's own command, kept alive", footer=False),
    Command("act('browse')", "enter,o", "open", "Show the notebook in the browser"),
    Command("act('attach')", "a", "attach", "A shell on the node; leave it again with ^B d"),
    Command("act('renew')", "R", "renew", "Have it go on in another job when this one ends", shown_key="R"),
    Command("act('stop')", "c", "stop", "End it, after a question"),
    Command("act('copy_url')", "y", "copy url", "Put its URL on the clipboard", footer=False),
    Command("act('vscode')", "v", "VS Code", "Write an ssh configuration for the node", footer=False),
    Command("act('forget')", "x", "forget", "Take one that is over off the list", footer=False),
)
APP = (
    Command("help", "question_mark", "help", "Every key on this screen, and what the symbols mean"),
    Command("command_palette", "ctrl+p", "palette", "Look for a command by its name", footer=False),
    Command(
        "links", "L", "links", "The connections, what happened to them, and what ran on them", footer=False
    ),
    RECONNECT,
    Command("sessions", "S", "sessions", "Shells and notebooks on nodes", footer=False),
    Command("quit", "q", "quit", "Leave; runs go on, and are here again the next time"),
)
JOB = (
    Command("resubmit", "r", "resubmit", "Start the run again: from its checkpoint, or in a new folder"),
    Command("change", "e", "edit", "Change the parameters and start that as a new run", footer=False),
    Command("requeue", "R", "requeue", "Start a job that is over again in its own folder", footer=False),
    Command("cancel", "c", "cancel", "End the job, after a question"),
    Command(
        "hold", "h", "hold", "Keep a job that waits from starting; the same key lets it go", footer=False
    ),
    Command("copy_id", "y", "copy id", "Put the job's id on the clipboard", footer=False),
)
JOBS = (
    Command("open", "enter", "open", "Open the run of the selected job"),
    Command("new", "n", "new run", "Choose a recipe, set its parameters, and start it"),
    *JOB,
    Command("filter", "slash", "filter", "Show the jobs with these words only; esc shows all again"),
    Command("order", "o", "order", "Order by the next column", footer=False),
    Command("reverse", "O", "reverse", "Turn the order round", footer=False),
    Command("ask", "f5", "ask now", "Ask the schedulers now, whatever the pace", footer=False),
    Command(
        "app.find_runs",
        "F",
        "find runs",
        "Look in the work folders for runs that were started from another machine; submits nothing",
        footer=False,
    ),
    Command("queue", "Q", "queue", "All your jobs in a cluster's queue, also those started by hand"),
)
QUEUE = (
    Command("open", "enter", "watch", "What Slurm says of the job, and its output as it comes"),
    Command("back", "escape", "jobs", "Back to the jobs of this program"),
    Command("adopt", "a", "adopt", "Make a job whose folder holds a run one of this program's own"),
    Command("hold", "h", "hold", "Keep a job that waits from starting; the same key lets it go again"),
    Command("cancel", "c", "cancel", "End the job, after a question"),
    Command("ask", "r", "ask now", "Ask the cluster now, whatever the pace"),
    Command("filter", "slash", "filter", "Show the jobs with these words only; esc shows all again"),
    Command("profile(1)", "p", "cluster", "The queue of the next cluster", footer=False),
    Command("order", "o", "order", "Order by the next column", footer=False),
    Command("reverse", "O", "reverse", "Turn the order round", footer=False),
    Command("copy_id", "y", "copy id", "Put the job's number on the clipboard", footer=False),
)
QUEUED_JOB = (
    Command("back", "escape", "queue", "Back to the queue"),
    Command("follow", "f", "follow", "Keep to the end of the output, or stay where you are"),
    *(command for command in QUEUE if command.action in ("adopt", "hold", "cancel", "ask", "copy_id")),
)
TABLE = (
    Command("move(1)", "j,down", "down", "The next job", footer=False),
    Command("move(-1)", "k,up", "up", "The job before", footer=False),
    Command("page(1)", "ctrl+d,pagedown", "page down", "A page further", footer=False),
    Command("page(-1)", "ctrl+u,pageup", "page up", "A page back", footer=False),
    Command("edge(-1)", "g,home", "first", "The first job", footer=False),
    Command("edge(1)", "G,end", "last", "The last job", footer=False),
)
RUN = (
    Command("back", "escape", "jobs", "Back to the jobs"),
    Command("case(1)", "right_square_bracket", "next case", "The next system that was timed", footer=False),
    Command("case(-1)", "left_square_bracket", "last case", "The system before", footer=False),
    Command("log_scale", "l", "log-y", "Logarithmic or linear axis of time"),
    Command("smooth", "s", "smooth", "Smooth the lines, or draw every measurement"),
    Command("follow", "f", "follow", "Keep to the end of the log, or stay where you are"),
    *JOB,
    Command("zoom", "z", "zoom", "Give one panel all the room, or show all of them again"),
    Command("panel('timing')", "1", "timing", "The chart of times", footer=False),
    Command("panel('error')", "2", "error", "The chart of errors", footer=False),
    Command("panel('results')", "3", "results", "The table of results", footer=False),
    Command("panel('log')", "4", "log", "What the run prints", footer=False),
    Command("next_panel(1)", "tab", "next panel", "The next panel", footer=False),
    Command("next_panel(-1)", "shift+tab", "last panel", "The panel before", footer=False),
)
SWEEP = (
    Command("back", "escape", "jobs", "Back to the jobs"),
    Command("open", "enter", "open", "Open the run of the selected member"),
    Command(
        "resubmit_failed", "r", "resubmit failed", "Start the members again that have failed, and only those"
    ),
    Command("requeue", "R", "again", "Start the selected member again, where it is over"),
    Command("cancel", "c", "cancel", "End the selected member, after a question"),
    Command("cancel_all", "C", "cancel all", "End every member, after a question"),
    Command("copy_id", "y", "copy id", "Put the member's id on the clipboard", footer=False),
    Command("zoom", "z", "zoom", "Give one panel all the room, or show all of them again"),
    Command("panel('members')", "1", "members", "The table of members", footer=False),
    Command("panel('chart')", "2", "chart", "The chart over what the sweep goes over", footer=False),
    Command("panel('results')", "3", "results", "The table of results, folded", footer=False),
    Command("next_panel(1)", "tab", "next panel", "The next panel", footer=False),
    Command("next_panel(-1)", "shift+tab", "last panel", "The panel before", footer=False),
)
SUBMIT = (
    Command("start", "ctrl+s", "start", "Start the run as the fields stand; ↵ does it too"),
    Command("estimate", "ctrl+t", "when", "Ask the scheduler when it would start; nothing is submitted"),
    Command("app.focus_next", "tab", "fields", "On to the next field"),
    Command("leave", "escape", "leave", "Start nothing"),
)
AGAIN = (
    Command("start", "ctrl+s", "start", "Start it with what the fields say; ↵ does it too"),
    Command("app.focus_next", "tab", "fields", "On to the next field"),
    Command("leave", "escape", "leave", "Start nothing"),
)
LINKS = (
    Command("back", "escape", "back", "Back to where you came from"),
    Command("app.reconnect", "r", "connect", RECONNECT.tip),
)
