"""The Autobahn list, played to the gateway's own WebSocket. Expectations are the strict ones."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.stage import Stage
from tests.websocket.cases import FRAMING, MIB, SIZES, SMALL, Case, bad, good, ways
from tests.websocket.frames import (
    BINARY,
    CONT,
    TEXT,
    Frame,
    binary,
    fragments,
    sliced,
    text,
)
from tests.websocket.frames import ping as control_ping
from tests.websocket.frames import pong as control_pong
from tests.websocket.hub import (
    BAD_JSON,
    BEFORE,
    BEHIND,
    PONG,
    answered,
    fault,
    for_hub,
    hub,
    ping,
    welcomed,
    worded,
)
from tests.websocket.talking import play

pytestmark = pytest.mark.asyncio(loop_scope="module")
MOST = 65536
"""Bytes of a message that the hub takes."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Stage]:
    async with hub() as scene:
        yield scene


@ways(for_hub(SMALL))
async def test_the_hub_meets_the_table(scene: Stage, case: Case, cut: int) -> None:
    client = await welcomed(scene)
    heard = await play(client, case, cut, worded(case.sent))
    # A client that goes on talking behind its mistake may be told so by a reset.
    assert not fault(case, heard, answered(case.answers), resets=bool(cut))


assert len(for_hub(FRAMING)) == len(SIZES)
FRAMED = tuple(good(f"1.1 {size}", ping(size)) for size in SIZES[1:])


@ways(FRAMED)
async def test_messages_of_every_length_are_read(scene: Stage, case: Case, cut: int) -> None:
    client = await welcomed(scene)
    case = good(case.name, *case.sent, answers=(text(),))
    assert not fault(case, await play(client, case, cut), [PONG], resets=False)


OWN = (
    (good("nothing is no JSON", text(b""), answers=(text(),)), [BAD_JSON]),
    (good("a string is no object", text(b'"ping"'), answers=(text(),)), [BAD_JSON]),
    (
        good("9.3", *fragments(TEXT, *sliced(ping(MOST).payload, 64)), answers=(text(),)),
        [PONG],
    ),
    (
        good("an empty fragment first", *fragments(TEXT, b"", ping(20).payload), answers=(text(),)),
        [PONG],
    ),
    (
        good("and last", *fragments(TEXT, ping(20).payload, b"", b""), answers=(text(),)),
        [PONG],
    ),
    (
        good(
            "9.7",
            *(ping(size) for size in (17, 64, 256, 1024, 4096) for _ in range(200)),
            answers=(text(),) * 1000,
        ),
        [PONG] * 1000,
    ),
    (bad("5.c", Frame(TEXT, fin=False), ping(17)), []),
    (bad("5.d", Frame(TEXT, fin=False), Frame(TEXT, fin=False), ping(17)), []),
    (bad("5.e", *[Frame(TEXT, fin=False), Frame(CONT, fin=False)], ping(17)), []),
    (bad("5.f in binary", Frame(BINARY, fin=False), ping(17)), []),
    (bad("1.2 binary", binary(), code=1003), []),
    (bad("1.2.1 nothing, in binary", binary(b""), code=1003), []),
    (bad("9.4", *fragments(BINARY, b"a", b"b", b"c"), code=1003), []),
    (
        bad("binary behind text", ping(17), binary(b"\xff\x00"), code=1003, answers=(text(),)),
        [PONG],
    ),
    (bad("9.1 one too many", ping(MOST + 1), code=1009), []),
    (bad("9.1 a MiB", ping(MIB), code=1009), []),
    (bad("9.2 one too many", binary(bytes(MOST + 1)), code=1009), []),
    (bad("9.3 too many in all", *fragments(TEXT, *sliced(b" " * MIB, 4096)), code=1009), []),
    (
        bad("9.3 one too many in all", *fragments(TEXT, b" " * MOST, b"", b" "), code=1009),
        [],
    ),
    (
        bad(
            "9.3 with pings between",
            Frame(TEXT, b" " * 40000, fin=False),
            control_ping(b"x"),
            Frame(CONT, b" " * 40000),
            code=1009,
            answers=(control_pong(b"x"),),
        ),
        [control_pong(b"x")],
    ),
    (bad("6 cut at the end of a message", text(BEFORE + b"\xe2\x82"), code=1007), []),
    (
        bad(
            "6 a character over a limit of fragments",
            *fragments(TEXT, BEFORE + b"\xed", b"", b"\xa0", b"", b"\x80" + BEHIND),
            code=1007,
        ),
        [],
    ),
)


@pytest.mark.parametrize("cut", [0, -1], ids=["whole", "framewise"])
@pytest.mark.parametrize(("case", "words"), OWN, ids=[case.name for case, _ in OWN])
async def test_what_the_hub_alone_says(
    scene: Stage, case: Case, words: list[object], cut: int
) -> None:
    client = await welcomed(scene)
    assert not fault(case, await play(client, case, cut), words, resets=case.size > MOST)
