"""Once an answer has begun, a failure cuts the connection: a short body never looks whole."""

from __future__ import annotations

import pytest

from tests.e2e.answering import answering, closed, in_front, is_cut, request
from tests.e2e.stage import GET, OK, Connection, Stage, stage

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhalf"
GET_10 = b"GET /api/x HTTP/1.0\r\nHost: a\r\n\r\n"
GET_10_KEEP = b"GET /api/x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"

ASKED = pytest.mark.parametrize("asked", [GET, GET_10, GET_10_KEEP], ids=["1.1", "1.0", "1.0 keep"])


async def half_way(scene: Stage, asked: bytes, answer: bytes) -> tuple[Connection, Connection]:
    """A client that has read half of an answer, and the target that sent it."""
    client = await scene.client()
    await client.send(asked)
    target = await scene.upstream.accept()
    await target.head()
    await target.send(answer)
    await client.head()
    framed = b"HTTP/1.1" in asked and answer is not LENGTH
    await client.until(b"half\r\n" if framed else b"half")
    return client, target


@ASKED
@pytest.mark.parametrize("answer", [LENGTH, CHUNKS], ids=["length", "chunks"])
async def test_an_upstream_that_hangs_up_half_way_cuts_the_client(
    asked: bytes, answer: bytes
) -> None:
    async with stage() as scene:
        client, target = await half_way(scene, asked, answer)
        await target.close()
        await is_cut(client)


@ASKED
@pytest.mark.parametrize("answer", [LENGTH, CHUNKS, UNTIL_CLOSE], ids=["length", "chunks", "close"])
async def test_an_upstream_that_dies_half_way_cuts_the_client(asked: bytes, answer: bytes) -> None:
    async with stage() as scene:
        client, target = await half_way(scene, asked, answer)
        target.reset()
        await is_cut(client)


@ASKED
@pytest.mark.parametrize("answer", [LENGTH, CHUNKS, UNTIL_CLOSE], ids=["length", "chunks", "close"])
async def test_an_upstream_that_falls_silent_half_way_cuts_the_client(
    asked: bytes, answer: bytes
) -> None:
    async with stage(timeout=0.1) as scene:
        client, target = await half_way(scene, asked, answer)
        await is_cut(client)
        await closed(target)


@pytest.mark.parametrize(
    "broken", [b"x\r\n", b"-1\r\n", b"4\r\nhalf5\r\n", b"4;" + b"a" * 300 + b"\r\n", b"1\n1\r\n"]
)
@ASKED
async def test_broken_chunks_half_way_cut_the_client(asked: bytes, broken: bytes) -> None:
    async with stage() as scene:
        client, target = await half_way(scene, asked, CHUNKS)
        await target.send(broken)
        with pytest.raises(ConnectionResetError):
            await client.rest()
        await closed(target)


async def test_a_last_chunk_without_its_end_is_no_end() -> None:
    async with stage() as scene:
        client, target = await half_way(scene, GET, CHUNKS)
        await target.send(b"0\r\nX-Sum: 7\r\n")
        await target.close()
        await is_cut(client)


@pytest.mark.parametrize("answer", [LENGTH, CHUNKS], ids=["length", "chunks"])
async def test_the_next_answer_never_lands_in_a_short_body(answer: bytes) -> None:
    async with stage() as scene:
        client, target = await half_way(scene, GET + GET + GET, answer)
        await target.close()
        await is_cut(client)
        assert scene.upstream.idle  # what waited behind it is not even asked for


async def test_an_upload_that_its_upstream_drops_in_mid_answer_is_cut() -> None:
    async with stage() as scene:
        upload = b"PUT /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab"
        client, target = await half_way(scene, upload, LENGTH)
        target.reset()
        await is_cut(client)


@pytest.mark.parametrize("answer", [OK, CHUNKS + b"0\r\n\r\n"], ids=["length", "chunks"])
async def test_what_comes_behind_an_answer_is_nobodys(answer: bytes) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET + GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(answer + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await client.head()
        assert (await client.until(b"ok" if answer is OK else b"\r\n0\r\n\r\n")).count(b"HTTP") == 0
        another = await scene.upstream.accept()
        await another.head()
        await another.send(OK)
        assert (await client.answer())[1] == b"ok"
        await closed(target)


# ------------------------------------------------------------------------- before the answer


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 66000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 201 + b"\r\n",
        b"garbage" * 20000,
    ],
)
async def test_an_answer_that_is_none_is_a_bad_gateway(answer: bytes) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        target.writer.write(answer)
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert b'"error":"bad_gateway"' in body
        assert b"127.0.0.1" not in body
        await closed(target)
        await client.send(GET)  # the client's connection goes on
        await (await scene.upstream.accept()).head()


async def test_an_upstream_that_hangs_up_before_its_answer_is_a_bad_gateway() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.close()
        assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")
        assert scene.upstream.idle


async def test_an_upstream_that_refuses_is_unavailable() -> None:
    async with stage() as scene:
        await scene.upstream.stop()
        head, body = await scene.ask(GET)
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b'"error":"service_unavailable"' in body


async def test_an_upstreams_own_error_passes_untouched() -> None:
    async with answering(b"its own words") as [upstream], in_front([upstream]) as scene:
        upstream.status = 500
        head, body = await scene.ask(request())
        assert head.startswith(b"HTTP/1.1 500 Reason\r\n")
        assert body == b"its own words"
