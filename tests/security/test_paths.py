"""Tricks with paths: what a careless service behind the gateway would take for a closed path.

Nobody here has the token. What the gateway lets through may not mean a closed path to a service
that decodes it once, takes a backslash for a slash, drops what stands behind a semicolon, and
resolves dots.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from tests.security.attacking import AUTHORISED, CLOSED, attacked, request


def understood(path: bytes) -> bytes:
    """As the careless service reads it; another way of saying it than the gateway's own."""
    text = unquote_to_bytes(path.partition(b"?")[0]).replace(b"\\", b"/").decode("latin-1")
    bare = "/".join(part.partition(";")[0] for part in text.split("/"))
    return posixpath.normpath(re.sub("/+", "/", bare)).encode("latin-1")


def is_closed(path: bytes) -> bool:
    return any(path == closed or path.startswith(closed + b"/") for closed in CLOSED)


REFUSED = (
    b"/api/admin",
    b"/api/admin/",
    b"/api/admin/x",
    b"/api/admin?x",
    b"/api/admin/?/api/service1/",
    b"/api/admin;x",
    b"/api/admin/..;/service1",
    b"/api/admin/../service1/x",
    b"/api/admin/%2e%2e/service1/x",
    b"/api/service1/..",
    b"/api/service1/../admin",
    b"/api/service1/../admin/x",
    b"/api/service1/..%2fadmin",
    b"/api/service1/..%2Fadmin",
    b"/api/service1/..%5cadmin",
    b"/api/service1/..%5Cadmin",
    b"/api/service1/%2e%2e/admin",
    b"/api/service1/%2E%2e/admin",
    b"/api/service1/.%2e/admin",
    b"/api/service1/%2e./admin",
    b"/api/service1/%2e%2e%2fadmin",
    b"/api/service1/..;/admin",
    b"/api/service1/..;x=y/admin",
    b"/api/service1/..%3b/admin",
    b"/api/service1/x/../../admin",
    b"/api/service1/x/..%2f..%2fadmin",
    b"/api/service1/./../admin",
    b"/api/service1/x//../../../api/admin",
    b"/api/service1/admin",
    b"/api/service1/admin/",
    b"/api/service1/admin;x",
    b"/api/service1/admin;/x",
    b"/api/service1/./admin",
    b"/api/service1//admin",
    b"/api/service1/x/../admin",
    b"/api/service1/x/..%2fadmin",
    b"/api/service1/%61dmin",
    b"/api/service1/adm%69n/x",
    b"/api/service1%2fadmin",
    b"/api/service1/%2fadmin",
    b"/api/service1/%5cadmin",
    b"/api/service1/admin%2fx",
    b"/api/service1/admin%5cx",
    b"/api/service1/admin%00",
    b"/api/service1/%00/../admin",
    b"/api/%61dmin",
    b"/%61pi/admin",
    b"/api//admin",
    b"//api/admin",
    b"/./api/admin",
    b"/api/./admin",
    b"/x/../api/admin",
    b"/public/../admin",
    b"/public/..%2fadmin",
    b"/public/%2e%2e/admin",
    b"/public/..;/admin",
    b"/public/../../admin",
    b"/mixed/../api/admin",
    b"/health/../api/admin",
    b"/health/..%2fapi%2fadmin",
    b"http://a.test/api/admin",
    b"http://a.test/api/service1/../admin",
    b"http://a.test/api/service1/..%2fadmin",
    b"/api/service1/..\\admin",
    b"/api/service1/../admin#x",
    b"/api/service1/..\xc0\xafadmin",
    b"api/admin",
    b"*",
)


async def test_no_trick_with_a_path_reaches_what_is_closed() -> None:
    async with attacked() as target:
        for path in REFUSED:
            status = await target.get(path)
            assert status in (400, 401, 404), (path, status)
            assert target.service.paths() == [], path


async def test_what_was_tried_is_open_to_whoever_has_the_token() -> None:
    async with attacked() as target:
        for path in (
            b"/api/admin",
            b"/api/admin/x?y",
            b"/api/service1/admin/",
            b"/api/admin/a%20b",
        ):
            assert await target.get(path, AUTHORISED) == 200
            assert target.service.paths() == [path]


# To a service that decodes twice, or that does not tell case, these may be closed paths; such a
# service needs a route with `auth` for all of it. The gateway adds nothing to what was sent.
AS_SENT = (
    b"/api/service1/..%252fadmin",
    b"/api/service1/%252e%252e/admin",
    b"/api/service1/%25%32%65%25%32%65/admin",
    b"/api/service1/%2561dmin",
    b"/api/service1/..%c0%afadmin",
    b"/api/service1/%c0%ae%c0%ae/admin",
    b"/api/service1/%e0%80%ae/admin",
    b"/api/service1/ADMIN",
    b"/api/service1/Admin/x",
    b"/api/service1/admin.",
    b"/api/service1/admin%20",
    b"/api/service1/adminx",
    b"/api/service1/...",
    b"/api/service1/.../admin",
    b"/api/service1/%uff0e%uff0e/admin",
    b"/api/service1/x%2Fy",
    b"/api/service1/a%5cb",
    b"/api/service1?/../admin",
    b"/api/service1/x?next=/api/admin/..%2f",
)


async def test_what_is_another_path_goes_up_as_it_was_sent() -> None:
    async with attacked() as target:
        for path in AS_SENT:
            assert await target.get(path) == 200, path
            assert target.service.paths() == [path]


@pytest.mark.parametrize("path", [b"/API/admin", b"/api/ADMIN", b"/Api/Admin", b"/api/adminx"])
async def test_case_and_likeness_lead_nowhere(path: bytes) -> None:
    async with attacked() as target:
        assert await target.get(path) == 404
        assert target.service.paths() == []


PIECES = (
    b"", b".", b"..", b"%2e", b"%2E%2e", b".%2e", b"..;", b";", b"x", b"admin", b"%61dmin",
    b"..%2f", b"..%5c", b"%2f..", b"%2fadmin", b"..%252f", b"service1", b"api",
)  # fmt: skip
STARTS = (b"/api/service1/", b"/public/", b"/api/")


def combinations() -> Iterator[bytes]:
    """Every path of up to three of these pieces."""
    for start in STARTS:
        for length in (1, 2, 3):
            for pieces in itertools.product(PIECES, repeat=length):
                if length < 3 or b"admin" in b"".join(pieces).replace(b"%61", b"a"):
                    yield start + b"/".join(pieces)


async def test_no_combination_of_tricks_reaches_what_is_closed() -> None:
    asked = tried = 0
    async with attacked() as target:
        for path in combinations():
            asked += 1
            status = await target.get(path)
            went_up = target.service.paths()
            assert (status == 200) is bool(went_up), path
            for each in went_up:
                tried += 1
                assert not is_closed(understood(each)), (path, each)
                assert status == 200
    assert asked > 5000
    assert tried > 500  # it is no wall, but a gateway


SPEC = """
openapi: 3.1.0
paths:
  /api/service1/{id}:
    get: {parameters: [{name: id, in: path, required: true, schema: {type: string}}]}
"""


async def test_no_combination_of_tricks_reaches_a_path_that_is_not_described(
    tmp_path: Path,
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC)
    tried = 0
    async with attacked(validate=str(spec)) as target:
        for path in combinations():
            if not path.startswith(b"/api/service1/"):
                continue
            await target.get(path)
            for each in target.service.paths():
                tried += 1
                assert re.fullmatch(rb"/api/service1/[^/]+", understood(each)), each
    assert tried > 5


async def test_path_on_a_connection_is_decided_by_itself() -> None:
    """A connection remembers its last head: never what it was let in with."""
    async with attacked() as target:
        for _ in range(3):
            assert await target.get(b"/api/admin", AUTHORISED) == 200
            assert await target.get(b"/api/admin") == 401
            assert await target.get(b"/api/service1/x") == 200
            assert await target.get(b"/api/admin", b"X-A: 1") == 401


async def test_pipelined_requests_are_decided_one_by_one() -> None:
    async with attacked() as target:
        client = await target.scene.client()
        await client.send(
            request(b"/api/admin", AUTHORISED)
            + request(b"/api/admin")
            + request(b"/api/service1/x")
            + request(b"/api/service1/..%2fadmin")
            + request(b"/api/admin", AUTHORISED)
        )
        statuses = [int((await client.answer())[0].split()[1]) for _ in range(5)]
    assert statuses == [200, 401, 200, 400, 200]
