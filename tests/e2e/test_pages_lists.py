"""Lists of rows: parts, sorting, filters. The same suite on PostgreSQL and on SQLite."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from gateway.stores import Database
from tests.rows import Client, migrate, pages

PAGES = "/api/v1/pages/"
SIZES = [3, None, 1, 3, None, 2, 1, 3, 2, None]
MOODS = ["sad", "ok", "it's"]


@pytest.fixture
async def client(stores: dict[str, str], database: Database) -> AsyncIterator[Client]:
    """Ten pages, `p0` to `p9`, whose sizes are equal or null here and there."""
    await migrate(database)
    for number, size in enumerate(SIZES):
        await database.execute(
            "INSERT INTO pages (id, slug, title, size, price, day, at, good, mood, created)"
            " VALUES ($1, $2, $3, $4, 1.25 * $5, '2024-01-' || $6, "
            "'2024-01-01 00:00:0' || $7, $8, 'ok', '2024-01-01 00:00:00')"
            if database.name == "sqlite"
            else "INSERT INTO pages (id, slug, title, size, price, day, at, good, mood, created)"
            " VALUES ($1, $2, $3, $4, 1.25 * $5, ('2024-01-' || $6::text)::date,"
            " ('2024-01-01 00:00:0' || $7::text)::timestamp, $8, 'ok', '2024-01-01 00:00:00')",
            number,
            f"p{number}",
            f"Title {chr(ord('a') + number)}",
            size,
            number,
            str(number + 10),
            str(number),
            number % 2 == 0,
        )
    tables = {"sad_pages": {}}
    table = {"tables": tables, "page_size": 4, "largest_page": 6}
    async with pages(stores, apis={"pages": table}) as made:
        yield made


async def listed(client: Client, **query: object) -> list[int]:
    """The numbers of the rows that came."""
    answer = await client.get(f"{PAGES}?{urlencode(query)}")
    assert answer.status == 200, answer.body
    return [row["id"] for row in answer.json["items"]]


async def refused(client: Client, query: str) -> list[str]:
    answer = await client.get(f"{PAGES}?{query}")
    assert (answer.status, answer.json["error"]) == (422, "validation_error"), answer.body
    assert all(flaw["in"] == "query" and flaw["message"] for flaw in answer.json["details"])
    return answer.flaws


async def test_list_has_as_many_rows_as_are_asked_for(client: Client) -> None:
    whole = (await client.get(PAGES)).json
    assert [row["id"] for row in whole["items"]] == [0, 1, 2, 3]
    assert (whole["total"], whole["limit"], whole["offset"]) == (10, 4, 0)
    assert await listed(client, limit=2) == [0, 1]
    assert await listed(client, limit=6, offset=8) == [8, 9]
    assert await listed(client, offset=10) == []


@pytest.mark.parametrize(
    ("query", "flaws"),
    [
        ("limit=7", ["limit"]),
        ("limit=0", ["limit"]),
        ("limit=-1", ["limit"]),
        ("limit=x", ["limit"]),
        ("limit=1&limit=2", ["limit"]),
        ("offset=-1", ["offset"]),
        ("offset=99999999999", ["offset"]),
        ("limit=&offset=1.5", ["limit", "offset"]),
        ("sort=nothing", ["sort"]),
        ("sort=title,", ["sort"]),
        ("sort=title,-title", ["sort"]),
        ("sort=data", ["sort"]),
        ("sort=--title", ["sort"]),
        ("cursor=x", ["cursor"]),
        ("cursor=", ["cursor"]),
        ("cursor=%00", ["cursor"]),
        ("cursor=W10&offset=0", ["cursor"]),
        ("nothing=1", ["nothing"]),
        ("size__like=1", ["size__like"]),
        ("nothing__gt=1", ["nothing__gt"]),
        ("size=x", ["size"]),
        ("size__in=1,x", ["size__in"]),
        ("size__null=1", ["size__null"]),
        ("size__contains=1", ["size__contains"]),
        ("mood=glad", ["mood"]),
        ("day=2024-02-30", ["day"]),
        ("good=maybe", ["good"]),
        ("zone=0.5", ["zone"]),
        ("data=1", ["data"]),
        ("title=%00", ["title"]),
        ("price=NaN", ["price"]),
    ],
)
async def test_query_that_makes_no_sense_is_told_where(
    client: Client, query: str, flaws: list[str]
) -> None:
    assert await refused(client, query) == flaws


async def test_query_that_is_no_text_is_a_bad_request(client: Client) -> None:
    assert (await client.get(PAGES + "?title=%ff")).status == 400
    assert (await client.get(PAGES + "?" + "&".join(["size=1"] * 65))).status == 414


# ------------------------------------------------------------------------------------- sorted


def in_order(down: bool) -> list[int]:
    """What sorting by size has to come to, null last."""
    known = [number for number, size in enumerate(SIZES) if size is not None]
    known.sort(key=lambda number: (SIZES[number] or 0, number), reverse=down)
    nulls = [number for number, size in enumerate(SIZES) if size is None]
    return known + (nulls[::-1] if down else nulls)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("id", list(range(10))),
        ("-id", list(range(9, -1, -1))),
        ("size", in_order(down=False)),
        ("-size", in_order(down=True)),
        ("size,-id", [6, 2, 8, 5, 7, 3, 0, 9, 4, 1]),
        ("-size,title", [0, 3, 7, 5, 8, 2, 6, 1, 4, 9]),
        ("-good,price", [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]),
        ("-at", list(range(9, -1, -1))),
        ("mood,-day", list(range(9, -1, -1))),
        ("created,mood,-price", list(range(9, -1, -1))),
    ],
)
@pytest.mark.parametrize("limit", [1, 3, 6])
async def test_cursor_leads_through_all_rows_in_order(
    client: Client, sort: str, expected: list[int], limit: int
) -> None:
    found: list[int] = []
    cursor: str | None = None
    for _ in range(11):
        more = {} if cursor is None else {"cursor": cursor}
        answer = await client.get(f"{PAGES}?{urlencode({'sort': sort, 'limit': limit, **more})}")
        part = answer.json
        assert (part["total"], part["offset"]) == (10, 0 if cursor is None else None)
        found += [row["id"] for row in part["items"]]
        cursor = part["next_cursor"]
        if cursor is None:
            break
    assert found == expected


async def test_cursor_misses_nothing_when_rows_come_and_go(client: Client) -> None:
    first = (await client.get(PAGES + "?limit=3&sort=slug")).json
    await client.ask("DELETE", PAGES + "0")
    await client.post(PAGES, {"slug": "a", "title": "before", "id": 77})
    second = await client.get(f"{PAGES}?limit=3&sort=slug&cursor={first['next_cursor']}")
    assert [row["id"] for row in second.json["items"]] == [3, 4, 5]


async def test_cursor_is_good_for_its_own_list_only(client: Client) -> None:
    cursor = (await client.get(PAGES + "?limit=3&sort=-size&size__gt=0")).json["next_cursor"]
    assert await listed(client, sort="-size", size__gt=0, cursor=cursor) != []
    for query in ("sort=size&size__gt=0", "sort=-size", "sort=-size&size__gt=1", ""):
        assert await refused(client, f"{query}&cursor={cursor}") == ["cursor"]


@pytest.mark.parametrize("mark", ["x", "1 OR 1=1", [1], {"a": 1}, "\0", True, 1e300, -(1 << 70)])
async def test_forged_cursor_finds_nothing_more_than_a_place(client: Client, mark: object) -> None:
    cursor = (await client.get(PAGES + "?limit=3&sort=-size")).json["next_cursor"]
    data = json.loads(base64.urlsafe_b64decode(cursor + "=="))
    forged = base64.urlsafe_b64encode(json.dumps([data[0], mark, mark]).encode()).decode()
    answer = await client.get(f"{PAGES}?sort=-size&cursor={quote(forged)}")
    assert answer.status in (200, 422)
    assert (await client.get(PAGES)).json["total"] == 10


async def test_list_without_a_key_has_offsets(client: Client) -> None:
    """A view's `id` is taken for one."""
    answer = (await client.get("/api/v1/sad_pages/")).json
    assert (answer["items"], answer["total"], answer["next_cursor"]) == ([], 0, None)


# ------------------------------------------------------------------------------------ filters

FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({"size": 3}, [0, 3, 7]),
    ({"size__eq": 3}, [0, 3, 7]),
    ({"size__ne": 3}, [2, 5, 6, 8]),
    ({"size__gt": 2}, [0, 3, 7]),
    ({"size__ge": 2}, [0, 3, 5, 7, 8]),
    ({"size__gte": 2}, [0, 3, 5, 7, 8]),
    ({"size__lt": 2}, [2, 6]),
    ({"size__le": 2, "size__gt": 1}, [5, 8]),
    ({"size__lte": 1}, [2, 6]),
    ({"size__in": "1,2"}, [2, 5, 6, 8]),
    ({"size__null": "true"}, [1, 4, 9]),
    ({"size__null": "false", "id__lt": 3}, [0, 2]),
    ({"good": "true", "id__gt": 3}, [4, 6, 8]),
    ({"price": "2.5"}, [2]),
    ({"price__gt": "8.75"}, [8, 9]),
    ({"day__ge": "2024-01-18"}, [8, 9]),
    ({"at__gt": "2024-01-01T00:00:07"}, [8, 9]),
    ({"at__gt": "2024-01-01T01:00:07+01:00"}, [8, 9]),
    ({"title": "Title b"}, [1]),
    ({"title__contains": "e b"}, [1]),
    ({"title__contains": "%"}, []),
    ({"title__contains": "_"}, []),
    ({"mood": "it's"}, []),
    ({"mood__in": "ok,sad", "id": 5}, [5]),
    ({"data__null": "true", "id": 5}, [5]),
    ({"slug__contains": "a longer text than a slug may be"}, []),
]


@pytest.mark.parametrize(("query", "expected"), FILTERS, ids=map(str, range(len(FILTERS))))
async def test_filters_leave_the_rows_that_pass_all(
    client: Client, query: dict[str, Any], expected: list[int]
) -> None:
    answer = await client.get(f"{PAGES}?limit=6&{urlencode(query)}")
    assert [row["id"] for row in answer.json["items"]] == expected
    assert answer.json["total"] == len(expected)
