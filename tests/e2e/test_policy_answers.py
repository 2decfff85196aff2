"""Answers that break the protocol, and upstreams that give none: what the client is told, and that
the connection to such an upstream is thrown away with all that it may still say."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.e2e.policy import (
    CONTROL,
    check_error,
    comes_down,
    end,
    sent_up,
    told,
    until_gone,
)
from tests.e2e.stage import GET, OK, PATIENCE, Connection, Stage, stage

SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned"


async def another_answers(scene: Stage, client: Connection) -> None:
    """The client's next request gets its own answer, by another connection."""
    await client.send(CONTROL)
    target = await scene.upstream.accept()
    assert (await target.head()).startswith(b"GET /api/control ")
    await target.send(OK)
    answer = await told(client)
    assert answer.status == 200
    assert answer.body == b"ok"


async def until_reset(client: Connection) -> bytes:
    """What comes until the connection is cut; one that ends politely fails the test."""
    seen = b""
    async with asyncio.timeout(PATIENCE):
        try:
            while piece := await client.reader.read(1 << 16):
                seen += piece
        except ConnectionResetError:
            return seen
    pytest.fail("it ended politely")


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"Content-Length: 2\r\nContent-Length: 3",
        b"Transfer-Encoding: chunked\r\nContent-Length: 0", b"Content-Length: 2, 3",
        b"Content-Length: 2\r\nA: b\r\ncontent-length: 9", b"Content-Length:",
        b"Content-Length: +2",
        b"Content-Length: -2", b"Content-Length: 0x2", b"Content-Length: 2a",
        b"Content-Length: 2 2", b"Content-Length: " + b"9" * 30, b"Content-Length: 1_0",
        b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer-Encoding:",
        b"Transfer-Encoding : chunked", b"Transfer-Encoding: \x0bchunked",
        b"Content-Length: 2\r\nTransfer-Encoding: gzip",
    ],
)  # fmt: skip
async def test_an_answer_of_uncertain_length_is_a_bad_gateway(framing: bytes) -> None:
    async with stage() as scene:
        bad = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\nX-Secret: a\r\n\r\n" + SECOND
        client, target, answer = await comes_down(scene, bad)
        check_error(answer, 502)
        assert b"Secret" not in answer.head
        assert await until_gone(target) == b""
        await another_answers(scene, client)


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 2 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1",
        b"HTTP/1.1 OK", b"HTTP/1.1 20x OK", b"HTTP/1.1  200 OK", b"HTTP/1.1\t200 OK",
        b" HTTP/1.1 200 OK", b"http/1.1 200 OK", b"HTTP/2 200 OK", b"HTTP/2.0 200 OK",
        b"HTTP/1.2 200 OK", b"HTTP/0.9 200 OK", b"HTTP/1.1 200 O\rK", b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 O\nK", b"HTTP/1.1 200OK", b"HTTP/1.1 -200 OK", b"HTTP/1.1 +20 OK",
        b"ICY 200",
        b"SSH-2.0-OpenSSH_9.2", b"GET / HTTP/1.1", b"<html>", b"\x16\x03\x03", b"\xff" * 20, b"",
        b"220 mail ESMTP", b"+OK ready",
    ],
)  # fmt: skip
async def test_a_bad_status_line_is_a_bad_gateway(first: bytes) -> None:
    async with stage() as scene:
        bad = first + b"\r\nContent-Length: 2\r\n\r\nok"
        client, target, answer = await comes_down(scene, bad)
        check_error(answer, 502)
        assert await until_gone(target) == b""
        await another_answers(scene, client)


@pytest.mark.parametrize(
    "line",
    [
        b"A : b", b" A: b", b"\tA: b", b"A: b\r\n c", b"A: b\rB: c", b"A: b\nB: c", b"A: \x00",
        b"A: \x01", b"A\x00: b", b"\xff: b", b"A", b": b", b"A B: c", b"A: b\r",
        b"A: " + b"b" * 65536, b"A: b\r\n" * 199 + b"A: c", b"A: %b\r\nB: c" % (b"b" * 65530),
    ],
)  # fmt: skip
async def test_a_bad_head_is_a_bad_gateway(line: bytes) -> None:
    async with stage() as scene:
        bad = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + line + b"\r\n\r\n"
        client, target, answer = await comes_down(scene, bad)
        check_error(answer, 502)
        assert await until_gone(target) == b""
        await another_answers(scene, client)


@pytest.mark.parametrize("limits", [{"response_header_bytes": 60}, {"response_header_count": 3}])
async def test_the_limits_of_an_answers_head_are_settings(limits: dict[str, int]) -> None:
    async with stage(limits=limits) as scene:
        lines = b"Content-Length: 2\r\n" + b"Abcdefgh: ijklmnop\r\n" * 3 + b"\r\nok"
        _, target, answer = await comes_down(scene, b"HTTP/1.1 200 OK\r\n" + lines)
        check_error(answer, 502)
        assert await until_gone(target) == b""


async def test_a_head_without_an_end_is_a_bad_gateway() -> None:
    async with stage() as scene:
        client, target, _ = await sent_up(scene, GET)
        target.writer.write(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 50_000)
        check_error(await told(client), 502)
        await until_gone(target)


@pytest.mark.parametrize("part", [b"", b"H", b"HTTP/1.1 200 OK\r\n", OK.partition(b"\r\n\r\n")[0]])
@pytest.mark.parametrize("dies", [True, False], ids=["reset", "close"])
async def test_an_end_before_the_head_is_whole_is_a_bad_gateway(part: bytes, dies: bool) -> None:
    async with stage() as scene:
        client, target, _ = await sent_up(scene, GET)
        if part:
            await target.send(part)
        if dies:
            target.reset()
        else:
            await target.close()
        check_error(await told(client), 502)
        await another_answers(scene, client)


@pytest.mark.parametrize(
    "chunk",
    [
        b"x\r\n", b"-1\r\n", b"+1\r\na\r\n", b"0x1\r\na\r\n", b"1\na\r\n", b"1\r\na\n",
        b"1\r\nab\r\n",
        b" 1\r\na\r\n", b"1 \r\na\r\n", b"\r\n", b"f" * 16 + b"\r\n", b"1;\x00\r\na\r\n",
        b"1;" + b"a" * 300 + b"\r\n", b"0\r\nA : b\r\n\r\n", b"0\r\n\n",
        b"0\r\n" + b"A: b\r\n" * 20000,
    ],
)  # fmt: skip
async def test_a_bad_chunk_cuts_the_client(chunk: bytes) -> None:
    async with stage() as scene:
        client, target, _ = await sent_up(scene, GET)
        await target.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await client.head()
        assert await client.until(b"half\r\n") == b"4\r\nhalf\r\n"
        await client.send(CONTROL)  # it would be answered, were the connection used again
        target.writer.write(chunk)
        seen = await until_reset(client)
        assert b"0\r\n\r\n" not in seen
        assert b"HTTP/1.1" not in seen
        await until_gone(target)
        assert scene.upstream.idle


@pytest.mark.parametrize(
    "behind", [b"x", b"\r\n", SECOND, b"HTTP/1.1 100 Continue\r\n\r\n", b"\0" * 70_000]
)
@pytest.mark.parametrize("framed", [OK, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"])
async def test_bytes_behind_an_answer_go_with_their_connection(
    framed: bytes, behind: bytes
) -> None:
    async with stage() as scene:
        client, target, _ = await sent_up(scene, GET)
        target.writer.write(framed + (b"0\r\n\r\n" if framed is not OK else b"") + behind)
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert await client.exactly(2 if framed is OK else 5) in (b"ok", b"0\r\n\r\n")
        await until_gone(target)
        await another_answers(scene, client)


async def test_bytes_that_come_while_nobody_asks_go_with_their_connection() -> None:
    async with stage() as scene:
        client, target, _ = await comes_down(scene, OK)
        await target.send(SECOND)
        await until_gone(target)
        await another_answers(scene, client)


@pytest.mark.parametrize("upgrade", [b"", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"])
async def test_a_switch_that_nobody_asked_for_is_a_bad_gateway(upgrade: bytes) -> None:
    async with stage() as scene:
        bad = b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade + b"\r\nraw bytes"
        client, target, answer = await comes_down(scene, bad)
        check_error(answer, 502)
        await until_gone(target)
        await another_answers(scene, client)


# ------------------------------------------------------------------------------------ no answer


async def test_a_target_that_refuses_is_unavailable() -> None:
    async with stage() as scene:
        await scene.upstream.stop()
        client = await scene.client()
        await client.send(GET)
        check_error(await told(client), 503)


async def test_a_target_without_an_address_is_unavailable() -> None:
    async with stage(route={"target_url": "http://nobody.invalid:8001"}) as scene:
        client = await scene.client()
        await client.send(GET)
        answer = await told(client)
        check_error(answer, 503)
        assert b"nobody" not in answer.head + answer.body


async def test_a_connection_that_is_not_made_in_time_is_a_time_out() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for other in (first, second):  # they fill its queue: it answers no further one
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        async with stage(connect_timeout=0.2, route={"target_url": url}) as scene:
            client = await scene.client()
            await client.send(GET)
            check_error(await told(client), 504)


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 103 Hints\r\n\r\n"])
async def test_a_head_that_does_not_come_in_time_is_a_time_out(part: bytes) -> None:
    async with stage(timeout=0.15) as scene:
        client, target, _ = await sent_up(scene, GET)
        if part:
            await target.send(part)
        if b"103" in part:
            await client.head()
        check_error(await told(client), 504)
        await until_gone(target)
        await another_answers(scene, client)


async def test_no_time_is_counted_while_a_body_flows() -> None:
    async with stage(timeout=0.15) as scene:
        upload = b"POST /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n"
        client, target, _ = await sent_up(scene, upload)
        for _ in range(8):
            await client.send(b"x")
            await asyncio.sleep(0.04)
        await target.exactly(8)
        await target.send(OK)
        assert (await told(client)).status == 200


@pytest.mark.parametrize("sent", [0, 64 * 1024, 64 * 1024 + 1])
async def test_a_failure_closes_what_has_more_than_64_kib_to_come(sent: int) -> None:
    """What the error leaves unread of a body is read for the connection's sake, or not."""
    async with stage() as scene:
        await scene.upstream.stop()  # the request fails before its body is read
        client = await scene.client()
        length = b"POST /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % sent
        await client.send(length)
        answer = await told(client)
        check_error(answer, 503)
        assert answer.closes == (sent > 64 * 1024)
        if answer.closes:
            await end(client)
            return
        await client.send(b"x" * sent + GET)
        check_error(await told(client), 503)
