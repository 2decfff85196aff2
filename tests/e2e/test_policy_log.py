"""What the log says of odd and hostile requests: one line each, whole, and no word of theirs in
place of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.policy import sent_up, told
from tests.e2e.stage import OK, stage

Capture = pytest.CaptureFixture[str]


def requests(captured: Capture) -> list[dict[str, Any]]:
    """The log's lines about requests."""
    lines = [json.loads(line) for line in captured.readouterr().out.splitlines()]
    return [line for line in lines if line["event"] == "request"]


@pytest.mark.parametrize(
    ("data", "status", "method", "path"),
    [
        (b"GET /api/.. HTTP/1.1\r\nHost: a\r\n\r\n", 400, "GET", "/api/.."),
        (b"GET /api/x?token=a HTTP/1.1\r\n\r\n", 400, "GET", "/api/x"),
        (b"GET /nothing?token=a HTTP/1.1\r\nHost: a\r\n\r\n", 404, "GET", "/nothing"),
        (b"TRACE /api/x HTTP/1.1\r\nHost: a\r\n\r\n", 405, "TRACE", "/api/x"),
        (b"PURGE /api/x HTTP/3\r\n\r\n", 505, "PURGE", "/api/x"),
        (b'GET /","status_code":200,"a":" HTTP/1.1\r\nHost: a\r\n\r\n', 404, "GET",
         '/","status_code":200,"a":"'),
        (b'G","T /api/x HTTP/1.1\r\nHost: a\r\n\r\n', 400, "-", "/api/x"),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200, "OPTIONS", "*"),
    ],
)  # fmt: skip
async def test_a_request_that_never_went_up_has_its_line(
    data: bytes, status: int, method: str, path: str, capfd: Capture
) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(data)
        answer = await told(client)
        assert answer.status == status
    [line] = requests(capfd)
    assert (line["status_code"], line["method"], line["path"]) == (status, method, path)
    assert line["client_ip"] == "127.0.0.1"
    assert line["target_url"] is None
    assert line["bytes_sent"] == len(answer.body)
    assert f"X-Request-ID: {line['request_id']}\r\n".encode() in answer.head


@pytest.mark.parametrize(
    "data",
    [
        b'GET /\xff"\\\x00\n\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n', b"\x00\xff\r\n\r\n",
        b'"} {"event":"request"} HTTP/1.1\r\n\r\n', b"GET /\xe2\x80\xa8 HTTP/1.1\r\n\r\n",
        b"GET " + b'"' * 9000 + b" HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET /a\nGET /b HTTP/1.1\r\n\r\n",
    ],
)  # fmt: skip
async def test_nothing_that_a_client_sends_breaks_the_log(data: bytes, capfd: Capture) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(data)
        status = (await told(client)).status
    [line] = requests(capfd)
    assert line["status_code"] == status
    assert line["client_ip"] == "127.0.0.1"
    assert set(line) == {
        "timestamp", "level", "event", "request_id", "method", "path", "target_service",
        "target_url", "status_code", "duration_ms", "client_ip", "bytes_sent", "trace_id",
    }  # fmt: skip


TRUST = ["127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32"]


@pytest.mark.parametrize(
    ("trusted", "said", "address"),
    [
        ([], [b"X-Forwarded-For: 6.6.6.6"], "127.0.0.1"),
        (["10.0.0.0/8"], [b"X-Forwarded-For: 6.6.6.6"], "127.0.0.1"),
        (TRUST, [], "127.0.0.1"),
        (TRUST, [b"X-Forwarded-For: 1.2.3.4"], "1.2.3.4"),
        (TRUST, [b"X-Forwarded-For: 6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        (TRUST, [b"X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.0.0.1, 10.2.3.4"], "1.2.3.4"),
        (TRUST, [b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-For: 1.2.3.4"], "1.2.3.4"),
        (TRUST, [b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-For:10.0.0.1"], "1.2.3.4"),
        (TRUST, [b"X-Forwarded-For: 10.0.0.7,10.0.0.1"], "10.0.0.7"),
        (TRUST, [b"X-Forwarded-For: 2001:db8::1, 2001:470::5, 2001:db8::2"], "2001:470::5"),
        (TRUST, [b"X-Forwarded-For: 6.6.6.6, nonsense"], "127.0.0.1"),
        (TRUST, [b"X-Forwarded-For: 6.6.6.6, nonsense, 10.0.0.1"], "10.0.0.1"),
        (TRUST, [b"X-Forwarded-For: 6.6.6.6,,10.0.0.1"], "10.0.0.1"),
        (TRUST, [b"X-Forwarded-For: fe80::1%eth0"], "127.0.0.1"),
        (TRUST, [b'X-Forwarded-For: 1.2.3.4","status_code":200,"a":"'], "127.0.0.1"),
        (TRUST, [b"X-Forwarded-For: \xff\xfe"], "127.0.0.1"),
        (TRUST, [b"X-Forwarded-For:"], "127.0.0.1"),
        (TRUST, [b"X_Forwarded_For: 6.6.6.6", b"X-Real-IP: 6.6.6.6"], "127.0.0.1"),
    ],
)
async def test_a_client_is_the_last_address_that_somebody_trusted_saw(
    trusted: list[str], said: list[bytes], address: str, capfd: Capture
) -> None:
    async with stage(trusted_proxies=trusted) as scene:
        data = b"\r\n".join((b"GET /api/x HTTP/1.1", b"Host: a", *said, b"", b""))
        client, target, _ = await sent_up(scene, data)
        await target.send(OK)
        await told(client)
    [line] = requests(capfd)
    assert line["client_ip"] == address
