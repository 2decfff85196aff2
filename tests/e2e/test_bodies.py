"""Bodies pass both ways as they come: nothing is joined, waited for, decoded or kept back."""

from __future__ import annotations

import asyncio
import gzip
import socket
from contextlib import suppress

import pytest

from tests.e2e.answering import body_of, closed, request
from tests.e2e.stage import GET, OK, PATIENCE, field, stage

CODED = b"Transfer-Encoding: chunked\r\n"
CHUNKED = b"POST /api/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


# ------------------------------------------------------------------------------------ upwards


async def test_a_body_goes_up_before_it_is_whole() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(b"POST /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        target = await scene.upstream.accept()
        assert field(await target.head(), b"content-length") == b"10"
        for piece in (b"first", b"later"):
            await client.send(piece)
            assert await target.exactly(5) == piece
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"


async def test_chunks_go_up_one_by_one_and_the_last_ends_them() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(CHUNKED)
        target = await scene.upstream.accept()
        head = await target.head()
        assert field(head, b"transfer-encoding") == b"chunked"
        assert field(head, b"content-length") is None
        for piece in (b"5\r\nfirst\r\n", b"1\r\n2\r\n"):
            await client.send(piece)
            assert await target.exactly(len(piece)) == piece
        await client.send(b"0\r\n\r\n")
        assert await target.exactly(5) == b"0\r\n\r\n"
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"


async def test_extensions_and_trailers_of_a_request_stop_at_the_gateway() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(CHUNKED + b'5;a="b;c";d\r\nhello\r\n')
        await client.send(b"0;last\r\nX-Sum: 7\r\nHost: b\r\n\r\n")
        target = await scene.upstream.accept()
        await target.head()
        assert await target.exactly(15) == b"5\r\nhello\r\n0\r\n\r\n"
        await target.send(OK)
        await client.answer()
        await client.send(GET)
        assert (await target.head()).startswith(b"GET /api/x ")  # nothing stood between


async def test_a_chunk_in_single_bytes_is_the_same_body() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(CHUNKED)
        target = await scene.upstream.accept()
        await target.head()
        for at in b"b;x=y\r\nhello world\r\n0\r\nA: b\r\n\r\n":
            await client.send(bytes((at,)))
        assert await body_of(b"Transfer-Encoding: chunked", target.reader) == b"hello world"


async def test_a_body_of_length_0_is_a_request_without_one() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request(method=b"POST") + GET)
        target = await scene.upstream.accept()
        assert field(await target.head(), b"content-length") == b"0"
        await target.send(OK)
        await client.answer()
        assert (await target.head()).startswith(b"GET")


async def test_a_get_with_a_body_brings_it() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request(body=b"query"))
        target = await scene.upstream.accept()
        await target.head()
        assert await target.exactly(5) == b"query"


# ---------------------------------------------------------------------------------- downwards


async def test_a_body_comes_down_before_it_is_whole() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        assert field(await client.head(), b"content-length") == b"10"
        for piece in (b"first", b"later"):
            await target.send(piece)
            assert await client.exactly(5) == piece
        await client.send(GET)
        await target.head()


async def test_chunks_come_down_one_by_one_without_their_extensions() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(STREAM)
        assert field(await client.head(), b"transfer-encoding") == b"chunked"
        await target.send(b'5;a="b"\r\nfirst\r\n')
        assert await client.exactly(10) == b"5\r\nfirst\r\n"
        await target.send(b"1 ;c\r\n2\r\n")
        assert await client.exactly(6) == b"1\r\n2\r\n"
        await target.send(b"0\r\n\r\n")
        assert await client.exactly(5) == b"0\r\n\r\n"
        await client.send(GET)
        await target.head()  # and both connections go on


@pytest.mark.parametrize("framed", [True, False], ids=["chunked", "until it closes"])
async def test_events_flow_at_once(framed: bool) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(b"GET /api/x HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
        target = await scene.upstream.accept()
        await target.head()
        lines = b"Content-Type: text/event-stream\r\n"
        lines += b"Transfer-Encoding: chunked\r\n" if framed else b""
        await target.send(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n")
        assert field(await client.head(), b"content-type") == b"text/event-stream"
        for number in range(3):
            event = b"data: %d\n\n" % number
            chunk = b"%x\r\n%b\r\n" % (len(event), event)
            await target.send(chunk if framed else event)
            assert await client.exactly(len(chunk)) == chunk


async def test_a_coded_body_is_neither_decoded_nor_relabelled() -> None:
    packed = gzip.compress(b"text " * 100)
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        assert field(await target.head(), b"accept-encoding") is None
        await target.send(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
            % (len(packed), packed)
        )
        head, body = await client.answer()
        assert field(head, b"content-encoding") == b"gzip"
        assert body == packed


@pytest.mark.parametrize(
    "asked", [b"GET /api/x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n", GET]
)
async def test_announced_trailers_arrive(asked: bytes) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(asked)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(
            b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"
        )
        assert field(await client.head(), b"trailer") == b"X-Sum"
        assert await client.until(b"\r\n\r\n") == b"2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"


async def test_te_trailers_goes_up_and_brings_trailers_that_nobody_announced() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(
            b"GET /api/x HTTP/1.1\r\nHost: a\r\nTE: gzip, trailers\r\nConnection: TE\r\n\r\n"
        )
        target = await scene.upstream.accept()
        head = await target.head()
        assert field(head, b"te") == b"trailers"
        assert field(head, b"connection") == b"TE"
        await target.send(STREAM + b"2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n")
        await client.head()
        assert await client.until(b"\r\n\r\n") == b"2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"


async def test_trailers_that_nobody_asked_for_are_dropped() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        assert field(await target.head(), b"te") is None
        await target.send(STREAM + b"2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n")
        await client.head()
        assert await client.until(b"\r\n\r\n") == b"2\r\nok\r\n0\r\n\r\n"


async def test_no_trailer_frames_the_message_after_all() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(
            b"HTTP/1.1 200 OK\r\nTrailer: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\nContent-Length: 3\r\na: b\r\nTransfer-Encoding: gzip\r\n\r\n"
        )
        await client.head()
        assert await client.until(b"\r\n\r\n") == b"0\r\na: b\r\n\r\n"


# ------------------------------------------------------------------------------- both at once


async def test_an_answer_comes_while_its_request_still_goes_up() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(CHUNKED)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(STREAM)
        await client.head()
        for piece in (b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n"):
            await client.send(piece)
            await target.send(await target.exactly(len(piece)))
            assert await client.exactly(len(piece)) == piece
        await client.send(GET)
        await target.head()  # a request that was read to its end leaves both connections good


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
async def test_an_upstream_that_will_close_still_gets_all_of_the_request(version: bytes) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(CHUNKED)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(version + b" 200 OK\r\nConnection: close\r\n\r\n")
        await client.head()
        for piece in (b"3\r\none\r\n", b"0\r\n\r\n"):
            await client.send(piece)
            assert await target.exactly(len(piece)) == piece
        await target.send(b"thanks")
        await target.close()
        assert await client.until(b"0\r\n\r\n") == b"6\r\nthanks\r\n0\r\n\r\n"


async def test_a_refusal_reaches_a_client_that_still_uploads() -> None:
    async with stage(max_body_size=0) as scene:
        client = await scene.client()
        await client.send(b"PUT /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\nab")
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 403 No\r\n")
        assert body == b"no"
        await client.send(b"more of it")
        assert await closed(client) == b""  # nothing behind it, and no second answer
        await closed(target)


@pytest.mark.parametrize(
    ("begun", "rest"),
    [
        (b"Content-Length: 4\r\n\r\nab", b"cd"),
        (CODED + b"\r\n2\r\nab\r\n", b"2\r\ncd\r\n0\r\n\r\n"),
    ],
    ids=["length", "chunked"],
)
async def test_an_early_answer_leaves_a_connection_whose_upload_was_small(
    begun: bytes, rest: bytes
) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(b"PUT /api/x HTTP/1.1\r\nHost: a\r\n" + begun)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"
        await client.send(rest + GET)
        another = await scene.upstream.accept()  # that one was never told the end of its request
        assert (await another.head()).startswith(b"GET /api/x ")
        await closed(target)


async def test_a_refusal_reaches_a_client_that_does_nothing_but_send() -> None:
    async with stage(max_body_size=0) as scene:

        def upload() -> bytes:
            with socket.create_connection(("127.0.0.1", scene.port), PATIENCE) as client:
                client.sendall(
                    b"PUT /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n"
                )
                with suppress(ConnectionError):
                    for _ in range(100):
                        client.sendall(bytes(1 << 20))
                return client.recv(1 << 16)

        uploading = asyncio.create_task(asyncio.to_thread(upload))
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        await target.close()
        assert (await uploading).startswith(b"HTTP/1.1 403 No\r\n")


async def test_a_long_early_answer_is_not_cut_by_the_end_of_its_request() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(b"PUT /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nan")
        await client.head()
        assert await client.exactly(2) == b"an"
        await client.send(b"cd")
        assert await target.exactly(4) == b"abcd"
        await target.send(b"sw")
        assert await client.exactly(2) == b"sw"
