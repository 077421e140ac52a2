"""How old what is shown of a cluster is, how often it is asked, and what that costs it."""

from __future__ import annotations

from rich.text import Text
from textual.widget import Widget

from workbench.model.pulse import Pulse
from workbench.plain import plain
from workbench.widgets.words import age


class PollStatus(Widget):
    """`csd3  polled 4s ago · every 12 s · 31 polls · the last took 0.18 s`."""

    DEFAULT_CSS = """
    PollStatus {
        height: 1;
        padding: 0 1;
        background: $surface;
        color: $text-muted;
        &.-trouble { background: $warning-muted; color: $text-warning; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = ""

    def show(self, profile: str, pulse: Pulse, now: float, *, trouble: str = "") -> None:
        """Draw these, where they have changed."""
        text = f"{plain(profile)}  {poll_words(pulse, now)}" + (f"  ! {plain(trouble)}" if trouble else "")
        if text != self._text:
            self._text = text
            self.set_class(bool(trouble), "-trouble")
            self.refresh()

    def render(self) -> Text:
        """One line."""
        return Text(self._text, no_wrap=True, overflow="ellipsis")


def poll_words(pulse: Pulse, now: float) -> str:
    """What `pulse` says, for people."""
    if pulse.asked_at is None:
        return "not polled yet"
    parts = [f"polled {age(now - pulse.asked_at)} ago"]
    if pulse.interval_s is not None:
        parts.append(f"every {pulse.interval_s:.0f} s")
    parts.append(f"{pulse.n_polls:,} poll" + ("" if pulse.n_polls == 1 else "s"))
    parts.append(f"the last took {pulse.took_s:.2f} s")
    return " · ".join(parts)
