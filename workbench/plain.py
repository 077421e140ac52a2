"""Text from elsewhere, made harmless before it is shown.

Names, reasons and logs come from a run or a cluster: nothing in them may be read as markup, move the
cursor or reach the terminal as a control sequence.
"""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movements
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # OSC and its kin: titles, links, the clipboard
    r"|\x1b[ -/]*[0-~]?"
)
_MOST_LETTERS = 10_000
"""Of one value; nobody reads more, and nobody should wait for it."""


def without_escapes(text: str) -> str:
    """`text` without whole control sequences; single control characters stay."""
    return _ESCAPES.sub("", text)


def plain(value: object) -> str:
    """A value as one line: control sequences gone, control characters marked, four digits of a float."""
    text = "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    if len(text) > _MOST_LETTERS:
        text = f"{text[:_MOST_LETTERS]}…"
    return "".join(letter if letter.isprintable() else "�" for letter in without_escapes(text))


def for_terminal(data: bytes) -> bytes:
    """A log for a terminal that obeys what it is sent: lines and tabs stay, what would do more is gone."""
    text = without_escapes(data.decode(errors="replace"))
    return "".join(letter if letter.isprintable() or letter in "\n\r\t" else "�" for letter in text).encode()
