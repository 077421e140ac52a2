"""Who builds the pictures of the charts, where it is not the charts themselves."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rich.style import Style
    from textual.strip import Strip
    from textual_plotext.plot import Plot

Paint: TypeAlias = "Callable[[Plot, Style], list[Strip]]"
"""Builds a picture; called in a thread."""
PAINT: ContextVar[Paint] = ContextVar("paint")
