"""Sections 12 and 13 of the Autobahn list through the tunnel: compression is the ends' business.

The server behind the gateway is `websockets`; client and deflating are the tests' own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.stage import Connection, Stage
from tests.websocket.deflate import Deflater, agreed, offer
from tests.websocket.echoes import in_front_of, websockets_echo
from tests.websocket.frames import BINARY, TEXT, Frame, read_frame
from tests.websocket.talking import opened, say

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIZES = (0, 16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072)
PARAMETERS = {
    "13.1": (),
    "13.2": ("client_no_context_takeover", "server_no_context_takeover"),
    "13.3": ("client_max_window_bits=9", "server_max_window_bits=9"),
    "13.4": ("client_max_window_bits=15", "server_max_window_bits=15"),
    "13.5": (
        *("client_no_context_takeover", "server_no_context_takeover"),
        *("client_max_window_bits=9", "server_max_window_bits=9"),
    ),
    "13.6": (
        *("client_no_context_takeover", "server_no_context_takeover"),
        *("client_max_window_bits=15", "server_max_window_bits=15"),
    ),
    "13.7": ("client_max_window_bits", "server_no_context_takeover"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Stage]:
    async with websockets_echo(compression="deflate") as port, in_front_of(port) as scene:
        yield scene


def like_json(size: int) -> bytes:
    """Text that packs well, but is not the same everywhere."""
    chance = random.Random(size)
    words = (f'{{"n":{chance.randrange(1000)},"ok":true}},' for _ in range(size // 8 + 1))
    return "".join(words).encode()[:size]


async def message(connection: Connection) -> list[Frame]:
    frames = [await read_frame(connection, rsv=4)]
    while not frames[-1].fin:
        frames.append(await read_frame(connection))
    return frames


@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
@pytest.mark.parametrize("fragment", [0, 256], ids=["", "in fragments"])
@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS)
async def test_deflated_messages_come_back_as_they_were(
    scene: Stage, parameters: tuple[str, ...], fragment: int, opcode: int
) -> None:
    client, head = await opened(scene.port, b"/api/ws", offer(*parameters))
    terms = agreed(head)
    assert terms is not None
    deflater = Deflater(
        int(terms.get("client_max_window_bits") or 15),
        int(terms.get("server_max_window_bits") or 15),
        fresh="client_no_context_takeover" in terms,
        theirs_fresh="server_no_context_takeover" in terms,
    )
    for size in SIZES:
        payload = like_json(size)
        saying = asyncio.create_task(say(client, deflater.message(payload, opcode, fragment)))
        frames = await message(client)
        assert frames[0].opcode == opcode
        assert deflater.unpack(frames) == payload
        await saying
    client.reset()


async def test_what_a_server_does_not_agree_to_is_not_agreed_to() -> None:
    async with websockets_echo() as port, in_front_of(port) as scene:
        client, head = await opened(scene.port, b"/api/ws", offer("client_max_window_bits"))
        assert agreed(head) is None
        client.reset()
