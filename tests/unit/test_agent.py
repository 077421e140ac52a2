from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from tests.waiting import PATIENCE_S
from workbench.remote.agent import HEADER

PROGRAM = "from workbench.remote import agent; agent.SILENCE_S = 2.0; agent.main('token')"


async def test_an_agent_that_hears_nothing_any_more_ends_with_all_that_it_has_started() -> None:
    asked = {"do": "run", "argv": ["sh", "-c", "echo $$; exec sleep 1000"], "cwd": "", "env": {}}
    text = json.dumps({**asked, "stdin": False}).encode()
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert agent.stdin is not None
    assert agent.stdout is not None
    agent.stdin.write(HEADER.pack(b"Q", 1, len(text)) + text)
    async with asyncio.timeout(PATIENCE_S):
        assert await agent.stdout.readline() == b"token here\n"
        pid, kind = 0, b""
        while kind != b"O":
            kind, _, size = HEADER.unpack(await agent.stdout.readexactly(HEADER.size))
            pid = int(await agent.stdout.readexactly(size) or 0)
        assert await agent.wait() == 0  # though its stdin is still open
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    agent.stdin.close()
