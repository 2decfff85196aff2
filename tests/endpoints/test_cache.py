"""What a purge is asked for with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.endpoints.cache import CachePurge, read
from gateway.errors import BadRequest, ValidationFailed

KEYS = [
    b"http://a.test/x",
    b"http://a.test/x?q=1",
    b"http://a.test/x?q=1\nvariant",
    b"http://a.test/x/y",
    b"https://b.test/x",
    b"http://a.test/xy",
]


def taken(**asked: str) -> list[bytes]:
    wanted = read(orjson.dumps(asked))
    return [key for key in KEYS if wanted(key)]


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({"key": "http://a.test/x"}, [0]),
        ({"key": "HTTP://A.test:80/x?q=1"}, [1, 2]),
        ({"key": "https://b.test:443/x"}, [4]),
        ({"path": "/x"}, [0, 1, 2, 4]),
        ({"path": "/x", "host": "B.test"}, [4]),
        ({"prefix": "/x"}, [0, 1, 2, 3, 4, 5]),
        ({"prefix": "/x/", "host": "a.test"}, [3]),
        ({"prefix": "/x?q"}, [1, 2]),
    ],
)
def test_what_goes(asked: dict[str, str], numbers: list[int]) -> None:
    assert taken(**asked) == [KEYS[number] for number in numbers]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1"])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        read(data)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"host": "a"},
        {"key": "http://a/", "path": "/"},
        {"path": "/", "more": "1"},
        {"path": 5},
        {"path": "/", "host": 5},
        {"path": "x"},
        {"prefix": ""},
        {"path": "/ä"},
        {"key": "/x"},
        {"key": "ftp://a/x"},
        {"key": "http:///x"},
    ],
)
def test_what_says_nothing_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationFailed) as caught:
        read(orjson.dumps(asked))
    assert caught.value.details


async def test_answer_tells_how_many_went() -> None:
    async def purge(wanted: Callable[[bytes], bool]) -> int:
        return sum(map(wanted, KEYS))

    application = web.Application()
    application.router.add_post("/", CachePurge(purge).answer)
    async with TestClient(TestServer(application)) as client:
        answer = await client.post("/", json={"prefix": "/"})
        assert orjson.loads(await answer.read()) == {"purged": 6}
