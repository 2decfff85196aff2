"""The Autobahn list through the tunnel: whoever is at its other end, the client cannot tell.

Behind the gateway is `websockets`, which meets the whole table by itself, and then aiohttp, which
does not (see there): through the tunnel it must answer as it does without one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.stage import Stage
from tests.websocket.cases import CHOPPED, FRAMING, LARGE, MIB, SMALL, Case, good, ways
from tests.websocket.echoes import aiohttp_echo, in_front_of, websockets_echo
from tests.websocket.frames import BINARY, TEXT, Frame, close
from tests.websocket.talking import EOF, RESET, complaint, opened, play

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = b"/api/ws"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict() -> AsyncIterator[Stage]:
    async with websockets_echo() as port, in_front_of(port) as scene:
        yield scene


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lenient() -> AsyncIterator[Stage]:
    async with aiohttp_echo() as port, in_front_of(port) as scene:
        yield scene


@ways((*SMALL, *FRAMING, *LARGE))
async def test_a_strict_server_meets_the_table_through_the_tunnel(
    strict: Stage, case: Case, cut: int
) -> None:
    client, _ = await opened(strict.port, PATH)
    assert not complaint(case, await play(client, case, cut), case.answers, drops=True, resets=True)


@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["9.5", "9.6"])
@pytest.mark.parametrize("chop", CHOPPED)
async def test_a_large_message_in_small_writes_comes_back(
    strict: Stage, opcode: int, chop: int
) -> None:
    case = good("", Frame(opcode, b"*" * MIB), answers=(Frame(opcode, b"*" * MIB),))
    client, _ = await opened(strict.port, PATH)
    assert not complaint(
        case, await play(client, case, chop), case.answers, drops=True, resets=True
    )


@pytest.mark.parametrize("size", [0, 16, 64, 256, 1024, 4096])
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["9.7", "9.8"])
async def test_a_thousand_messages_at_once_come_back(strict: Stage, opcode: int, size: int) -> None:
    many = tuple(Frame(opcode, (b"%d " % n * size)[:size]) for n in range(1000))
    case = good("", *many, answers=many)
    client, _ = await opened(strict.port, PATH)
    assert not complaint(case, await play(client, case, 0), case.answers, drops=True, resets=True)


@ways((*SMALL, *FRAMING), "whole")
async def test_a_lenient_server_says_through_the_tunnel_what_it_says_without(
    lenient: Stage, case: Case, cut: int
) -> None:
    upstream: Any = lenient.upstream
    sent = (*case.sent, close()) if case.ends else case.sent  # it does not end all that it should
    heard = []
    for port in (upstream.port, lenient.port):
        client, _ = await opened(port, PATH)
        heard.append(await play(client, case, cut, sent))
    without, through = heard
    assert (through.frames, through.code) == (without.frames, without.code)
    # Whether a server's last words are followed by a reset is a matter of what it had yet to read.
    assert {through.end, without.end} <= {EOF, RESET}
