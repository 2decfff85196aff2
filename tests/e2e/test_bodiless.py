"""Answers that end with their heads, whatever their fields say: to HEAD, 204 and 304."""

from __future__ import annotations

import pytest

from tests.e2e.answering import closed, request
from tests.e2e.stage import GET, OK, field, stage
from tests.e2e.stage import fields as fields_of


@pytest.mark.parametrize(
    "length",
    [b"Content-Length: 1234\r\n", b"Transfer-Encoding: chunked\r\n", b""],
    ids=["length", "chunked", "neither"],
)
async def test_an_answer_to_head_ends_with_its_head(length: bytes) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request(method=b"HEAD"))
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n")
        head = await client.head()
        if length.startswith(b"C"):
            assert field(head, b"content-length") == b"1234"  # what a GET would bring
        await client.send(GET)
        assert (await target.head()).startswith(b"GET")  # both connections go on
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"


@pytest.mark.parametrize(
    "head",
    [
        b"204 No Content\r\n",
        b"304 Not Modified\r\n",
        b'304 Not Modified\r\nContent-Length: 99\r\nETag: "a"\r\n',
    ],
)
async def test_204_and_304_end_with_their_heads(head: bytes) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 " + head + b"\r\n")
        got = await client.head()
        assert (b"transfer-encoding", b"chunked") not in fields_of(got)
        await client.send(GET)
        await target.head()
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nBODY"),
        (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nBODY"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\n\r\nBODY"),
    ],
)
async def test_a_body_where_none_may_be_is_dropped_with_its_connection(
    method: bytes, answer: bytes
) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request(method=method))
        target = await scene.upstream.accept()
        await target.head()
        await target.send(answer)
        await client.head()
        await closed(target)
        await client.send(GET)
        another = await scene.upstream.accept()
        await another.head()
        await another.send(OK)
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")  # and no byte of it came before
        assert body == b"ok"
