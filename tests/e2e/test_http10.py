"""HTTP/1.0 on either side: who closes, and what then marks the end of a body."""

from __future__ import annotations

import pytest

from tests.e2e.answering import closed, stays_open
from tests.e2e.stage import GET, OK, field, stage

GET_10 = b"GET /api/x HTTP/1.0\r\nHost: a\r\n\r\n"
GET_KEEP = b"GET /api/x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n"


async def test_a_client_of_1_0_is_answered_and_hung_up_on() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET_10)
        target = await scene.upstream.accept()
        assert (await target.head()).startswith(b"GET /api/x HTTP/1.1\r\n")
        await target.send(OK)
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert field(head, b"connection") == b"close"
        assert body == b"ok"
        assert await client.rest() == b""
        await stays_open(target)  # the upstream's connection serves others


async def test_a_client_of_1_0_that_asks_to_stay_is_told_that_it_may() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET_KEEP)
        target = await scene.upstream.accept()
        for _ in range(2):
            await target.head()
            await target.send(OK)
            head, body = await client.answer()
            assert field(head, b"connection") == b"keep-alive"
            assert body == b"ok"
            await client.send(GET_KEEP)


@pytest.mark.parametrize("asked", [GET_10, GET_KEEP])
async def test_chunks_are_unpacked_for_a_client_of_1_0(asked: bytes) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(asked)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(CHUNKS + b"3\r\none\r\n")
        head = await client.head()
        assert field(head, b"transfer-encoding") is None
        assert field(head, b"connection") == b"close"
        assert await client.exactly(3) == b"one"  # at once
        await target.send(b"3\r\ntwo\r\n0\r\na: b\r\n\r\n")
        assert await client.rest() == b"two"
        await stays_open(target)


@pytest.mark.parametrize("asked", [GET_10, GET_KEEP])
async def test_an_answer_that_ends_with_its_connection_ends_the_clients_of_1_0(
    asked: bytes,
) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(asked)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.0 200 OK\r\n\r\nsome")
        head = await client.head()
        assert field(head, b"connection") == b"close"
        assert await client.exactly(4) == b"some"
        await target.send(b" more")
        await target.close()
        assert await client.rest() == b" more"


async def test_an_answer_that_ends_with_its_connection_becomes_chunks() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome")
        head = await client.head()
        assert field(head, b"transfer-encoding") == b"chunked"
        assert field(head, b"connection") is None
        assert await client.exactly(9) == b"4\r\nsome\r\n"
        await target.send(b" more")
        assert await client.exactly(10) == b"5\r\n more\r\n"
        await target.close()
        assert await client.exactly(5) == b"0\r\n\r\n"
        await client.send(GET)  # the client's connection outlives the upstream's
        await (await scene.upstream.accept()).head()


async def test_an_empty_answer_that_ends_with_its_connection_is_empty() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await target.close()
        await client.head()
        assert await client.exactly(5) == b"0\r\n\r\n"


async def test_an_upstream_of_1_0_is_asked_on_a_new_connection_each_time() -> None:
    async with stage() as scene:
        client = await scene.client()
        for _ in range(2):
            await client.send(GET)
            target = await scene.upstream.accept()
            await target.head()
            await target.send(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
            head, body = await client.answer()
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")  # RFC 9112, 2.3: our own version
            assert body == b"ok"
            await closed(target)


async def test_an_upstream_of_1_0_that_stays_is_asked_again() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET + GET)
        target = await scene.upstream.accept()
        for _ in range(2):
            await target.head()
            await target.send(
                b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"
            )
            assert (await client.answer())[1] == b"ok"


async def test_an_upload_of_1_0_goes_up_by_its_length() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(b"POST /api/x HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody")
        target = await scene.upstream.accept()
        head = await target.head()
        assert field(head, b"host") == scene.upstream.url[7:].encode()  # 1.0 may name none
        assert await target.exactly(4) == b"body"
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"


@pytest.mark.parametrize(
    "asked",
    [b"GET /no HTTP/1.0\r\n\r\n", b"GET /no HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"],
)
async def test_an_error_of_our_own_closes_what_was_not_to_stay(asked: bytes) -> None:
    async with stage() as scene:
        number, data = await scene.refused(asked)
        assert number == 404
        assert b"\r\nConnection: close\r\n" in data


async def test_connection_close_is_obeyed_whatever_else_it_names() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(
            b"GET /api/x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-A\r\nX-A: 1\r\n"
            b"Connection: Close\r\n\r\n"
        )
        target = await scene.upstream.accept()
        head = await target.head()
        assert field(head, b"x-a") is None
        assert field(head, b"connection") is None  # hop by hop: ours stays
        await target.send(OK)
        answer, _ = await client.answer()
        assert field(answer, b"connection") == b"close"
        assert await client.rest() == b""
