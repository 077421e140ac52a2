"""An agent at a shell that ends before it has taken the agent's source."""

import pytest

from workbench.errors import ConnectionFailed, LinkLost
from workbench.remote.agent_session import AgentSession

TOKEN = "1f2e3d"


class EndedPipe:
    """A pipe whose other end has said something and is gone: nothing can be written to it."""

    def __init__(self, out: bytes = b"", err: str = "") -> None:
        self._out = [out[start : start + 7] for start in range(0, len(out), 7)]
        self._err = err

    async def read(self) -> bytes:
        return self._out.pop(0) if self._out else b""

    async def write(self, data: bytes) -> None:
        raise LinkLost("login", "the connection was lost (Channel not open for sending)")

    def close(self) -> None: ...

    async def wait_closed(self) -> None: ...

    def said(self) -> str:
        return self._err


@pytest.mark.parametrize(
    ("pipe", "reason"),
    [
        (
            EndedPipe(f"Welcome to the cluster\n{TOKEN} none\n".encode()),
            "no Python 3 on it that could be found",
        ),
        (
            EndedPipe(b"Welcome to the cluster\n", "This account is closed.\n"),
            r"\(This account is closed.\); try `ssh`",
        ),
        (EndedPipe(b"Welcome to the cluster\n"), "Channel not open for sending"),
        (EndedPipe(), "Channel not open for sending"),
    ],
)
async def test_its_last_words_are_the_reason(pipe: EndedPipe, reason: str) -> None:
    with pytest.raises(ConnectionFailed, match=reason):
        await AgentSession("login", pipe).begin(TOKEN, ping_s=5)
