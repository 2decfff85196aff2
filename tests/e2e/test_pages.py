"""Rows over HTTP, from a gateway at work: the same suite on PostgreSQL and on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.stores import Database
from tests.rows import Client, migrate, pages

PAGES = "/api/v1/pages/"
FULL: dict[str, Any] = {
    "slug": "full",
    "title": "\N{SNOWMAN} 'quoted' \\ $1 %s",
    "mood": "it's",
    "kind": "b'c",
    "size": 9_007_199_254_740_993,
    "price": "1234.50",
    "ratio": 0.1,
    "good": True,
    "ref": "6f9619ff-8b86-d011-b42d-00c04fc964ff",
    "day": "2024-02-29",
    "at": "2024-02-29T12:30:45.123456",
    "zone": "2024-02-29T12:30:45+00:00",
    "data": {"deep": [1, None, {"x": "y"}]},
    "raw": "\\x00ff",
    "lang": "en",
}
NULLS = dict.fromkeys(
    ("kind", "author", "size", "price", "ratio", "good", "ref", "day", "at", "zone", "data", "raw"),
)


@pytest.fixture
async def client(stores: dict[str, str], database: Database) -> AsyncIterator[Client]:
    await migrate(database)
    tables = {"authors": {}, "sad_pages": {}}
    async with pages(stores, apis={"pages": {"tables": tables, "largest_page": 100}}) as made:
        yield made


# ------------------------------------------------------------------------------------ one row


async def test_row_of_every_type_comes_back_as_it_went_in(client: Client) -> None:
    created = await client.post(PAGES, FULL)
    assert created.status == 201
    row = created.json
    assert {name: row[name] for name in FULL} == FULL
    assert row["twice"] == 2 * FULL["size"]
    assert row["created"].startswith("20")
    read = await client.get(f"{PAGES}{row['id']}")
    assert (read.status, read.json, read.etag) == (200, row, created.etag)
    listed = await client.get(PAGES)
    assert listed.json["items"] == [row]


async def test_created_row_is_where_it_is_said_to_be(client: Client) -> None:
    created = await client.post(PAGES, {"slug": "a", "title": "A"})
    assert (await client.get(created.head[b"location"].decode())).json == created.json


async def test_what_is_left_out_is_the_default_or_null(client: Client) -> None:
    row = await client.made()
    assert {name: row[name] for name in NULLS} == NULLS
    assert row["mood"] == "ok"
    assert row["id"] == 1


async def test_null_is_kept_where_it_may_be(client: Client) -> None:
    assert (await client.made(**NULLS))["size"] is None


async def test_moment_with_a_zone_is_kept_in_utc(client: Client) -> None:
    row = await client.made(at="2024-01-01T01:00:00+02:00", zone="2024-01-01T01:00:00+02:00")
    assert (row["at"], row["zone"]) == ("2023-12-31T23:00:00", "2023-12-31T23:00:00+00:00")


@pytest.mark.parametrize("price", ["1.5", 1.5, "1.50"])
async def test_number_is_exact(client: Client, price: object) -> None:
    assert (await client.made(price=price))["price"] == "1.50"


@pytest.mark.parametrize("data", [5, "5", [], {}, True, "null", 1.5, "\N{SNOWMAN}", "\\u0000"])
async def test_json_comes_back_as_it_went_in(client: Client, data: object) -> None:
    assert (await client.made(data=data))["data"] == data


@pytest.mark.parametrize("name", ["2", "x", "%20", "99999999999999999999", "1'", "-", "1.5"])
async def test_row_that_is_not_there_is_not_found(client: Client, name: str) -> None:
    await client.made()
    for method in ("GET", "PUT", "DELETE"):
        answer = await client.ask(method, PAGES + name, {"slug": "b", "title": "B"})
        assert (answer.status, answer.json["error"]) == (404, "not_found")
    assert (await client.get(PAGES)).json["total"] == 1


async def test_row_is_not_sent_again_to_who_has_it(client: Client) -> None:
    await client.made()
    etag = (await client.get(PAGES + "1")).etag
    again = await client.get(PAGES + "1", f'If-None-Match: "x", W/{etag}')
    assert (again.status, again.body, again.etag) == (304, b"", etag)
    assert (await client.get(PAGES + "1", 'If-None-Match: "x"')).status == 200


# ------------------------------------------------------------------------------------ changes


async def test_replaced_row_is_the_new_one_whole(client: Client) -> None:
    row = (await client.post(PAGES, FULL)).json
    new = {"slug": "b", "title": "B"}
    replaced = await client.ask("PUT", f"{PAGES}{row['id']}", new)
    assert replaced.status == 200
    found = replaced.json
    assert (found["id"], found["slug"], found["title"], found["mood"]) == (
        row["id"],
        "b",
        "B",
        "ok",
    )
    assert {name: found[name] for name in NULLS} == NULLS
    assert (await client.get(f"{PAGES}{row['id']}")).json == found


async def test_row_that_was_read_can_be_sent_back(client: Client) -> None:
    row = (await client.post(PAGES, FULL)).json
    path = f"{PAGES}{row['id']}"
    read = await client.get(path)
    again = await client.ask("PUT", path, {**row, "size": 2}, f"If-Match: {read.etag}")
    assert (again.status, again.json) == (200, {**row, "size": 2, "twice": 4})
    assert (await client.post(PAGES, {"slug": "b", "title": "B", "twice": 4})).flaws == ["/twice"]


async def test_row_is_replaced_by_who_knows_it_as_it_is(client: Client) -> None:
    await client.made()
    old = (await client.get(PAGES + "1")).etag
    body = {"slug": "b", "title": "B"}
    first = await client.ask("PUT", PAGES + "1", body, f'If-Match: "x", {old}')
    assert first.status == 200
    late = await client.ask("PUT", PAGES + "1", {**body, "title": "C"}, f"If-Match: {old}")
    assert (late.status, late.json["error"]) == (412, "precondition_failed")
    weak = await client.ask("PUT", PAGES + "1", body, f"If-Match: W/{first.etag}")
    assert weak.status == 412
    assert (await client.ask("PUT", PAGES + "1", body, "If-Match: *")).status == 200
    assert (await client.get(PAGES + "1")).json["title"] == "B"


async def test_row_that_is_gone_is_not_replaced(client: Client) -> None:
    body = {"slug": "b", "title": "B"}
    assert (await client.ask("PUT", PAGES + "1", body, "If-Match: *")).status == 404
    assert (await client.get(PAGES)).json["total"] == 0


async def test_row_keeps_its_name(client: Client) -> None:
    await client.made()
    refused = await client.ask("PUT", PAGES + "1", {"id": 2, "slug": "b", "title": "B"})
    assert (refused.status, refused.flaws) == (422, ["/id"])
    same = await client.ask("PUT", PAGES + "1", {"id": 1, "slug": "b", "title": "B"})
    assert same.status == 200


async def test_row_is_deleted_once(client: Client) -> None:
    await client.made()
    stale = await client.ask("DELETE", PAGES + "1", None, 'If-Match: "x"')
    assert stale.status == 412
    gone = await client.ask("DELETE", PAGES + "1")
    assert (gone.status, gone.body) == (204, b"")
    assert (await client.ask("DELETE", PAGES + "1")).status == 404


# ---------------------------------------------------------------------------- what is refused

WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"title": None}, ["/title"]),
    ({"slug": "thirteen.char"}, ["/slug"]),
    ({"slug": 5}, ["/slug"]),
    ({"title": "a\0b"}, ["/title"]),
    ({"mood": "glad"}, ["/mood"]),
    ({"mood": None}, ["/mood"]),
    ({"kind": "c"}, ["/kind"]),
    ({"author": "x"}, ["/author"]),
    ({"size": True}, ["/size"]),
    ({"size": 1.5}, ["/size"]),
    ({"size": 1 << 63}, ["/size"]),
    ({"size": -(1 << 63) - 1}, ["/size"]),
    ({"price": "12345.67"}, ["/price"]),
    ({"price": "1.234"}, ["/price"]),
    ({"price": "NaN"}, ["/price"]),
    ({"price": "1E999999999"}, ["/price"]),
    ({"ratio": "1"}, ["/ratio"]),
    ({"good": 1}, ["/good"]),
    ({"good": "true"}, ["/good"]),
    ({"ref": "6f9619ff"}, ["/ref"]),
    ({"day": "2024-02-30"}, ["/day"]),
    ({"day": 5}, ["/day"]),
    ({"at": "yesterday"}, ["/at"]),
    ({"at": "0.5"}, ["/at"]),
    ({"day": "19000"}, ["/day"]),
    ({"at": "0001-01-01T00:00:00+01:00"}, ["/at"]),
    ({"zone": 1}, ["/zone"]),
    ({"data": {"a": "\0"}}, ["/data"]),
    ({"raw": "00"}, ["/raw"]),
    ({"created": None}, ["/created"]),
    ({"no/such~column": 1}, ["/no~1such~0column"]),
    ({"slug": None, "size": "x", "day": "x"}, ["/slug", "/size", "/day"]),
    ({"size": -1}, ["/size"]),
]


@pytest.mark.parametrize(("row", "flaws"), WRONG, ids=map(str, range(len(WRONG))))
async def test_content_that_does_not_fit_is_told_where(
    client: Client, row: dict[str, Any], flaws: list[str]
) -> None:
    await client.made(slug="there")
    body = {"slug": "a", "title": "A", **row}
    for method, path in (("POST", PAGES), ("PUT", PAGES + "1")):
        answer = await client.ask(method, path, body)
        assert (answer.status, answer.json["error"]) == (422, "validation_error")
        assert answer.flaws == flaws
        assert all(flaw["in"] == "body" and flaw["message"] for flaw in answer.json["details"])
    (only,) = (await client.get(PAGES)).json["items"]
    assert only["slug"] == "there"


async def test_column_that_is_needed_is_asked_for(client: Client) -> None:
    answer = await client.post(PAGES, {})
    assert (answer.status, answer.flaws) == (422, ["/slug", "/title"])


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b'{"a":NaN}', b"\xff", b"[" * 5000])
async def test_body_that_is_no_object_is_a_bad_request(client: Client, body: bytes) -> None:
    assert (await client.post(PAGES, body)).status == 400


async def test_nesting_has_an_end(client: Client) -> None:
    deep = b'{"slug":"a","title":"A","data":' + b"[" * 900 + b"]" * 900 + b"}"
    assert (await client.post(PAGES, deep)).status == 400


async def test_body_that_is_too_large_is_refused(client: Client) -> None:
    body = {"slug": "a", "title": "x" * (1 << 20)}
    assert (await client.post(PAGES, body)).status == 413


async def test_row_that_is_there_already_is_a_conflict(client: Client) -> None:
    await client.made(slug="a", lang="en", kind="a")
    for row, flaws in (
        ({"slug": "a"}, ["/slug"]),
        ({"slug": "b", "id": 1}, ["/id"]),
        ({"slug": "b", "lang": "en", "kind": "a"}, ["/lang", "/kind"]),
    ):
        answer = await client.post(PAGES, {"title": "B", **row})
        assert (answer.status, answer.json["error"]) == (409, "conflict")
        assert answer.flaws == flaws
    other = await client.made(slug="c")
    taken = await client.ask("PUT", f"{PAGES}{other['id']}", {"slug": "a", "title": "C"})
    assert (taken.status, taken.flaws) == (409, ["/slug"])


async def test_row_refers_to_one_that_is_there(client: Client) -> None:
    lost = await client.post(PAGES, {"slug": "a", "title": "A", "author": 7})
    assert (lost.status, lost.flaws) == (409, ["/author"])
    author = await client.post("/api/v1/authors/", {"id": 7, "name": "Ann"})
    assert author.head[b"location"] == b"/api/v1/authors/7"
    page = f"{PAGES}{(await client.made(author=7))['id']}"
    moved = await client.ask("PUT", page, {"slug": "a", "title": "A", "author": 8})
    assert (moved.status, moved.flaws) == (409, ["/author"])
    needed = await client.ask("DELETE", "/api/v1/authors/7")
    assert (needed.status, needed.flaws) == (409, ["id"])
    assert needed.json["details"][0]["in"] == "path"


async def test_errors_say_nothing_of_the_database(client: Client) -> None:
    await client.made()
    for body in ({"slug": "a", "title": "A"}, {"slug": "b", "title": "B", "size": -1}):
        text = (await client.post(PAGES, body)).body.decode()
        for word in (
            "constraint",
            "pages_slug_key",
            "sized",
            "INSERT",
            "asyncpg",
            "sqlite",
            "Key (",
        ):
            assert word not in text


# -------------------------------------------------------------------------------------- views


async def test_view_is_read_only(client: Client) -> None:
    await client.made(slug="a", mood="sad", size=3)
    await client.made(slug="b")
    view = "/api/v1/sad_pages/"
    assert (await client.get(view)).json["items"] == [{"id": 1, "slug": "a", "size": 3}]
    assert (await client.get(view + "1")).json["slug"] == "a"
    assert (await client.get(view + "2")).status == 404
    for method, path in (("POST", view), ("PUT", view + "1"), ("DELETE", view + "1")):
        refused = await client.ask(method, path, {"slug": "x"})
        assert (refused.status, refused.head[b"allow"]) == (405, b"GET, HEAD")
    assert (await client.get(PAGES)).json["total"] == 2


async def test_table_that_is_not_turned_on_does_not_exist(client: Client) -> None:
    for name in ("gateway_migrations", "sqlite_master", "pg_user", "page", "PAGES", "utils"):
        assert (await client.get(f"/api/v1/{name}/")).status == 404
