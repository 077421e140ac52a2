"""A page that leads a browser to a session: its path may be on a command line, the session's URL not."""

from __future__ import annotations

import html

from workbench.model.session import Session

_PAGE = """\
<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={url}">
<title>{title}</title>
<a href="{url}">{title}</a>
"""


def page_to(session: Session) -> str:
    """The page, with the session's token in it: for a file that only the user can read."""
    return _PAGE.format(url=html.escape(session.url, quote=True), title=f"Session {session.id}")
