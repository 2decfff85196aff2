"""What passes through the tunnel is bytes: neither end is put right, whatever it does wrong.

The other end is a bare socket that notes what comes, and says what no server may.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.stage import Connection, Stage, Upstream, gateway_on, settings
from tests.e2e.tunnels import SWITCH, comes_true, ends, messages, tunnels, unused
from tests.websocket.cases import ALLOWED_CODES, FORBIDDEN_CODES, FRAMING, LARGE, SMALL, Case
from tests.websocket.frames import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    TEXT,
    Frame,
    close,
    fragments,
    ping,
    text,
)
from tests.websocket.talking import chops, upgrade

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Stage]:
    upstream = Upstream()
    await upstream.start()
    async with gateway_on(settings(upstream, access_log=False)) as (gateway, port):
        scene = Stage(gateway, upstream, port, -1)
        yield scene
        scene.close_clients()
    await upstream.stop()


async def ends_of(scene: Stage, behind: bytes = b"") -> tuple[Connection, Connection]:
    """A client and the target at the other end; `behind` is sent with the client's head."""
    client = await scene.client()
    await client.send(upgrade(b"/api/ws") + behind)
    target = await scene.upstream.accept()
    await target.head()
    await target.send(SWITCH)
    assert (await client.head()).startswith(b"HTTP/1.1 101 ")
    return client, target


async def over(scene: Stage, *connections: Connection) -> None:
    for connection in connections:
        connection.writer.transport.abort()
    await comes_true(lambda: unused(scene) and not tunnels(scene))


SENT: dict[str, tuple[Case, ...]] = {}
for _case in (*SMALL, *FRAMING, *LARGE):
    _section = ".".join(_case.name.split(".")[:2]).split(" ")[0]
    SENT[_section] = (*SENT.get(_section, ()), _case)


@pytest.mark.parametrize("cases", SENT.values(), ids=SENT)
async def test_what_a_client_sends_arrives_as_it_was_sent(
    scene: Stage, cases: tuple[Case, ...]
) -> None:
    client, target = await ends_of(scene)
    for case in cases:
        wire = b"".join(chops(case.sent, 0))
        _, came = await asyncio.gather(client.send(wire), target.exactly(len(wire)))
        assert came == wire, case.name
    await over(scene, client, target)


@pytest.mark.parametrize("cases", SENT.values(), ids=SENT)
async def test_what_a_server_sends_arrives_as_it_was_sent(
    scene: Stage, cases: tuple[Case, ...]
) -> None:
    client, target = await ends_of(scene)
    for case in cases:
        wire = b"".join(frame.wire(None) for frame in case.sent)
        _, came = await asyncio.gather(target.send(wire), client.exactly(len(wire)))
        assert came == wire, case.name
    await over(scene, client, target)


HUGE = b"\x82\x7f" + (1 << 62).to_bytes(8)
ODD = {
    "a masked frame": text().wire(),
    "a masked close": close().wire(),
    "a masked ping with no mask to speak of": ping(b"x").wire(b"\0\0\0\0"),
    "a frame of four exabytes": HUGE + bytes(1000),
    "a length with its first bit set": b"\x82\x7f" + b"\xff" * 8 + bytes(1000),
    "lengths longer than they have to be": b"\x81\x7e\x00\x01a\x81\x7f" + bytes(7) + b"\x01b",
    "a ping of 64 KiB in two fragments": Frame(PING, bytes(65536), fin=False).wire(None)
    + Frame(CONT, b"x").wire(None),
    "a close of one byte": Frame(CLOSE, b"\x03").wire(None),
    "two closes, and talk behind them": close().wire(None) * 2 + text(b"still here").wire(None),
    "no UTF-8": text(b"\xff\xfe").wire(None),
    "every reserved bit and opcode": b"".join(
        Frame(opcode, b"x", rsv=rsv).wire(None) for opcode in range(16) for rsv in range(8)
    ),
    "another answer": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
    "another request": b"GET /admin HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    "zeros": bytes(70000),
    "ones": b"\xff" * 70000,
    "half a head": b"\x82",
    "half a length": b"\x82\x7f\x00",
}


@pytest.mark.parametrize("wire", ODD.values(), ids=ODD)
@pytest.mark.parametrize("cut", [0, 1], ids=["whole", "octetwise"])
async def test_what_a_server_may_not_say_reaches_the_client_all_the_same(
    scene: Stage, wire: bytes, cut: int
) -> None:
    client, target = await ends_of(scene)
    if cut:
        wire = wire[:600]
    for at in range(0, len(wire), cut or len(wire)):
        await target.send(wire[at : at + (cut or len(wire))])
        await asyncio.sleep(0)
    assert await client.exactly(len(wire)) == wire
    client.writer.write(wire)  # and the other way
    assert await target.exactly(len(wire)) == wire
    await over(scene, client, target)


CODES = (*ALLOWED_CODES, *FORBIDDEN_CODES, 5000, 65535)


async def test_both_ends_see_each_others_close_codes(scene: Stage) -> None:
    for code in CODES:
        client, target = await ends_of(scene)
        said = close(code, b"because") if code != 1005 else Frame(CLOSE, b"\x03\xed")
        await client.send(said.wire())
        assert await target.exactly(len(said.wire())) == said.wire()
        answer = close(4000, b"%d" % code).wire(None)
        await target.send(answer)
        assert await client.exactly(len(answer)) == answer
        target.writer.close()
        assert await ends(client) == b""
        await over(scene, client, target)


async def test_a_close_that_is_not_answered_is_no_end_of_the_tunnel(scene: Stage) -> None:
    client, target = await ends_of(scene)
    goodbye = close(1001).wire()
    await client.send(goodbye)
    assert await target.exactly(len(goodbye)) == goodbye
    for number in range(10):
        more = text(b"%d more" % number).wire(None)
        await target.send(more)
        assert await client.exactly(len(more)) == more
    assert tunnels(scene) == 1
    await over(scene, client, target)


async def test_a_client_that_closes_both_ways_at_once_is_heard_to_its_end(scene: Stage) -> None:
    client, target = await ends_of(scene)
    last = text(b"*" * 100000).wire() + close(1000).wire()
    client.writer.write(last)
    client.writer.write_eof()
    assert await ends(target) == last
    await over(scene, client, target)


async def test_frames_with_the_head_are_frames_and_no_request(scene: Stage) -> None:
    early = text(b"GET /admin HTTP/1.1\r\nHost: gateway.test\r\n\r\n").wire(b"\0\0\0\0")
    client, target = await ends_of(scene, early)
    assert await target.exactly(len(early)) == early
    assert scene.upstream.idle
    await over(scene, client, target)


async def test_a_message_is_counted_once_however_many_frames_it_is(scene: Stage) -> None:
    client, target = await ends_of(scene)
    received, sent = messages(scene)
    many = fragments(TEXT, *[b""] * 5000, *[b"x"] * 5000)
    wire = b"".join(frame.wire() for frame in many) + Frame(BINARY, rsv=4).wire() + ping().wire()
    await asyncio.gather(client.send(wire), target.exactly(len(wire)))
    await target.send(wire)
    assert await client.exactly(len(wire)) == wire
    assert messages(scene) == (received + 2, sent + 2)
    await over(scene, client, target)
