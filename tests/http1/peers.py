"""How others read the same bytes: llhttp (in aiohttp's C parser) and h11, and we in their words.

A message that we take and they refuse, or that ends elsewhere for them, is what request
smuggling is made of: they stand for the servers in front of and behind us. That we refuse more
than they do is fine.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final, cast

import h11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, HttpResponseParser

from gateway.errors import ClientError, UpstreamProtocolError
from gateway.http1.chunked import BadChunk, ChunkedDecoder
from gateway.http1.fields import CHUNKED, UNTIL_CLOSE, value_of
from gateway.http1.request import STANDARD_METHODS
from gateway.http1.response import STATUS_LINE
from tests.http1.reading import decoded, read_request, read_response

Fields = tuple[tuple[bytes, bytes], ...]
LIMIT: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Message:
    """A message as somebody read it; `used` counts its bytes, -1 when there is no end to it."""

    first: tuple[bytes | int, ...]  # method and target, or the status
    fields: Fields
    body: bytes
    used: int


def _fields(block: list[bytes]) -> Fields:
    return tuple((line[: line.index(b":")], value_of(line)) for line in block)


def _framed(data: bytes, length: int) -> tuple[bytes, int]:
    behind = data[data.index(b"\r\n\r\n") + 4 :]
    if length == UNTIL_CLOSE:
        return behind, len(data)
    if length == CHUNKED:
        decoder = ChunkedDecoder()
        body, rest = decoded([behind], decoder)
        return body, len(data) - len(rest) if decoder.done else -1
    over = len(behind) - length
    return behind[:length], len(data) - over if over >= 0 else -1


def our_request(data: bytes) -> Message | None:
    """What we take `data` to begin with; None when we refuse it or want more of it."""
    if b"\r\n\r\n" not in data:
        return None
    try:
        head, target = read_request(data)
        body, used = _framed(data, head.length)
    except (ClientError, BadChunk):
        return None
    return Message((head.method, target), _fields(head.received), body, used)


def our_answer(data: bytes, method: bytes) -> Message | None:
    """What we take an answer for; None when we refuse it or want more of it."""
    if b"\r\n\r\n" not in data:
        return None
    try:
        head = read_response(data, method)
        body, used = _framed(data, head.length)
    except (UpstreamProtocolError, BadChunk):
        return None
    match = STATUS_LINE.match(data)
    assert match is not None
    block = data[match.end() : data.index(b"\r\n\r\n")]
    lines = block.split(b"\r\n") if block else []
    return Message((head.status,), _fields(lines), body, used)


def h11_request(data: bytes) -> Message | None:
    """What h11 takes it for."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LIMIT)
    return _h11(connection, data, end=False)


def h11_answer(data: bytes, method: bytes, end: bool) -> Message | None:
    """The same for an answer; `end` says whether the connection ends behind it."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=LIMIT)
    connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a")]))
    connection.send(h11.EndOfMessage())
    return _h11(connection, data, end)


def _h11(connection: h11.Connection, data: bytes, end: bool) -> Message | None:
    connection.receive_data(data)
    head: Any = None
    body = b""
    try:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            return None
        head = event
        if isinstance(head, h11.InformationalResponse):
            end_of_head = data.index(b"\r\n\r\n") + 4
            fields = tuple(head.headers.raw_items())
            return Message((head.status_code,), fields, b"", end_of_head)
        event = connection.next_event()
        if event is h11.NEED_DATA and end:
            connection.receive_data(b"")
            event = connection.next_event()
        while isinstance(event, h11.Data):
            body += event.data
            event = connection.next_event()
            if event is h11.NEED_DATA and end:
                connection.receive_data(b"")
                event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    used = len(data) - len(connection.trailing_data[0])
    used = used if isinstance(event, h11.EndOfMessage) else -1
    is_request = isinstance(head, h11.Request)
    first = (head.method, head.target) if is_request else (head.status_code,)
    return Message(first, tuple(head.headers.raw_items()), body, used)


class _Quiet(asyncio.Protocol):
    """The connection that aiohttp's payload would pause."""

    def pause_reading(self) -> None: ...

    def resume_reading(self, **_: bool) -> None: ...


LLHTTP_METHODS: Final = STANDARD_METHODS - {b"CONNECT"}
"""Those of ours that llhttp has; CONNECT's target has a form of its own, and is never forwarded."""


def llhttp_request(data: bytes, loop: asyncio.AbstractEventLoop) -> Message | None:
    """What llhttp takes it for; the number of bytes that it used is not told: see `used`."""
    parser = HttpRequestParser(cast(Any, _Quiet()), loop, LIMIT, auto_decompress=False)
    return _llhttp(parser, data, end=False)


def llhttp_answer(
    data: bytes, body: bool, end: bool, loop: asyncio.AbstractEventLoop
) -> Message | None:
    """The same for an answer that may have a `body` by its request's method and its status."""
    parser = HttpResponseParser(
        cast(Any, _Quiet()), loop, LIMIT,
        auto_decompress=False, response_with_body=body, read_until_eof=True,
    )  # fmt: skip
    return _llhttp(parser, data, end)


def _llhttp(parser: Any, data: bytes, end: bool) -> Message | None:
    try:
        messages, _, _ = parser.feed_data(data)
        if not messages:
            return None
        head, payload = messages[0]
        if end:
            parser.feed_eof()
    except (HttpProcessingError, ValueError):
        return None
    if getattr(payload, "exception", lambda: None)() is not None:
        return None
    complete = payload.is_eof() or payload.at_eof()
    body = payload.read_nowait(-1) if payload.total_bytes else b""
    used = len(data) if complete and len(messages) == 1 else -1
    first: tuple[bytes | int, ...] = ()
    if hasattr(head, "method"):
        first = head.method.encode(), head.path.encode("utf-8", "surrogateescape")
    else:
        first = (head.code,)
    return Message(first, tuple(head.raw_headers), body, used)
