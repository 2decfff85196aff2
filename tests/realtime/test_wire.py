"""Events in, updates and messages out, and what a client may ask: bytes only."""

from __future__ import annotations

import json
import zlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.realtime import wire
from gateway.realtime.wire import (
    EXPLAINED,
    LARGEST_EVENT,
    BadEvent,
    Offset,
    Ping,
    Refused,
    Subscribe,
    Unsubscribe,
    Update,
    read_action,
    read_event,
)

ENVELOPE: dict[str, Any] = {
    "message_id": "m1",
    "correlation_id": "c1",
    "timestamp": "2026-01-01T00:00:00Z",
    "version": "1.0",
    "source": "model",
    "payload": {"ticker": "AAPL", "predicted_price": 1.5, "confidence": 0.9},
}


def made(**changes: Any) -> bytes:
    return orjson.dumps({"symbol": "AAPL", "predicted_price": 1.5, **changes})


# ------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_frame_says_its_length_in_as_few_bytes_as_it_takes(size: int, head: bytes) -> None:
    assert wire.frame(b"x" * size) == head + b"x" * size


def test_a_close_has_a_code_and_a_reason_of_125_bytes_at_most() -> None:
    assert wire.close_frame(1000, "bye") == b"\x88\x05\x03\xe8bye"
    assert wire.close_frame(1000, "x" * 200) == b"\x88\x7d\x03\xe8" + b"x" * 123


def test_a_message_names_its_kind_first() -> None:
    assert wire.message("warning", dropped=3) == b'{"type":"warning","dropped":3}'


@pytest.mark.parametrize(
    ("offset", "event"),
    [("", b"event: pong\ndata: {}\n\n"), ("e-1", b"id: e-1\nevent: pong\ndata: {}\n\n")],
)
def test_an_event_of_a_stream_has_its_offset_as_id(offset: str, event: bytes) -> None:
    assert wire.event("pong", b"{}", offset) == event


# ------------------------------------------------------------------------------------- events


def test_a_flat_event_is_read() -> None:
    assert read_event(made(confidence=0.5)) == (
        "AAPL",
        {"predicted_price": 1.5, "confidence": 0.5},
    )


def test_an_envelope_is_read_and_of_it_the_time_is_kept() -> None:
    assert read_event(orjson.dumps(ENVELOPE)) == (
        "AAPL",
        {"predicted_price": 1.5, "timestamp": "2026-01-01T00:00:00Z", "confidence": 0.9},
    )


def test_an_envelope_needs_no_time_and_its_payloads_own_is_the_one() -> None:
    bare = {"payload": {"ticker": "A", "predicted_price": 1}}
    assert read_event(orjson.dumps(bare)) == ("A", {"predicted_price": 1})
    both = {"timestamp": 1, "payload": {"ticker": "A", "predicted_price": 1, "timestamp": 2}}
    assert read_event(orjson.dumps(both))[1]["timestamp"] == 2


def test_an_event_does_not_pass_for_more_than_it_is() -> None:
    """Neither type nor offset of what clients are told can come from the bus."""
    symbol, fields = read_event(made(type="refetch", offset="x-1", ticker="B"))
    said = json.loads(Update(symbol, fields, Offset("e", 1)).text)
    assert said == {
        "type": "prediction_update",
        "symbol": "AAPL",
        "predicted_price": 1.5,
        "offset": "e-1",
    }


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "no_json"),
        (b"{", "no_json"),
        (b"\xff", "no_json"),
        (b'{"symbol":"A","predicted_price":NaN}', "no_json"),
        (b'{"symbol":"A","predicted_price":1e999}', "no_json"),
        (b"[]", "no_object"),
        (b"null", "no_object"),
        (b'{"payload":[]}', "no_object"),
        (b'{"payload":null}', "no_object"),
        (b"{}", "bad_symbol"),
        (made(symbol=None), "bad_symbol"),
        (made(symbol=1), "bad_symbol"),
        (made(symbol="aapl"), "bad_symbol"),
        (made(symbol="ABCDEF"), "bad_symbol"),
        (made(symbol="A\n"), "bad_symbol"),
        (made(symbol="*"), "bad_symbol"),
        (made(symbol="É"), "bad_symbol"),
        (b'{"payload":{"symbol":"A","predicted_price":1}}', "bad_symbol"),
        (made(predicted_price=None), "bad_price"),
        (made(predicted_price="1"), "bad_price"),
        (made(predicted_price=True), "bad_price"),
        (b'{"symbol":"A"}', "bad_price"),
        (made(x="x" * LARGEST_EVENT), "too_large"),
    ],
)
def test_what_is_no_event_is_named(data: bytes, kind: str) -> None:
    with pytest.raises(BadEvent) as raised:
        read_event(data)
    assert raised.value.kind == kind
    assert kind in EXPLAINED


def test_the_largest_event_is_one() -> None:
    data = made(x="")
    read_event(made(x="x" * (LARGEST_EVENT - len(data))))


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["symbol", "predicted_price", "payload", "ticker", "x"]), x
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_an_event_or_a_bad_one(data: bytes) -> None:
    try:
        symbol, fields = read_event(data)
    except BadEvent as error:
        assert error.kind in EXPLAINED  # noqa: PT017 - either is good
        return
    assert json.loads(Update(symbol, fields, Offset("e", 1)).text)["symbol"] == symbol


def test_what_is_nested_deeper_than_can_be_written_is_no_event() -> None:
    """The parser takes more levels than the encoder."""
    deep = b'{"symbol":"A","predicted_price":1,"x":' + b"[" * 300 + b"]" * 300 + b"}"
    symbol, fields = read_event(deep)
    with pytest.raises(BadEvent) as raised:
        Update(symbol, fields, Offset("e", 1))
    assert raised.value.kind == "too_deep"
    assert raised.value.kind in EXPLAINED


# ------------------------------------------------------------------------------------ updates


def test_an_update_is_encoded_once_in_each_form() -> None:
    update = Update("AAPL", {"predicted_price": 1, "note": "x" * 100}, Offset("e", 7))
    assert update.frame == wire.frame(update.text)
    assert update.size == len(update.frame)
    assert update.event == wire.event("prediction_update", update.text, "e-7")
    assert update.deflated is update.deflated
    assert update.event is update.event


def test_a_deflated_update_is_whole_by_itself() -> None:
    update = Update("AAPL", {"predicted_price": 1, "note": "x" * 100}, Offset("e", 7))
    first, size, packed = update.deflated[0], update.deflated[1], update.deflated[2:]
    assert first == 0xC1
    assert size == len(packed)
    unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed + b"\x00\x00\xff\xff")
    assert unpacked == update.text


def test_what_would_get_no_smaller_is_not_deflated() -> None:
    update = Update("A", {"predicted_price": 1}, Offset("e", 7))
    assert len(update.text) < wire.DEFLATED_FROM
    assert update.deflated == update.frame


# ------------------------------------------------------------------------ what clients may say


def action(most: int = 3, wildcard: bool = False, **said: Any) -> Any:
    return read_action(json.dumps(said), most, wildcard)


def test_actions_are_read() -> None:
    assert action(action="ping") == Ping()
    assert action(action="unsubscribe", symbols=["A"]) == Unsubscribe(("A",))
    assert action(action="subscribe", symbols=["A", "B", "A"]) == Subscribe(("A", "B"))
    assert action(
        action="subscribe", symbols=["A"], since="e1-5", conflate=True, other=1
    ) == Subscribe(("A",), Offset("e1", 5), True)
    assert action(action="subscribe", symbols=["*"], wildcard=True) == Subscribe(("*",))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad_json"),
        ("{", "bad_json"),
        ("[]", "bad_json"),
        ('"ping"', "bad_json"),
        ("{}", "unknown_action"),
        ('{"action":"Ping"}', "unknown_action"),
        ('{"action":["ping"]}', "unknown_action"),
        ('{"action":"subscribe"}', "bad_symbol"),
        ('{"action":"subscribe","symbols":[]}', "bad_symbol"),
        ('{"action":"subscribe","symbols":"A"}', "bad_symbol"),
        ('{"action":"subscribe","symbols":{"A":1}}', "bad_symbol"),
        ('{"action":"subscribe","symbols":["a"]}', "bad_symbol"),
        ('{"action":"subscribe","symbols":["A\\n"]}', "bad_symbol"),
        ('{"action":"subscribe","symbols":["ABCDEF"]}', "bad_symbol"),
        ('{"action":"subscribe","symbols":[["A"]]}', "bad_symbol"),
        ('{"action":"subscribe","symbols":[null]}', "bad_symbol"),
        ('{"action":"subscribe","symbols":["*"]}', "bad_symbol"),
        ('{"action":"unsubscribe","symbols":["*"]}', "bad_symbol"),
        ('{"action":"subscribe","symbols":["A","B","C","D"]}', "too_many_symbols"),
        ('{"action":"subscribe","symbols":["A"],"conflate":1}', "bad_json"),
        ('{"action":"subscribe","symbols":["A"],"since":5}', "bad_offset"),
        ('{"action":"subscribe","symbols":["A"],"since":""}', "bad_offset"),
        ('{"action":"subscribe","symbols":["A"],"since":"e-"}', "bad_offset"),
        ('{"action":"subscribe","symbols":["A"],"since":"e-5 "}', "bad_offset"),
        ('{"action":"subscribe","symbols":["A"],"since":"E-5"}', "bad_offset"),
        ('{"action":"subscribe","symbols":["A"],"since":"e-\\u0665"}', "bad_offset"),
        ('{"action":"subscribe","symbols":["A"],"since":"e--5"}', "bad_offset"),
    ],
)
def test_what_cannot_be_done_has_a_code(text: str, code: str) -> None:
    with pytest.raises(Refused) as raised:
        read_action(text, 3, wildcard=False)
    assert raised.value.code == code
    assert raised.value.message


def test_a_list_is_refused_before_all_of_it_is_looked_at() -> None:
    with pytest.raises(Refused, match="at most 3"):
        read_action(json.dumps({"action": "subscribe", "symbols": [0] * 1000}), 3, wildcard=False)


def test_an_offset_is_read_as_it_is_written() -> None:
    assert wire.read_offset(str(Offset("1f0a", 10**18))) == Offset("1f0a", 10**18)
