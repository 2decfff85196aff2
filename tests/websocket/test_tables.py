"""The tables themselves, played to a server that is not ours: `websockets`, which is strict.

It answers elsewhere than where it reads, so what Autobahn calls non-strict is allowed to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.websocket.cases import FRAMING, LARGE, SMALL, Case, ways
from tests.websocket.echoes import websockets_echo
from tests.websocket.talking import complaint, opened, play
from tests.websocket.utf8 import INVALID, VALID

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port() -> AsyncIterator[int]:
    async with websockets_echo() as port:
        yield port


@ways((*SMALL, *FRAMING, *LARGE), "whole")
async def test_a_strict_server_meets_the_table(port: int, case: Case, cut: int) -> None:
    client, _ = await opened(port, b"/api/ws")
    heard = await play(client, case, cut)
    assert not complaint(case, heard, case.answers, drops=True, resets=False)


async def test_pythons_decoder_calls_valid_what_the_table_does() -> None:
    for sequence in VALID.values():
        sequence.decode()
    for sequence in INVALID.values():
        with pytest.raises(UnicodeDecodeError):
            sequence.decode()
