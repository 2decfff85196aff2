"""The line of a request: its fields, and that nothing a client sends breaks it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange import Exchange, Peer, Principal
from gateway.http1.request import RequestHead
from gateway.telemetry.access_log import AccessLog, target_fields

NOON = 1_764_590_400.0  # 2025-12-01T12:00:00Z
ORDERS = target_fields("orders", "http://127.0.0.1:8001")


def recorded(clock=lambda: NOON, seconds: float = 0.0012345, **values: Any) -> dict[str, Any]:
    lines: list[bytes] = []
    AccessLog(lines.append, clock).record(exchange(**values), seconds)
    (line,) = lines
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line)


def exchange(method: bytes = b"GET", path: bytes = b"/api/service1/x", **values: Any) -> Exchange:
    made = Exchange(SimpleNamespace(peer=Peer("10.0.0.1")), RequestHead(method, 1, b""), b"/")
    made.path = path
    made.request_id = b"abc-1"
    made.target_fields = ORDERS
    made.sent_path = b"/x"
    made.status = 200
    made.body_sent = 17
    made.trace_id = b"0" * 31 + b"1"
    for name, value in values.items():
        setattr(made, name, value)
    return made


def test_line_has_the_fields_of_a_request_and_no_others():
    assert recorded() == {
        "timestamp": "2025-12-01T12:00:00.000Z",
        "level": "INFO",
        "event": "request",
        "request_id": "abc-1",
        "method": "GET",
        "path": "/api/service1/x",
        "target_service": "orders",
        "target_url": "http://127.0.0.1:8001/x",
        "status_code": 200,
        "duration_ms": 1.234,
        "client_ip": "10.0.0.1",
        "bytes_sent": 17,
        "trace_id": "00000000000000000000000000000001",
    }


def test_request_without_a_target_says_null():
    line = recorded(target_fields=b"")

    assert (line["target_service"], line["target_url"]) == (None, None)


def test_password_in_a_target_is_not_logged():
    line = recorded(target_fields=target_fields("orders", "http://user:pass@host:1"))

    assert line["target_url"] == "http://[redacted]@host:1/x"


def test_timestamps_follow_the_clock_by_milliseconds():
    times = iter([NOON + 0.25, NOON + 0.25, NOON + 0.2515, NOON + 61])
    lines: list[bytes] = []
    log = AccessLog(lines.append, lambda: next(times))
    for _ in range(4):
        log.record(exchange(), 0.0)

    assert [json.loads(line)["timestamp"][11:] for line in lines] == [
        "12:00:00.250Z",
        "12:00:00.250Z",
        "12:00:00.251Z",
        "12:01:01.000Z",
    ]


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        (b'/"quoted"', '/"quoted"'),
        (b'/","level":"ERROR', '/","level":"ERROR'),
        (b"/back\\slash", "/back\\slash"),
        (b"/line\nfeed\r\0\x7f", "/line\nfeed\r\0\x7f"),
        (b"/caf\xc3\xa9\xff", "/caf\xc3\xa9\xff"),
        (b"/%22%0a", "/%22%0a"),
    ],
)
def test_path_of_odd_bytes_stays_one_value(path, logged):
    assert recorded(path=path)["path"] == logged


@given(path=st.binary(), sent=st.binary())
def test_whatever_a_client_sends_the_line_is_one_object(path, sent):
    # What goes upstream holds the path, or a part of it.
    line = recorded(path=path + sent, sent_path=sent)

    assert line["path"] == (path + sent).decode("latin-1")
    assert line["target_url"].endswith(sent.decode("latin-1"))
    assert line["level"] == "INFO"
    assert len(line) == 13


def test_who_asked_stands_in_the_line():
    principal = Principal("jwt", 'a"b\N{SNOWMAN}', owner="https://issuer.example")
    assert recorded(principal=principal)["principal"] == 'jwt:a"b\N{SNOWMAN}'
