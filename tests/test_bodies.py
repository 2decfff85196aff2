"""A JSON object as a model, and what is said of one that is none."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import Field

from gateway.bodies import Asked, flaw, invalid, parsed, read
from gateway.errors import BadRequest, GatewayError, PayloadTooLarge, ValidationFailed


class Inner(Asked):
    size: int = 1


class Model(Asked):
    name: str
    day: date | None = None
    price: Decimal | None = None
    id: UUID | None = None
    inner: list[Inner] = Field([], alias="in/ner~")


def test_text_stands_for_what_json_lacks() -> None:
    made = parsed(
        b'{"name":"a","day":"2024-02-29","price":"1.10",'
        b'"id":"6f9619ff-8b86-d011-b42d-00c04fc964ff"}',
        Model,
    )
    assert (made.day, str(made.price)) == (date(2024, 2, 29), "1.10")
    assert isinstance(made.id, UUID)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"a"', b"\xff", b'{"name":NaN}', b"{'name':1}", b"{}x"]
)
def test_what_is_no_object_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        parsed(body, Model)
    assert not caught.value.closes


def test_nesting_has_an_end() -> None:
    with pytest.raises(BadRequest):
        parsed(b'{"name":' + b"[" * 500 + b"]" * 500 + b"}", Model)
    with pytest.raises(BadRequest):
        parsed(b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}", Model)


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        (b"{}", ["/name"]),
        (b'{"name":5}', ["/name"]),
        (b'{"name":"a","more":1,"day":1}', ["/day", "/more"]),
        (b'{"name":"a","in/ner~":[{},{"size":"x"}]}', ["/in~1ner~0/1/size"]),
        (b'{"name":"a","in/ner~":[{"size":true}]}', ["/in~1ner~0/0/size"]),
    ],
)
def test_content_that_does_not_fit_is_told_where(body: bytes, paths: list[str]) -> None:
    with pytest.raises(ValidationFailed) as caught:
        parsed(body, Model)
    assert sorted(str(one["path"]) for one in caught.value.details) == paths
    assert all(one["in"] == "body" and one["name"] == "" for one in caught.value.details)


def test_what_was_sent_is_not_said_again() -> None:
    with pytest.raises(ValidationFailed) as caught:
        parsed(b'{"name":["hunter2"],"day":"hunter2","price":"hunter2"}', Model)
    assert "hunter2" not in repr(caught.value.details)


def test_flaw_says_its_place() -> None:
    assert flaw(("limit",), "no", "query") == {
        "in": "query", "name": "limit", "path": "", "message": "no",
    }  # fmt: skip
    (told,) = invalid("no", "a", 1).details
    assert told == {"in": "body", "name": "", "path": "/a/1", "message": "no"}
    (whole,) = invalid("no").details
    assert whole["path"] == ""


async def test_body_is_read_up_to_its_limit() -> None:
    heard: list[object] = []

    async def handler(request: web.Request) -> web.Response:
        try:
            heard.append((await read(request, Model, 20)).name)
        except GatewayError as error:
            heard.append(type(error))
        return web.Response()

    application = web.Application()
    application.router.add_post("/", handler)
    async with TestClient(TestServer(application)) as client:
        for body in (b'{"name":"123456789"}', b'{"name":"1234567890"}', b" " * 100_000):
            await client.post("/", data=body)
    assert heard == ["123456789", PayloadTooLarge, PayloadTooLarge]
