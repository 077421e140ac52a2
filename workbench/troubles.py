"""Troubles: what cannot be asked at the moment. Each is said once, and shown until it works again."""

from __future__ import annotations


class Troubles:
    """Sentences by who asks: that one thing works says nothing of another."""

    def __init__(self) -> None:
        self._by_asker: dict[str, str] = {}

    @property
    def text(self) -> str:
        """The one that has lasted longest; empty where all works."""
        return next(iter(self._by_asker.values()), "")

    def failed(self, asker: str, sentence: str) -> bool:
        """Know that something failed; true where that is to be said, for nobody has heard it yet."""
        news = sentence not in self._by_asker.values()
        self._by_asker[asker] = sentence
        return news

    def worked(self, asker: str) -> bool:
        """Know that something works; true where it did not before."""
        return self._by_asker.pop(asker, None) is not None
