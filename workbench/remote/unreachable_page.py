"""The answer to an HTTP request whose target cannot be reached: a 503 that tries again by itself.

Pure: bytes in, bytes out.
"""

from __future__ import annotations

import html
import re
import time

_REQUEST = re.compile(rb"[A-Z]{3,16} \S+ HTTP/1\.[01]\r?\n")
_MOST_BYTES = 1 << 14
RETRY_S = 2
_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="{retry_s}">
<meta name="viewport" content="width=device-width">
<title>Waiting for {name}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40em; margin: 15vh auto; padding: 0 1em }}
@media (prefers-color-scheme: dark) {{ body {{ background: #181818; color: #ddd }} }}
</style>
<h1>{name} cannot be reached at the moment</h1>
<p>{why}
<p>Since {since}. This page tries again every {retry_s} seconds; nothing needs to be done here, and what
runs on the cluster goes on.
</html>
"""


def is_request(data: bytes) -> bool:
    """Whether these first bytes are those of an HTTP request."""
    return _REQUEST.match(data) is not None


def may_become_request(data: bytes) -> bool:
    """Whether more bytes could make them the whole head of one."""
    return len(data) < _MOST_BYTES and (is_request(data) or (b"\n" not in data and data[:1].isupper()))


def unreachable(request: bytes, name: str, why: str, since: float) -> bytes:
    """The whole response; a page for people, and a line of text for programs.

    Args:
        request: As much of it as has come.
        name: Of what was to be reached.
        why: A sentence; any text, for it is escaped.
        since: Seconds since 1970.
    """
    began = time.strftime("%H:%M:%S", time.localtime(since))
    if re.search(rb"\r\naccept:[^\r\n]*text/html", request, re.IGNORECASE):
        kind = "text/html"
        text = _PAGE.format(retry_s=RETRY_S, name=html.escape(name), why=html.escape(why), since=began)
    else:
        kind = "text/plain"
        text = f"{name} cannot be reached since {began}: {why}\n"
    body = text.encode()
    head = (
        "HTTP/1.1 503 Service Unavailable",
        f"Content-Type: {kind}; charset=utf-8",
        f"Content-Length: {len(body)}",
        f"Retry-After: {RETRY_S}",
        "Cache-Control: no-store",
        "Connection: close",
    )
    return "\r\n".join((*head, "", "")).encode() + (b"" if request.startswith(b"HEAD ") else body)
