"""Bytes of any kind against the parsers: `grammar` makes them up, `peers` judge."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ClientError, UpstreamProtocolError
from gateway.http1.chunked import BadChunk, ChunkedDecoder, chunked
from gateway.http1.request import check_partial_request
from tests.http1 import grammar, peers
from tests.http1.peers import Message
from tests.http1.reading import LIMITS, decoded, read_request, read_response, split_at
from tests.http1.wire import connect


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def same_framing(ours: Message) -> Message:
    """Coding names are one in any case, and h11 tells them in lower case."""
    fields = tuple(
        (name, value.lower() if name.lower() == b"transfer-encoding" else value)
        for name, value in ours.fields
    )
    return Message(ours.first, fields, ours.body, ours.used)


def agree(theirs: Message | None, ours: Message) -> bool:
    """Of what has no end yet a peer may know already that it will be refused."""
    return theirs == ours or (theirs is None and ours.used < 0)


def forwarded(message: Message | None) -> bool:
    """Whether a request that reads so could go on to an upstream."""
    if message is None:
        return False
    method, target = message.first
    return method != b"CONNECT" and bytes(target).startswith((b"/", b"http://a/"))


@given(grammar.requests | st.binary(max_size=200))
def test_request_of_any_kind_is_read_or_refused_as_the_clients_error(data: bytes) -> None:
    for end in (len(data), data.find(b"\r\n\r\n")):
        with suppress(ClientError):
            check_partial_request(data[:end], LIMITS)
    with suppress(ClientError):
        read_request(data + b"\r\n\r\n")


@given(grammar.answers | st.binary(max_size=200), st.sampled_from([b"GET", b"HEAD"]))
def test_answer_of_any_kind_is_read_or_refused_as_the_upstreams_error(
    data: bytes, method: bytes
) -> None:
    with suppress(UpstreamProtocolError):
        read_response(data + b"\r\n\r\n", method)


@given(grammar.requests)
def test_head_that_is_taken_whole_is_taken_in_parts(data: bytes) -> None:
    end = data.find(b"\r\n\r\n")
    try:
        read_request(data)
    except (ClientError, ValueError):
        return
    for size in range(end + 4):
        check_partial_request(data[:size], LIMITS)


@given(grammar.requests)
def test_request_that_we_take_is_the_same_for_h11(data: bytes) -> None:
    ours = peers.our_request(data)
    if ours is not None and forwarded(ours):
        assert agree(peers.h11_request(data), same_framing(ours))


@given(grammar.requests)
def test_request_that_we_take_is_the_same_for_llhttp(
    loop: asyncio.AbstractEventLoop, data: bytes
) -> None:
    ours = peers.our_request(data)
    if ours is not None and forwarded(ours) and ours.first[0] in peers.LLHTTP_METHODS:
        used = ours.used if ours.used >= 0 else len(data)
        assert agree(peers.llhttp_request(data[:used], loop), ours)


@given(grammar.answers, st.sampled_from([b"GET", b"GET", b"HEAD"]))
def test_answer_that_we_take_is_the_same_for_h11(data: bytes, method: bytes) -> None:
    ours = peers.our_answer(data, method)
    if ours is not None and not repeats_its_length(ours):
        assert agree(peers.h11_answer(data, method, end=ours.used >= 0), same_framing(ours))


@given(grammar.answers, st.sampled_from([b"GET", b"GET", b"HEAD"]))
def test_answer_that_we_take_is_the_same_for_llhttp(
    loop: asyncio.AbstractEventLoop, data: bytes, method: bytes
) -> None:
    ours = peers.our_answer(data, method)
    # What an interim answer says of its length means nothing (RFC 9110, 8.6), but llhttp minds.
    if ours is None or repeats_its_length(ours) or int(ours.first[0]) < 200:
        return
    body = method != b"HEAD" and ours.first[0] not in (204, 304)
    used = ours.used if ours.used >= 0 else len(data)
    assert agree(peers.llhttp_answer(data[:used], body, ours.used >= 0, loop), ours)


def repeats_its_length(message: Message) -> bool:
    """We take an answer that says the same length twice; the peers differ."""
    return sum(name.lower() == b"content-length" for name, _ in message.fields) > 1


CODINGS = st.builds(
    lambda pieces, extensions, last, trailers, rest: (
        b"".join(
            b"%x%b\r\n%b\r\n" % (len(piece), extension, piece)
            for piece, extension in zip(pieces, extensions, strict=False)
        )
        + b"%b\r\n%b\r\n%b" % (last, b"".join(line + b"\r\n" for line in trailers), rest),
        b"".join(piece for piece, _ in zip(pieces, extensions, strict=False)),
        trailers,
        rest,
    ),
    st.lists(st.binary(min_size=1, max_size=20), max_size=4),
    st.lists(
        st.sampled_from([b"", b"", b"", b";", b";a=b", b' ;a="\xff"']), min_size=4, max_size=4
    ),
    st.sampled_from([b"0", b"0", b"000", b"0;last"]),
    st.lists(st.sampled_from([b"A: 1", b"b:", b"C:\t\xe9 "]), max_size=3),
    st.sampled_from([b"", b"\r\n", b"GET / HTTP/1.1\r\n\r\n", b"0\r\n\r\n"]),
)
PLACES = st.lists(st.integers(0, 300), max_size=12)


@given(CODINGS, PLACES | st.just(range(300)))
def test_coding_that_is_cut_anywhere_carries_the_same(
    coding: tuple[bytes, bytes, list[bytes], bytes], places: list[int]
) -> None:
    data, body, trailers, rest = coding
    decoder = ChunkedDecoder()
    assert decoded(split_at(data, places), decoder) == (body, rest)
    assert decoder.done
    assert decoder.trailers == trailers


@given(st.lists(st.binary(min_size=1, max_size=40)))
def test_body_that_we_frame_is_the_same_when_it_is_read(pieces: list[bytes]) -> None:
    data = b"".join(chunked(pieces)) + b"0\r\n\r\n"
    assert decoded([data]) == (b"".join(pieces), b"")


@given(grammar.mutated(CODINGS.map(lambda coding: coding[0])), PLACES)
def test_coding_that_was_tampered_with_is_refused_or_read_as_others_do(
    loop: asyncio.AbstractEventLoop, coding: bytes, places: list[int]
) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    ours = peers.our_request(head + coding)
    if ours is None or b";" in coding:  # of extensions, which are dropped, peers take fewer forms
        return
    decoder = ChunkedDecoder()
    body, _ = decoded(split_at(coding, places), decoder)
    assert (body, decoder.done) == (ours.body, ours.used >= 0)
    assert agree(peers.h11_request(head + coding), ours)
    used = ours.used if decoder.done else len(head + coding)
    assert agree(peers.llhttp_request((head + coding)[:used], loop), ours)


@given(grammar.mutated(CODINGS.map(lambda coding: coding[0])), PLACES)
def test_coding_that_is_refused_is_refused_however_it_is_cut(
    coding: bytes, places: list[int]
) -> None:
    def outcome(parts: list[bytes]) -> tuple[bytes, bytes] | None:
        try:
            return decoded(parts)
        except BadChunk:
            return None

    assert outcome(split_at(coding, places)) == outcome([coding])


class Watched(bytes):
    """Bytes that count how many of them are searched, also when they are put together."""

    searched: ClassVar[int] = 0

    def __add__(self, behind: Any) -> Watched:
        return Watched(bytes(self) + bytes(behind))

    def __radd__(self, before: bytes) -> Watched:
        return Watched(bytes(before) + bytes(self))

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        return Watched(part) if isinstance(part, bytes) else part

    def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        found = super().find(sub, start, len(self) if end is None else end)
        Watched.searched += (len(self) if found < 0 else found) - start
        return found


@pytest.mark.parametrize("size", [1000, 2000])
def test_trailers_that_come_byte_by_byte_are_searched_once(size: int) -> None:
    decoder = ChunkedDecoder()
    decoder.feed(b"0\r\n")
    Watched.searched = 0
    for _ in range(size):
        decoder.feed(Watched(b"A"))
    assert size / 2 < Watched.searched < size * 5


@pytest.mark.parametrize("size", [1000, 2000])
def test_head_that_comes_byte_by_byte_is_searched_once(size: int) -> None:
    wire, connection, _ = connect()
    connection.data_received(b"GET / HTTP/1.1\r\nA: ")
    Watched.searched = 0
    for _ in range(size):
        connection.data_received(Watched(b"b"))
    assert size / 2 < Watched.searched < size * 10
    assert not wire.sent
