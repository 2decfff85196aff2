"""The policy by itself: which path it looks for, what it decides at once, what it waits for."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.errors import GatewayError, ValidationFailed
from gateway.policies.validation import OFFLOAD, Validation, sent_by
from tests.openapi.describing import api, parameter

INTEGER = {"type": "integer"}
BODY = {
    "content": {
        "application/json": {"schema": {"type": "array", "items": INTEGER}},
        "image/png": {},
    }
}
API = api(
    {
        "/orders": {"get": {"parameters": [parameter(INTEGER)]}, "post": {"requestBody": BODY}},
        "/orders/{id}": {"get": {"parameters": [parameter({}, "path", "id", required=True)]}},
        "/": {"get": {}},
    }
)
JSON = (b"Content-Type: application/json",)


def policy(*, sent: Any = None, refuses: bool = True, limit: int = 1 << 20) -> Validation:
    return Validation(API, sent=sent, refuses_unlisted=refuses, body_limit=limit)


def exchange(
    path: bytes = b"/orders",
    query: bytes = b"",
    method: bytes = b"GET",
    lines: Any = (),
    body: bytes = b"",
) -> Any:
    async def read(limit: int) -> bytes:
        await asyncio.sleep(0)
        return body

    return SimpleNamespace(
        path=path,
        query=query,
        head=SimpleNamespace(method=method, lines=list(lines), length=len(body)),
        waiting=SimpleNamespace(body=read),
        request_id=b"1",
        traceparent=b"2",
        upward=(),
        withheld=frozenset(),
    )


def status(made: Validation, asked: Any) -> int:
    """What is answered at once; 0: nothing."""
    try:
        assert made.enter(asked) is None
    except GatewayError as error:
        return error.status
    return 0


@pytest.mark.parametrize(
    ("path", "refusing", "passing"),
    [
        (b"/orders", 0, 0),
        (b"/orders/7", 0, 0),
        (b"/orders/a%20b", 0, 0),
        (b"/orders/7;v=1", 0, 0),
        (b"/%6frders", 0, 0),
        (b"/orders/", 404, 0),
        (b"/Orders", 404, 0),
        (b"/other", 404, 0),
        (b"/a/../b", 404, 0),
        # To somebody who decodes and resolves them they are something else.
        (b"/orders/..", 422, 422),
        (b"/orders/.", 422, 422),
        (b"/orders/%2e%2e", 422, 422),
        (b"/orders/..%2fadmin", 422, 422),
        (b"/orders/a%2Fb", 422, 422),
        (b"/orders/a%5cb", 422, 422),
        (b"/orders/;", 422, 422),
        (b"//orders", 422, 422),
        (b"/orders//7", 422, 422),
        (b"/x/../orders", 422, 422),
        (b"/x/..%2forders/7", 422, 422),
    ],
)
def test_path_is_looked_for_in_both_its_meanings(path: bytes, refusing: int, passing: int) -> None:
    assert status(policy(), exchange(path)) == refusing
    assert status(policy(refuses=False), exchange(path)) == passing


def test_path_that_goes_up_is_the_one_that_is_looked_for() -> None:
    made = policy(sent=sent_by(len(b"/api/v1"), b""))
    assert status(made, exchange(b"/api/v1/orders")) == 0
    assert status(made, exchange(b"/api/v1")) == 0  # "/" there
    assert status(made, exchange(b"/api/v1/other")) == 404
    assert sent_by(4, b"/v2")(b"/api/orders") == b"/v2/orders"
    assert sent_by(4, b"")(b"/api") == b"/"


def test_method_that_is_not_described_is_405_even_where_paths_may_be_unlisted() -> None:
    for made in (policy(), policy(refuses=False)):
        with pytest.raises(GatewayError) as raised:
            made.enter(exchange(method=b"PATCH"))
        assert raised.value.status == 405
        assert raised.value.fields == (b"Allow: GET, HEAD, POST",)


def test_flaws_are_told_in_details() -> None:
    with pytest.raises(ValidationFailed) as raised:
        policy().enter(exchange(query=b"?q=secret"))
    assert raised.value.details == [
        {"in": "query", "name": "q", "path": "", "message": "expected integer"}
    ]
    assert raised.value.status == 422


@pytest.mark.parametrize(
    ("method", "lines", "body"),
    [
        (b"GET", (), b""),
        (b"GET", JSON, b"x"),  # not described
        (b"POST", (), b""),  # not required
        (b"POST", (b"Content-Type: image/png",), b"x"),  # no schema
    ],
)
def test_body_that_has_no_schema_is_not_waited_for(method: bytes, lines: Any, body: bytes) -> None:
    assert policy().enter(exchange(method=method, lines=lines, body=body)) is None


async def asked(body: bytes, **more: Any) -> list[dict[str, str]]:
    """What is told of a body."""
    waited = policy(**more).enter(exchange(method=b"POST", lines=JSON, body=body))
    assert waited is not None
    try:
        await waited
    except ValidationFailed as error:
        return [dict(each) for each in error.details]
    return []


async def test_body_is_read_and_checked() -> None:
    assert await asked(b"[1]") == []
    assert await asked(b'["x"]') == [
        {"in": "body", "name": "", "path": "/0", "message": "expected integer"}
    ]


async def test_large_body_is_checked_beside_the_loop() -> None:
    good = json.dumps([1] * OFFLOAD).encode()
    assert await asked(good) == []
    assert await asked(good[:-1] + b",null]") == [
        {"in": "body", "name": "", "path": f"/{OFFLOAD}", "message": "expected integer"}
    ]


def test_body_over_its_limit_is_refused_before_it_is_read() -> None:
    made = policy(limit=4)
    over = exchange(method=b"POST", lines=JSON, body=b"[1,2]")
    assert status(made, over) == 413


def test_fields_are_those_that_go_up() -> None:
    tenant = parameter({"const": "a"}, "header", "X-Tenant", required=True)
    traced = parameter({"const": "1"}, "header", "X-Request-ID", required=True)
    described = api({"/x": {"get": {"parameters": [tenant, traced]}}})
    made = Validation(described, sent=None, refuses_unlisted=True, body_limit=1)
    asked = exchange(b"/x", lines=(b"X-Tenant: a",))
    assert status(made, asked) == 0
    asked.withheld = frozenset((b"x-tenant",))
    assert status(made, asked) == 422
    asked.head.lines = [b"X_Tenant: a"]
    assert status(made, asked) == 422
    asked.upward = (b"X-Tenant: a",)
    assert status(made, asked) == 0


def test_head_is_decided_before_the_body() -> None:
    wrong = exchange(method=b"POST", lines=(b"Content-Type: text/plain",), body=b"[1]")
    assert status(policy(), wrong) == 422
