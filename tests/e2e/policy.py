"""What tests of hostile input ask for: a refusal with all that belongs to it, and what went up.

Each request that is to be refused is followed by another one in the same bytes, which nobody may
answer and nobody upstream may see: that is what smuggling is.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from tests.e2e.stage import PATIENCE, Connection, Stage, field, fields

CODES = {
    400: "bad_request", 404: "not_found", 405: "method_not_allowed", 408: "request_timeout",
    413: "payload_too_large", 414: "uri_too_long", 417: "expectation_failed",
    431: "header_fields_too_large", 500: "internal_error", 501: "not_implemented",
    502: "bad_gateway", 503: "service_unavailable", 504: "gateway_timeout",
    505: "version_not_supported",
}  # fmt: skip
KEYS = {"error", "message", "path", "timestamp", "status_code", "request_id"}

SMUGGLED = b"GET /api/smuggled HTTP/1.1\r\nHost: smuggled\r\n\r\n"
CONTROL = b"GET /api/control HTTP/1.1\r\nHost: control\r\n\r\n"
ADDED = re.compile(
    rb"X-Forwarded-For: [0-9., ]+\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: [^\r\n]*\r\n"
    rb"X-Request-ID: [0-9a-f]{32}\r\ntraceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-01\r\n\r\n"
)


@dataclass(slots=True)
class Told:
    """What a client was told."""

    status: int
    head: bytes
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        return cast(dict[str, Any], json.loads(self.body))

    @property
    def closes(self) -> bool:
        return field(self.head, b"connection") == b"close"


async def told(client: Connection) -> Told:
    """The next answer."""
    head, body = await client.answer()
    return Told(int(head[9:12]), head, body)


def check_error(answer: Told, status: int) -> None:
    """The answer is an error of the gateway's own, in the one form that they have."""
    assert answer.status == status, answer
    error = answer.error
    assert error.keys() == KEYS
    assert error["error"] == CODES[status]
    assert error["status_code"] == status
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["path"], str)
    moment = datetime.fromisoformat(error["timestamp"])
    assert moment.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)
    assert error["request_id"].encode() == field(answer.head, b"x-request-id")
    assert field(answer.head, b"content-type") == b"application/json"
    assert field(answer.head, b"date")
    assert b"127.0.0.1" not in answer.body
    assert b"Traceback" not in answer.body


async def end(client: Connection) -> None:
    """The gateway has closed the connection, politely, and said nothing more."""
    assert await client.rest() == b""


async def refused(
    scene: Stage, data: bytes, *statuses: int, then: bytes = SMUGGLED, control: bytes = CONTROL
) -> Told:
    """The one answer to `data`, which ends the connection and of which nothing went up."""
    client = await scene.client()
    await client.send(data + then)
    answer = await told(client)
    assert answer.status in statuses, answer
    check_error(answer, answer.status)
    assert answer.closes
    await end(client)
    await untouched(scene, control)
    return answer


async def turned_down(scene: Stage, data: bytes, status: int) -> Told:
    """The answer to `data`, of which nothing went up, on a connection that goes on."""
    client = await scene.client()
    await client.send(data + CONTROL)
    answer = await told(client)
    check_error(answer, status)
    assert not answer.closes
    await reaches(scene, b"GET /api/control ")
    return answer


async def untouched(scene: Stage, control: bytes = CONTROL) -> None:
    """Nothing went up: a request made now is the first thing that the upstream sees."""
    client = await scene.client()
    await client.send(control)
    await reaches(scene, control.partition(b"HTTP/")[0])


async def reaches(scene: Stage, first: bytes) -> Connection:
    """The upstream's first connection, whose first bytes these are."""
    target = await scene.upstream.accept()
    assert (await target.head()).startswith(first)
    assert len(scene.upstream.connections) == 1
    return target


async def sent_up(scene: Stage, data: bytes) -> tuple[Connection, Connection, bytes]:
    """The client, the upstream's connection, and the head of `data` as it came there."""
    client = await scene.client()
    await client.send(data)
    target = await scene.upstream.accept()
    return client, target, await target.head()


def own(head: bytes) -> bytes:
    """A head that went up, without what the gateway adds behind the client's lines."""
    mine, mark, added = head.partition(b"X-Forwarded-For: ")
    assert ADDED.fullmatch(mark + added), head
    return mine


async def passes(scene: Stage, *lines: bytes, host: bytes = b"a") -> list[bytes]:
    """The lines that an upstream gets of a request with these, without the gateway's."""
    data = b"\r\n".join((b"GET /api/x HTTP/1.1", b"Host: " + host, *lines, b"", b""))
    _, _, head = await sent_up(scene, data)
    first, second, *rest = own(head).removesuffix(b"\r\n").split(b"\r\n")
    assert first == b"GET /api/x HTTP/1.1"
    assert second == b"Host: " + host
    return rest


async def comes_down(
    scene: Stage, answer: bytes, asked: bytes = CONTROL
) -> tuple[Connection, Connection, Told]:
    """The client, the upstream's connection, and what became of this answer of its."""
    client, target, _ = await sent_up(scene, asked)
    await target.send(answer)
    return client, target, await told(client)


async def until_gone(connection: Connection) -> bytes:
    """What comes until the gateway has thrown the connection away, politely or not."""
    data = b""
    async with asyncio.timeout(PATIENCE):
        try:
            while piece := await connection.reader.read(1 << 16):
                data += piece
        except ConnectionError:
            pass
    return data


def values(head: bytes, name: bytes) -> list[bytes]:
    """All values of the fields of this name, in order."""
    return [value for known, value in fields(head) if known == name]
