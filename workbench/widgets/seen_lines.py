"""SeenLines: a scrolled table of lines of which only those that have changed are drawn again."""

from __future__ import annotations

from textual.geometry import Region
from textual.scroll_view import ScrollView
from textual.strip import Strip


class SeenLines(ScrollView):
    """Draws what is seen, and that only where it is not on the screen already."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._on_screen: dict[int, Strip] = {}

    def prepare(self) -> None:
        """Called before lines are made: what is the same for all of them can be made here."""

    def line(self, y: int) -> Strip:
        """One line of what is seen, from above."""
        raise NotImplementedError

    def draw_changed(self) -> None:
        """Draw those lines again that are not as they are on the screen."""
        width, height = self.size
        if not height:  # nor has it its styles yet
            return
        self.prepare()
        changed = [y for y in range(height) if self._on_screen.get(y) != self.line(y)]
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def render_lines(self, crop: Region) -> list[Strip]:
        """Several lines, as they are now."""
        self.prepare()
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """One line, as it is now."""
        strip = self._on_screen[y] = self.line(y)
        return strip
