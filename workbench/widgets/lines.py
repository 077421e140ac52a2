"""A log's lines and cut text, as widgets draw them."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

from workbench.plain import plain, without_escapes

_MOST_COLUMNS = 2_000
"""Of one line of a log; what is longer is cut, and says so."""


def log_lines(data: bytes) -> list[str]:
    """A log's lines as a terminal would leave them, without anything that a terminal would obey.

    A progress bar writes over its own line with carriage returns: what stands last is kept.
    """
    lines = data.decode(errors="replace").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return [_line(line) for line in lines]


def _line(line: str) -> str:
    line = without_escapes(line.rstrip("\r")).rpartition("\r")[2].expandtabs(8)
    if len(line) > _MOST_COLUMNS:
        line = f"{line[:_MOST_COLUMNS]}… ({len(line)} letters)"
    return plain(line)


def short(text: str, width: int) -> str:
    """`text` in at most `width` columns, with an ellipsis where it is cut."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + "…" if width > 0 else ""


def fitted(text: str, width: int, *, right: bool = False) -> str:
    """`text` in exactly `width` columns."""
    text = short(text, width)
    space = " " * (width - cell_len(text))
    return space + text if right else text + space
