"""What is found in a database's catalogue, as its owner made it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.bodies import parsed
from gateway.errors import Conflict, NotFound, ValidationFailed
from gateway.stores import Database
from gateway.tables.listing import listing_of
from gateway.tables.models import Models
from gateway.tables.reflected import dialect_of
from gateway.tables.schema import Schema
from gateway.tables.table import Table
from tests.rows import dumped, migrate

ON_POSTGRES = pytest.mark.parametrize("stores", ["postgres"], indirect=True)
ON_SQLITE = pytest.mark.parametrize("stores", ["sqlite"], indirect=True)


async def reflected(database: Database, name: str, *sql: str) -> Schema:
    for statement in sql:
        await database.execute(statement)
    found = await dialect_of(database).reflect(database, name)
    assert found is not None
    return found


async def table_of(database: Database, name: str, *sql: str) -> Table:
    return Table(await reflected(database, name, *sql), database, dialect_of(database))


async def created(table: Table, **row: Any) -> Any:
    return await table.create(parsed(dumped(row), table.models.asked))


async def rows(table: Table, *query: tuple[str, str]) -> list[dict[str, Any]]:
    return (await table.part(listing_of(table.schema, query, size=50, most=50))).rows


async def test_columns_are_what_their_owner_said(database: Database) -> None:
    await migrate(database)
    schema = await reflected(database, "pages")
    kinds = {column.name: column.kind for column in schema.columns}
    assert kinds == {
        "id": "int", "slug": "text", "title": "text", "mood": "enum", "kind": "enum",
        "author": "int", "size": "int", "price": "number", "ratio": "float", "good": "bool",
        "ref": "uuid", "day": "date", "at": "timestamp", "zone": "timestamptz", "data": "json",
        "raw": "binary", "lang": "text", "twice": "int", "created": "timestamp",
    }  # fmt: skip
    columns = {column.name: column for column in schema.columns}
    assert columns["slug"].length == 12
    assert columns["title"].length is None
    assert (columns["price"].precision, columns["price"].scale) == (6, 2)
    assert columns["mood"].labels == ("sad", "ok", "it's")
    assert columns["kind"].labels == ("a", "b'c")
    assert [column.name for column in schema.columns if column.required] == ["slug", "title"]
    assert [column.name for column in schema.columns if column.generated] == ["twice"]
    assert (schema.key, schema.view) == ("id", False)
    assert ("lang", "kind") in schema.uniques.values()
    assert schema.uniques["pages_slug_key"] == ("slug",)
    (foreign,) = schema.foreign.values()
    assert (foreign.columns, foreign.table, foreign.targets) == (("author",), "authors", ("id",))
    assert schema.checks["sized"] == ("size",)


async def test_view_has_columns_that_may_all_be_null(database: Database) -> None:
    await migrate(database)
    schema = await reflected(database, "sad_pages")
    assert (schema.view, schema.key) == (True, "id")
    assert [column.name for column in schema.columns] == ["id", "slug", "size"]
    assert all(column.nullable for column in schema.columns)
    assert schema.columns[1].length == 12


async def test_what_is_not_there_is_not_found(database: Database) -> None:
    await migrate(database)
    dialect = dialect_of(database)
    for name in ("page", "PAGES", "pages;", "", "pg_class", "sqlite_master", 'pages"', "a.pages"):
        assert await dialect.reflect(database, name) is None
    assert set(await dialect.names(database)) == {"authors", "pages", "sad_pages"}


async def test_table_without_a_key_of_one_column_has_no_rows_by_name(database: Database) -> None:
    table = await table_of(
        database, "pairs", "CREATE TABLE pairs (a TEXT, b TEXT, PRIMARY KEY (a, b))"
    )
    await created(table, a="x", b="y")
    assert table.schema.key is None
    with pytest.raises(NotFound):
        await table.get("x")
    with pytest.raises(Conflict) as caught:
        await created(table, a="x", b="y")
    assert [flaw["path"] for flaw in caught.value.details] == ["/a", "/b"]
    part = await table.part(listing_of(table.schema, [], size=1, most=1))
    assert (part.rows, part.following) == ([{"a": "x", "b": "y"}], None)


async def test_text_may_be_a_key(database: Database) -> None:
    table = await table_of(
        database, "tags", "CREATE TABLE tags (name VARCHAR(20) PRIMARY KEY, n INTEGER)"
    )
    name = "\N{SNOWMAN} a'b"
    row = await created(table, name=name)
    assert row.name == name
    assert (await table.get(name)).etag == row.etag
    with pytest.raises(ValidationFailed):
        parsed(b"{}", table.models.asked)
    assert parsed(b"{}", table.models.replaced) is not None


async def test_reference_of_two_columns_is_told_whole(database: Database) -> None:
    table = await table_of(
        database,
        "child",
        "CREATE TABLE parent (a BIGINT, b BIGINT, PRIMARY KEY (a, b))",
        "CREATE TABLE child (id BIGINT PRIMARY KEY, a BIGINT, b BIGINT,"
        " FOREIGN KEY (a, b) REFERENCES parent)",
    )
    await created(table, id=1, a=1)
    with pytest.raises(Conflict) as caught:
        await created(table, id=2, a=1, b=2)
    assert [flaw["path"] for flaw in caught.value.details] == ["/a", "/b"]


async def test_models_are_those_of_the_table_and_need_no_database(database: Database) -> None:
    await migrate(database)
    models = Models(await reflected(database, "pages"))
    await database.close()
    described = models.asked.model_json_schema()
    assert described["properties"]["slug"]["maxLength"] == 12
    assert described["required"] == ["slug", "title"]
    assert described["additionalProperties"] is False
    assert "twice" not in described["properties"]
    assert "twice" in models.row.model_json_schema()["properties"]
    with pytest.raises(ValidationFailed) as caught:
        parsed(b'{"slug": 1, "title": null}', models.asked)
    assert [flaw["path"] for flaw in caught.value.details] == ["/slug", "/title"]


# --------------------------------------------------------------------------------- PostgreSQL


@ON_POSTGRES
async def test_table_of_prisma_is_understood(database: Database) -> None:
    table = await table_of(
        database,
        "Page",
        """CREATE TYPE "Page Status" AS ENUM ('DRAFT', 'LIVE')""",
        """CREATE TABLE "Page" (
            "id" TEXT NOT NULL, "title" VARCHAR(191) NOT NULL,
            "status" "Page Status" NOT NULL DEFAULT 'DRAFT', "past" "Page Status"[],
            "views" INTEGER NOT NULL DEFAULT 0, "meta" JSONB, "tags" TEXT[],
            "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
            CONSTRAINT "Page_pkey" PRIMARY KEY ("id"))""",
        'CREATE UNIQUE INDEX "Page_title_key" ON "Page"("title")',
    )
    row = {"id": "ck1", "title": "A", "tags": ["x", 'y"z'], "past": ["LIVE"], "meta": {"a": 1}}
    await created(table, **row)
    (found,) = await rows(table, ("status", "DRAFT"), ("sort", "-createdAt,status"))
    assert {name: found[name] for name in row} == row
    assert (found["status"], found["views"]) == ("DRAFT", 0)
    with pytest.raises(Conflict) as caught:
        await created(table, id="ck2", title="A")
    assert [flaw["path"] for flaw in caught.value.details] == ["/title"]
    for wrong in ({"views": 1 << 31}, {"tags": ["a", None]}, {"past": ["GONE"]}, {"tags": "a"}):
        with pytest.raises(ValidationFailed):
            parsed(dumped({"id": "a", "title": "b", **wrong}), table.models.asked)


@ON_POSTGRES
async def test_types_of_few_are_read_and_written_as_text(database: Database) -> None:
    table = await table_of(
        database,
        "odd",
        "CREATE DOMAIN short AS VARCHAR(3) CHECK (VALUE <> 'bad')",
        "CREATE TABLE odd (id INET PRIMARY KEY, span INTERVAL, hour TIME, nets INET[],"
        " code short, small SMALLINT, fixed CHAR(3), always BIGINT GENERATED ALWAYS AS IDENTITY,"
        " big NUMERIC, round NUMERIC(3, -2))",
    )
    row = {
        "id": "10.0.0.1", "span": "1 day 02:00:00", "hour": "12:30:00", "nets": "{10.0.0.0/8}",
        "code": "abc", "small": -5, "fixed": "xyz", "big": "1" * 60 + ".5", "round": "1200",
    }  # fmt: skip
    await created(table, **row)
    (found,) = await rows(table, ("id", "10.0.0.1"), ("sort", "-id"))
    assert found == row | {"id": "10.0.0.1/32", "always": 1}
    for wrong in ({"code": "abcd"}, {"small": 1 << 15}, {"always": 5}):
        with pytest.raises(ValidationFailed):
            parsed(dumped({"id": "::1", **wrong}), table.models.asked)
    for wrong, path in (({"span": "a while"}, "/span"), ({"code": "bad"}, "")):
        with pytest.raises(ValidationFailed) as caught:
            await created(table, id="::1", **wrong)
        assert path in [flaw["path"] for flaw in caught.value.details]
    assert len(await rows(table)) == 1


@ON_POSTGRES
async def test_schema_may_be_named(database: Database) -> None:
    await database.execute("CREATE SCHEMA shop")
    table = await table_of(
        database, "shop.pages", "CREATE TABLE shop.pages (id BIGINT PRIMARY KEY, a TEXT)"
    )
    await created(table, id=1, a="x")
    assert await dialect_of(database).reflect(database, "pages") is None
    assert await database.fetch("SELECT a FROM shop.pages") == [{"a": "x"}]


@ON_POSTGRES
async def test_refusal_of_a_trigger_is_told_without_its_words(database: Database) -> None:
    table = await table_of(
        database,
        "guarded",
        "CREATE TABLE guarded (id BIGINT PRIMARY KEY)",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'hunter2'; END $$",
        "CREATE TRIGGER guard BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    with pytest.raises(ValidationFailed) as caught:
        await created(table, id=1)
    assert "hunter2" not in repr(caught.value.details) + str(caught.value)


# ------------------------------------------------------------------------------------- SQLite


@ON_SQLITE
async def test_what_others_wrote_is_read_as_well_as_can_be(database: Database) -> None:
    table = await table_of(
        database,
        "wild",
        "CREATE TABLE wild (id INTEGER PRIMARY KEY, at DATETIME, zone TIMESTAMPTZ, n DECIMAL,"
        " j JSON, d DATE, b BOOLEAN, x)",
    )
    values: list[tuple[object, ...]] = [
        (1704067200123, "2024-01-01T00:00:00Z", 5, "{", "2024-01-01", 1, None),
        ("2024-01-01T00:00:00+01:00", 0, 1.25, "5", "never", "0", b"\0\1"),
        ("never", "never", "many", "null", None, None, "text"),
    ]
    for row in values:
        await database.execute(
            "INSERT INTO wild (at, zone, n, j, d, b, x) VALUES ($1, $2, $3, $4, $5, $6, $7)", *row
        )
    found = await rows(table)
    assert [str(row["at"]) for row in found] == [
        "2024-01-01 00:00:00.123000", "2023-12-31 23:00:00", "never",
    ]  # fmt: skip
    assert [str(row["zone"])[:10] for row in found] == ["2024-01-01", "1970-01-01", "never"]
    assert [row["n"] for row in found] == ["5", "1.25", "many"]
    assert [row["j"] for row in found] == ["{", 5, None]
    assert [row["x"] for row in found] == [None, "\\x0001", "text"]
    read = [await table.get(str(number)) for number in (1, 2, 3)]
    assert all(row.body for row in read)


@ON_SQLITE
async def test_strict_and_plain_tables_and_those_without_rowid(database: Database) -> None:
    strict = await table_of(
        database,
        "strict_one",
        "CREATE TABLE strict_one (id INTEGER PRIMARY KEY, a ANY, t TEXT) STRICT",
    )
    await created(strict, a="x", t="y")
    assert await rows(strict) == [{"id": 1, "a": "x", "t": "y"}]
    plain = await table_of(
        database, "plain", "CREATE TABLE plain (id INTEGER PRIMARY KEY, a TEXT) WITHOUT ROWID"
    )
    with pytest.raises(ValidationFailed):
        parsed(b"{}", plain.models.asked)
