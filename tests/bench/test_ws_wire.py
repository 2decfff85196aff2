from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from bench.upstream.echo import frame, split_frame
from bench.ws import wire


def test_symbols_are_distinct_and_of_the_form_that_the_gateway_takes() -> None:
    names = [wire.symbol(number) for number in range(1000)]

    assert len(set(names)) == 1000
    assert all(re.fullmatch("[A-Z]{1,5}", name) for name in names)
    assert wire.ALL not in names


def test_shares_give_each_symbol_its_subscribers_and_no_client_one_twice() -> None:
    taken = wire.shares(50, symbols=20, subscribers=10)

    assert len(taken) == 50
    assert set(Counter(name for mine in taken for name in mine).values()) == {10}
    assert all(len(set(mine)) == len(mine) == 4 for mine in taken)


@pytest.mark.parametrize("size", [0, 125, 126, 65536])
def test_masked_frame_is_read_back_by_a_server(size: int) -> None:
    data = wire.masked(wire.TEXT, b"x" * size)

    assert split_frame(data) == (wire.TEXT, b"x" * size, len(data))


@pytest.mark.parametrize("size", [0, 125, 126, 65536])
def test_whole_frames_are_split_and_a_part_of_one_is_left(size: int) -> None:
    data = frame(wire.TEXT, b"x" * size) + frame(wire.PING, b"yes")

    found = [(first, data[start:end]) for first, start, end in wire.split(data)]

    assert found == [(wire.TEXT, b"x" * size), (wire.PING, b"yes")]
    assert len(list(wire.split(data[:-1]))) == 1
    assert list(wire.split(data[: size + 1])) == []


def test_handshake_is_answered_with_the_key_of_the_rfc() -> None:
    # RFC 6455 section 1.3
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in wire.switching(
        wire.handshake(80)
    )


def test_update_has_all_of_the_event_and_an_offset() -> None:
    event = json.loads(wire.event("SAAA", 7))

    update = wire.update(wire.event("SAAA", 7), 3)

    assert update == {"type": "prediction_update", **event, "offset": f"{wire.EPOCH}-3"}
    assert wire.compact(update).startswith(wire.UPDATE)
