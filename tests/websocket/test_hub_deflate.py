"""permessage-deflate with the gateway's own WebSocket (RFC 7692), off and on.

Where it is on, no message needs one before it, so that an update is compressed once for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.stage import Connection, Stage
from tests.websocket.cases import (
    CLOSES,
    FRAGMENTS,
    MIB,
    OPCODES,
    PINGS,
    UTF8,
    Case,
    bad,
    good,
    ways,
)
from tests.websocket.deflate import Deflater, agreed, final_block, offer, stored
from tests.websocket.frames import (
    CLOSE,
    CONT,
    PING,
    PONG,
    RSV1,
    TEXT,
    Frame,
    fragments,
    read_frame,
    sliced,
    text,
)
from tests.websocket.frames import ping as control_ping
from tests.websocket.frames import pong as control_pong
from tests.websocket.hub import (
    BEFORE,
    BEHIND,
    PATH,
    answered,
    fault,
    for_hub,
    hub,
    ping,
    said,
    worded,
)
from tests.websocket.hub import PONG as OURS
from tests.websocket.talking import opened, play
from tests.websocket.utf8 import SURROGATE

pytestmark = pytest.mark.asyncio(loop_scope="module")
MOST = 65536


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Stage]:
    async with hub(deflate=True) as scene:
        yield scene


async def deflating(scene: Stage, *parameters: str) -> Connection:
    client, head = await opened(scene.port, PATH, offer(*parameters))
    scene._clients.append(client)
    assert agreed(head) is not None
    assert said(await read_frame(client, rsv=RSV1)) == "welcome"
    return client


async def test_it_is_off_if_nothing_says_otherwise() -> None:
    async with hub() as scene:
        client, head = await opened(scene.port, PATH, offer("client_max_window_bits"))
        assert agreed(head) is None
        await read_frame(client)
        case = bad("", Frame(TEXT, Deflater().pack(b"{}"), rsv=RSV1))
        assert not fault(case, await play(client, case, 0), [], resets=False)


async def test_it_is_not_agreed_to_unasked(scene: Stage) -> None:
    client, head = await opened(scene.port, PATH)
    assert agreed(head) is None
    await read_frame(client)
    case = bad("", Frame(TEXT, Deflater().pack(b"{}"), rsv=RSV1))
    assert not fault(case, await play(client, case, 0), [], resets=False)


@pytest.mark.parametrize(
    "parameters",
    [
        (),
        ("client_max_window_bits",),
        ("client_max_window_bits=15",),
        ("client_max_window_bits=9",),
        ("server_no_context_takeover",),
        ("client_no_context_takeover", "server_no_context_takeover"),
        ("server_max_window_bits=15",),
    ],
)
async def test_offers_that_it_can_serve_are_taken(
    scene: Stage, parameters: tuple[str, ...]
) -> None:
    client, head = await opened(scene.port, PATH, offer(*parameters))
    terms = agreed(head)
    assert terms is not None
    assert "server_no_context_takeover" in terms  # else it may have to remember for each client
    # RFC 7692, 7.1.2.2: this may only be in the answer to an offer that has it.
    if not any(name.startswith("client_max_window_bits") for name in parameters):
        assert "client_max_window_bits" not in terms
    await read_frame(client, rsv=RSV1)
    case = good("", *Deflater(fresh=True).message(b'{"action":"ping"}'), answers=(text(),))
    assert not fault(case, await play(client, case, 0), [OURS], resets=False)


SMALL_WINDOW = ("server_max_window_bits=10",)
MALFORMED = (
    ("client_max_window_bits=7",),
    ("client_max_window_bits=16",),
    ("client_max_window_bits=010",),
    ("client_max_window_bits=",),
    ("server_max_window_bits",),
    ("server_max_window_bits=7",),
    ("server_max_window_bits=16",),
    ("server_no_context_takeover=1",),
    ("client_no_context_takeover=1",),
    ("server_no_context_takeover", "server_no_context_takeover"),
    ("client_max_window_bits", "client_max_window_bits=10"),
    ("foo",),
    ("foo=1",),
)


@pytest.mark.parametrize("parameters", [SMALL_WINDOW, *MALFORMED], ids=lambda p: "; ".join(p))
async def test_offers_that_it_cannot_serve_are_declined(
    scene: Stage, parameters: tuple[str, ...]
) -> None:
    """RFC 7692, 7.1 and 5.1: what is malformed, unknown or there twice is declined."""
    client, head = await opened(scene.port, PATH, offer(*parameters))
    terms = agreed(head)
    assert terms is None
    client.writer.transport.abort()


async def test_the_second_of_two_offers_can_be_taken(scene: Stage) -> None:
    both = offer("server_max_window_bits=10") + b", permessage-deflate"
    client, head = await opened(scene.port, PATH, both)
    assert agreed(head) is not None
    client.writer.transport.abort()


@pytest.mark.parametrize(
    "line",
    [
        b"Sec-WebSocket-Extensions: x-webkit-deflate-frame",
        b"Sec-WebSocket-Extensions: permessage-deflated",
        b"Sec-WebSocket-Extensions: foo, bar; baz=1",
        b"Sec-WebSocket-Extensions:",
    ],
)
async def test_other_extensions_are_declined(scene: Stage, line: bytes) -> None:
    client, head = await opened(scene.port, PATH, line)
    assert agreed(head) is None
    client.writer.transport.abort()


def deflated(name: str, *payloads: bytes, size: int = 0) -> Case:
    """Pings, deflated, in fragments of `size` bytes."""
    packer = Deflater(fresh=True)
    frames = [frame for payload in payloads for frame in packer.message(payload, size=size)]
    return good(name, *frames, answers=(text(),) * len(payloads))


def long(size: int) -> bytes:
    return ping(size).payload


def raw(payload: bytes) -> Frame:
    return Frame(TEXT, payload, rsv=RSV1)


_PACKED = Deflater(fresh=True).pack(long(100))
READ = (
    *(deflated(f"12 {size}", *[long(size)] * 20) for size in (17, 64, 256, 1024, 8192, 32768)),
    *(deflated(f"12 {size} in fragments", long(size), size=3) for size in (17, 1024, 65536)),
    deflated("as long as may be", long(MOST)),
    good("not deflated", ping(100), answers=(text(),)),
    good("some deflated", raw(_PACKED), ping(9999), raw(_PACKED), answers=(text(),) * 3),
    good("stored", raw(stored(long(100))), answers=(text(),)),
    good("a final block", raw(final_block(long(100))), answers=(text(),)),
    good(
        "another behind a final block",
        raw(final_block(long(100))),
        raw(_PACKED),
        answers=(text(),) * 2,
    ),
    good("a small window", raw(Deflater(9).pack(long(5000))), answers=(text(),)),
    good(
        "a ping between fragments",
        Frame(TEXT, _PACKED[:4], fin=False, rsv=RSV1),
        control_ping(b"x"),
        Frame(CONT, _PACKED[4:]),
        answers=(control_pong(b"x"), text()),
    ),
    good("empty fragments", *fragments(TEXT, b"", b"", _PACKED, b"", rsv=RSV1), answers=(text(),)),
)


@ways(READ)
async def test_deflated_messages_are_read(scene: Stage, case: Case, cut: int) -> None:
    client = await deflating(scene)
    wanted = [OURS if answer.opcode == TEXT else answer for answer in case.answers]
    assert not fault(case, await play(client, case, cut), wanted, resets=False)


JUNK = b"\xff\xff\xff\xff\xff"
REFUSED = (
    bad("the bit in a ping", Frame(PING, b"x", rsv=RSV1)),
    bad("the bit in a pong", Frame(PONG, b"x", rsv=RSV1)),
    bad("the bit in a close", Frame(CLOSE, b"\x03\xe8", rsv=RSV1)),
    bad(
        "the bit in a continuation",
        Frame(TEXT, _PACKED[:4], fin=False, rsv=RSV1),
        Frame(CONT, _PACKED[4:], rsv=RSV1),
    ),
    bad("another bit", Frame(TEXT, _PACKED, rsv=RSV1 | 2)),
    bad("no UTF-8", raw(Deflater().pack(BEFORE + SURROGATE + BEHIND)), code=1007),
    bad("too long", raw(Deflater().pack(long(MOST + 1))), code=1009),
    bad("too long by far", raw(Deflater().pack(bytes(64 * MIB))), code=1009),
    bad(
        "too long in fragments",
        *fragments(TEXT, *sliced(Deflater().pack(bytes(8 * MIB)), 100), rsv=RSV1),
        code=1009,
    ),
    bad("too long before it is inflated", raw(stored(long(MOST + 1))), code=1009),
)


@ways(REFUSED, "whole", "framewise")
async def test_what_deflated_is_wrong_is_refused(scene: Stage, case: Case, cut: int) -> None:
    client = await deflating(scene)
    assert not fault(case, await play(client, case, cut), [], resets=True)


@pytest.mark.parametrize("junk", [JUNK, b"\x07", _PACKED[:-3] + JUNK, b"x\x9c" + _PACKED])
async def test_what_cannot_be_inflated_is_refused(scene: Stage, junk: bytes) -> None:
    client = await deflating(scene)
    case = bad("", raw(junk))
    heard = await play(client, case, 0)
    assert heard.code in {1002, 1007}
    assert not heard.frames


async def test_the_list_is_met_with_the_extension_agreed_to(scene: Stage) -> None:
    async def faulty(case: Case) -> str:
        client = await deflating(scene)
        heard = await play(client, case, 0, worded(case.sent))
        return fault(case, heard, answered(case.answers), resets=True)

    cases = for_hub((*PINGS, *OPCODES, *FRAGMENTS, *CLOSES, *UTF8[:20]))
    faults = await asyncio.gather(*(faulty(case) for case in cases))
    assert not {case.name: f for case, f in zip(cases, faults, strict=True) if f}


async def test_updates_are_deflated_each_by_itself(scene: Stage) -> None:
    plain, _ = await opened(scene.port, PATH)
    packed = await deflating(scene, "client_max_window_bits")
    await read_frame(plain)
    for client in (plain, packed):
        await client.send(text(b'{"action":"subscribe","symbols":["AAPL"]}').wire())
        assert said(await read_frame(client, rsv=RSV1)) == "subscribed"
    for price in range(3):
        note = b"x" * 500 * price
        event = b'{"symbol":"AAPL","predicted_price":%d,"note":"%b"}' % (price, note)
        await scene.gateway._live.publish(event)
        open_, shut = await read_frame(plain), await read_frame(packed, rsv=RSV1)
        assert not open_.rsv
        assert b"predicted_price" in open_.payload
        assert Deflater().unpack([shut]) == open_.payload
        assert len(shut.payload) < len(open_.payload) or not price
    for client in (plain, packed):
        client.writer.transport.abort()
