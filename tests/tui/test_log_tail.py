"""The end of a log, where more than the panel holds comes at once."""

from __future__ import annotations

from textual.app import App, ComposeResult

from workbench.widgets.log_tail import LogTail

N_LINES = 100


class OnlyALog(App[None]):
    """Nothing but the panel."""

    def compose(self) -> ComposeResult:
        """The panel."""
        yield LogTail()


async def test_lines_that_outgrow_the_panel_at_once_are_seen_at_their_end() -> None:
    async with OnlyALog().run_test(size=(40, 10)) as hand:
        log = hand.app.query_one(LogTail)
        log.show(b"".join(b"line %d\n" % i for i in range(N_LINES)))
        assert log.scroll_offset.y == N_LINES - 10
        await hand.pause()
        assert log.scroll_offset.y == N_LINES - 10
        assert log.vertical_scrollbar.position == N_LINES - 10


async def test_lines_that_come_before_the_panel_has_a_size_are_seen_at_their_end() -> None:
    app = OnlyALog()
    async with app.run_test(size=(40, 10)) as hand:
        log = LogTail()
        log.show(b"".join(b"line %d\n" % i for i in range(N_LINES)))
        await app.query_one(LogTail).remove()
        await app.mount(log)
        await hand.pause()
        assert log.scroll_offset.y == N_LINES - 10
        assert log.vertical_scrollbar.position == N_LINES - 10
