"""Through every name and every value: nothing a client sends becomes part of a statement."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from gateway.stores import Database
from tests.rows import Client, migrate, pages

PAGES = "/api/v1/pages/"
SQL = [
    "'; DROP TABLE pages; --",
    '"; DROP TABLE pages; --',
    "1); DELETE FROM pages; --",
    "1 OR 1=1",
    "' OR ''='",
    "x' UNION SELECT id, name FROM authors --",
    "id) FROM pages; DROP TABLE pages; --",
    "$1",
    "%s",
    "?",
    ":1",
    "\\",
    "$$; DROP TABLE pages; $$",
    "pg_sleep(10)",
    "E'\\'",
    '"id"',
    "id::text",
    "(SELECT 1)",
    "NULL",
    "CURRENT_USER",
]


@pytest.fixture
async def client(stores: dict[str, str], database: Database) -> AsyncIterator[Client]:
    await migrate(database)
    async with pages(stores, apis={"pages": {"tables": {"authors": {}}}}) as made:
        await made.made(slug="kept")
        yield made


async def unharmed(client: Client) -> bool:
    answer = await client.get(PAGES)
    slugs = [row["slug"] for row in answer.json["items"]]
    return answer.status == 200 and "kept" in slugs


@pytest.mark.parametrize("text", SQL)
async def test_value_is_only_a_value(client: Client, text: str) -> None:
    row = await client.made(slug="new", title=text, data={text: text})
    assert (row["title"], row["data"]) == (text, {text: text})
    found = (await client.get(f"{PAGES}?title={quote(text)}")).json
    assert [one["slug"] for one in found["items"]] == ["new"]
    inside = (await client.get(f"{PAGES}?title__contains={quote(text)}")).json
    assert [one["slug"] for one in inside["items"]] == ["new"]
    listed = (await client.get(f"{PAGES}?title__in={quote(text)}")).json
    assert listed["total"] == ("," not in text)
    changed = await client.ask(
        "PUT", f"{PAGES}{row['id']}", {"slug": "new", "title": "x", "data": text}
    )
    assert changed.json["data"] == text
    assert await unharmed(client)


@pytest.mark.parametrize("text", SQL)
async def test_name_is_of_a_column_or_refused(client: Client, text: str) -> None:
    sent = quote(text, safe="")
    for query in (f"sort={sent}", f"sort=-{sent}", f"{sent}=1", f"{sent}__gt=1", f"id__{sent}=1"):
        assert (await client.get(f"{PAGES}?{query}")).status == 422, query
    for query in (f"limit={sent}", f"offset={sent}", f"cursor={sent}", f"id={sent}"):
        assert (await client.get(f"{PAGES}?{query}")).status == 422, query
    body = {"slug": "b", "title": "B", text: 1}
    for method, path in (("POST", PAGES), ("PUT", PAGES + "1")):
        assert (await client.ask(method, path, body)).status == 422
    assert await unharmed(client)


@pytest.mark.parametrize("text", SQL)
async def test_path_names_a_row_or_none(client: Client, text: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = await client.ask(method, PAGES + quote(text, safe=""), {"slug": "b", "title": "B"})
        assert answer.status in (400, 404)
    assert (await client.get(f"/api/v1/{quote(text, safe='')}/")).status in (400, 404)
    assert await unharmed(client)


@pytest.mark.parametrize("text", SQL)
async def test_etag_is_only_compared(client: Client, text: str) -> None:
    body = {"slug": "b", "title": "B"}
    for name in ("If-Match", "If-None-Match"):
        answer = await client.ask("GET", PAGES + "1", None, f'{name}: "{text}"')
        assert answer.status == 200
    assert (await client.ask("PUT", PAGES + "1", body, f'If-Match: "{text}"')).status == 412
    assert (await client.ask("DELETE", PAGES + "1", None, f'If-Match: "{text}"')).status == 412
    assert await unharmed(client)


async def test_columns_and_tables_may_have_any_name(
    stores: dict[str, str], database: Database
) -> None:
    names = ["`", 'a"b', "select", "a b", "x__gt", "_hidden", "model_fields", "1st", "a'b", "limit"]
    listed = ", ".join('"' + name.replace('"', '""') + '" TEXT' for name in names)
    await database.execute(f'CREATE TABLE "Order-by.x" (id BIGINT PRIMARY KEY, {listed})')
    await database.execute(f'CREATE TABLE "select" (id BIGINT PRIMARY KEY, {listed})')
    async with pages(
        stores, apis={"pages": {"table": "select", "tables": {"Order-by.x": {}}}}
    ) as c:
        for path in (PAGES, "/api/v1/Order-by.x/"):
            row = {"id": 1, **{name: f"v {name}" for name in names}}
            assert (await c.post(path, row)).json == row
            for name in names[:-1]:
                sent = quote(name, safe="")
                found = await c.get(f"{path}?{sent}={quote(f'v {name}')}&sort=-{sent}")
                assert found.json["items"] == [row]
            assert (await c.get(f"{path}?limit__eq=v%20limit")).json["items"] == [row]
            row = {"id": 1, **dict.fromkeys(names)}
            assert (await c.ask("PUT", path + "1", {})).json == row
            assert (await c.ask("DELETE", path + "1")).status == 204


async def test_many_that_change_one_row_at_once_lose_nothing(client: Client) -> None:
    """Each reads, adds one and replaces, until nobody else was faster."""

    async def add() -> None:
        for _ in range(200):
            row = await client.get(PAGES + "1")
            body = {"slug": "kept", "title": "A", "size": (row.json["size"] or 0) + 1}
            done = await client.ask("PUT", PAGES + "1", body, f"If-Match: {row.etag}")
            if done.status == 200:
                return
            assert done.status == 412

    await asyncio.gather(*(add() for _ in range(8)))
    assert (await client.get(PAGES + "1")).json["size"] == 8
