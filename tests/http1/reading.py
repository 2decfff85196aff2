"""Heads and bodies read whole, as the tests want them: one call, no connection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, cast

from gateway.exchange import Client, Exchange, Peer, Response
from gateway.http1.chunked import ChunkedDecoder
from gateway.http1.fields import HeadLimits
from gateway.http1.request import RequestHead, parse_request
from gateway.http1.response import ResponseHead, parse_response

LIMITS: Final = HeadLimits()


def read_request(
    data: bytes, limits: HeadLimits = LIMITS, last: RequestHead | None = None
) -> tuple[RequestHead, bytes]:
    """The head that `data` begins with, and its target."""
    return parse_request(data, data.index(b"\r\n\r\n"), limits, last)


def request(*lines: bytes, first: bytes = b"GET / HTTP/1.1", host: bool = True) -> RequestHead:
    """The head of a request that has these field lines, behind a Host."""
    fields = (b"Host: a.example", *lines) if host else lines
    return read_request(b"\r\n".join((first, *fields, b"", b"")))[0]


def read_response(
    data: bytes,
    method: bytes = b"GET",
    limits: HeadLimits = LIMITS,
    last: ResponseHead | None = None,
) -> ResponseHead:
    """The head of an answer that `data` begins with."""
    return parse_response(data, data.index(b"\r\n\r\n"), method, limits, last)


def response(
    *lines: bytes, first: bytes = b"HTTP/1.1 200 OK", method: bytes = b"GET"
) -> ResponseHead:
    """The head of an answer that has these field lines."""
    return read_response(b"\r\n".join((first, *lines, b"", b"")), method)


def decoded(parts: Iterable[bytes], decoder: ChunkedDecoder | None = None) -> tuple[bytes, bytes]:
    """The body in a chunked coding that arrives in these parts, and what comes behind it."""
    decoder = decoder or ChunkedDecoder()
    body, rest = b"", b""
    for part in parts:
        if decoder.done:
            rest += part
            continue
        body += b"".join(decoder.feed(part))
        rest = decoder.rest
    return body, rest


def split_at(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` in the parts that these places divide it into, none of them empty."""
    cuts = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(cuts)]


class Nobody:
    """A client of which only its address and what it was told matter."""

    def __init__(self, address: str = "192.0.2.7", trusted: bool = False) -> None:
        self.peer = Peer(address, trusted)
        self.responses: list[Response] = []
        self.cuts = 0

    def respond(self, response: Response) -> None:
        self.responses.append(response)

    def cut(self) -> None:
        self.cuts += 1


def exchange(
    *lines: bytes,
    first: bytes = b"GET /p?q HTTP/1.1",
    address: str = "192.0.2.7",
    trusted: bool = False,
) -> Exchange:
    """An exchange as it stands before anybody has looked at it."""
    data = b"\r\n".join((first, b"Host: a.example", *lines, b"", b""))
    head, target = read_request(data)
    return asked(head, target, Nobody(address, trusted))


def asked(head: RequestHead, target: bytes, client: Nobody | None = None) -> Exchange:
    """An exchange with this head."""
    return Exchange(cast(Client, client or Nobody()), head, target)


def values(lines: Sequence[bytes], name: bytes) -> list[bytes]:
    """The values of the lines of this name (lower-case)."""
    pairs = (line.partition(b":") for line in lines)
    return [value.strip() for key, _, value in pairs if key.lower() == name]
