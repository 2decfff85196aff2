"""Bytes of any kind against the parsers: `grammar` makes them up, `peers` judge."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ClientError, UpstreamProtocolError
from gateway.http1.request import check_partial_request
from tests.http1 import grammar, peers
from tests.http1.peers import Message
from tests.http1.reading import LIMITS, read_request, read_response


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


PADDED_CODING = re.compile(rb"(?i:chunked)[ \t]+\r")


def same_framing(ours: Message) -> Message:
    """Coding names are one in any case, and h11 tells them in lower case."""
    fields = tuple(
        (name, value.lower() if name.lower() == b"transfer-encoding" else value)
        for name, value in ours.fields
    )
    return Message(ours.first, fields, ours.body, ours.used)


def forwarded(message: Message | None) -> bool:
    """Whether a request that reads so could go on to an upstream."""
    if message is None:
        return False
    method, target = message.first
    return method != b"CONNECT" and bytes(target).startswith((b"/", b"http://"))


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
        assert peers.h11_request(data) == same_framing(ours)


@given(grammar.requests)
def test_request_that_we_take_is_the_same_for_llhttp(
    loop: asyncio.AbstractEventLoop, data: bytes
) -> None:
    ours = peers.our_request(data)
    if PADDED_CODING.search(data):  # llhttp takes no tab for white space here; RFC 9110, 5.5 does
        return
    if ours is not None and forwarded(ours) and ours.first[0] in peers.LLHTTP_METHODS:
        used = ours.used if ours.used >= 0 else len(data)
        assert peers.llhttp_request(data[:used], loop) == ours


@given(grammar.answers, st.sampled_from([b"GET", b"GET", b"HEAD"]))
def test_answer_that_we_take_is_the_same_for_h11(data: bytes, method: bytes) -> None:
    ours = peers.our_answer(data, method)
    if ours is not None and not repeats_its_length(ours):
        assert peers.h11_answer(data, method, end=ours.used >= 0) == same_framing(ours)


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
    assert peers.llhttp_answer(data[:used], body, ours.used >= 0, loop) == ours


def repeats_its_length(message: Message) -> bool:
    """We take an answer that says the same length twice; the peers differ."""
    return sum(name.lower() == b"content-length" for name, _ in message.fields) > 1
