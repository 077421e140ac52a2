"""Chooser: asks the user for one of several things; where nobody can be asked, the default is taken.

Questions and what was taken go to standard error, for standard output is for results.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from workbench.errors import NotAllowed
from workbench.plain import plain


@dataclass
class Chooser:
    """Asks, or takes the defaults and says so."""

    asking: bool
    """Whether there is somebody to ask."""
    taken: dict[str, str] = field(default_factory=dict)
    """The answers that nobody was asked for, by question."""

    def choose(self, question: str, options: Sequence[str], default: int = 0) -> int:
        """The number of one of the options, the first one being 0."""
        if not self.asking or len(options) == 1:
            self._take(question, options[default])
            return default
        say(f"{question}:")
        for number, option in enumerate(options, 1):
            say(f"  {number}) {plain(option)}")
        while True:
            typed = self._typed(f"Number [{default + 1}]: ")
            if not typed:
                return default
            if typed.isdecimal() and 1 <= int(typed) <= len(options):
                return int(typed) - 1
            say(f"Type a number from 1 to {len(options)}.")

    def several(self, question: str, options: Sequence[str]) -> Sequence[str]:
        """Some of the options, by default none."""
        if not self.asking:
            self._take(question, "none")
            return []
        say(f"{question}:")
        for number, option in enumerate(options, 1):
            say(f"  {number}) {plain(option)}")
        while True:
            typed = self._typed("Numbers, in the order of loading [none]: ").replace(",", " ").split()
            if all(part.isdecimal() and 1 <= int(part) <= len(options) for part in typed):
                return [options[int(part) - 1] for part in typed]
            say(f"Type numbers from 1 to {len(options)}, or nothing.")

    def whether(self, question: str) -> bool:
        """Whether `yes` is typed; by default not."""
        return self.asking and self._typed(f"{question} (yes)? ").lower() in ("y", "yes")

    def _take(self, question: str, option: str) -> None:
        self.taken[question] = option
        say(f"{question}: {plain(option)}")

    @staticmethod
    def _typed(prompt: str) -> str:
        print(prompt, end="", file=sys.stderr, flush=True)  # noqa: T201
        typed = sys.stdin.readline()
        if not typed:
            raise NotAllowed("The input has ended before all was answered: nothing was written.")
        return typed.strip()


def say(text: str) -> None:
    """To the user, beside the results."""
    print(text, file=sys.stderr)  # noqa: T201
