"""The program's own theme, and the colours of the lines in charts."""

from __future__ import annotations

from textual.theme import Theme

THEME = Theme(
    name="workbench",
    primary="#5BA4D9",
    secondary="#7FB685",
    accent="#E8A15C",
    foreground="#D9DEE7",
    background="#11151B",
    surface="#181E26",
    panel="#2A3340",
    success="#7CC58A",
    warning="#E3B341",
    error="#E5686D",
    dark=True,
)
SERIES = ("#56B4E9", "#E69F00", "#2CB58C", "#CC79A7", "#D55E00", "#F0E442", "#8C8CFF")
"""Okabe and Ito's colours, which every kind of sight tells apart; two are lighter, for dark ground."""
SERIES_ON_LIGHT = ("#0072B2", "#B87700", "#00795A", "#A8477F", "#C04A00", "#8A7F00", "#5050C8")


def series_variables(*, dark: bool) -> dict[str, str]:
    """The colours of series as variables of the style sheets: `$series-0`, `$series-1` and on."""
    return {f"series-{index}": colour for index, colour in enumerate(SERIES if dark else SERIES_ON_LIGHT)}
