"""One contract for both databases; then what each does when it is lost."""

from __future__ import annotations

import asyncio
import stat
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from gateway.errors import StoreDown
from gateway.stores import Database, Violated
from gateway.stores.postgres import Postgres
from gateway.stores.sqlite import Sqlite
from tests.servers import Server

Make = Callable[[], Database]


class Heard:
    """A watch that remembers."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def worked(self) -> None:
        self.calls.append("worked")

    def failed(self, error: BaseException) -> None:
        self.calls.append("failed")


@pytest.fixture(params=["sqlite", "postgres"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes databases that are one and the same, as two processes would have them."""
    made: list[Database] = []
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")

    def one() -> Database:
        one = Postgres(url) if url else Sqlite(tmp_path / "gateway.db")
        made.append(one)
        return one

    yield one
    for database in made:
        await database.close()


@pytest.fixture
def table() -> str:
    """The name of a table that no other test has."""
    return f"gateway_{uuid4().hex}"


@pytest.fixture
async def database(make: Make, table: str) -> Database:
    database = make()
    await database.execute(f"CREATE TABLE {table} (name TEXT PRIMARY KEY, size BIGINT, data TEXT)")
    return database


async def test_rows_come_back_as_they_went_in(database: Database, table: str) -> None:
    hostile = "'; DROP TABLE x; -- \N{SNOWMAN} $1"
    await database.execute(f"INSERT INTO {table} VALUES ($1, $2, $3)", hostile, 1 << 50, None)
    rows = await database.fetch(f"SELECT * FROM {table} WHERE name = $1", hostile)
    assert rows == [{"name": hostile, "size": 1 << 50, "data": None}]


async def test_parameter_may_stand_twice(database: Database, table: str) -> None:
    await database.execute(f"INSERT INTO {table} VALUES ($1, $2, $1)", "a", 1)
    rows = await database.fetch(f"SELECT size FROM {table} WHERE name = $1 AND data = $1", "a")
    assert rows == [{"size": 1}]


async def test_rows_touched_are_counted(database: Database, table: str) -> None:
    insert = f"INSERT INTO {table} VALUES ($1, 0) ON CONFLICT DO NOTHING"
    insert = insert.replace("($1, 0)", "($1, 0, '')")
    assert await database.execute(insert, "a") == 1
    assert await database.execute(insert, "a") == 0
    assert await database.execute(insert, "b") == 1
    assert await database.execute(f"UPDATE {table} SET size = 1") == 2
    assert await database.execute(f"DELETE FROM {table} WHERE name = $1", "c") == 0


async def insert_and_fail(database: Database, insert: str, name: str) -> None:
    async with database.transaction() as inside:
        await inside.execute(insert, name)
        raise RuntimeError


async def test_transaction_is_done_whole_or_not_at_all(database: Database, table: str) -> None:
    insert = f"INSERT INTO {table} VALUES ($1, 0, '')"
    async with database.transaction() as inside:
        await inside.execute(insert, "kept")
    with pytest.raises(RuntimeError):
        await insert_and_fail(database, insert, "lost")
    assert await database.fetch(f"SELECT name FROM {table}") == [{"name": "kept"}]


async def test_part_of_a_transaction_can_fail_alone(database: Database, table: str) -> None:
    insert = f"INSERT INTO {table} VALUES ($1, 0, '')"
    async with database.transaction() as inside:
        await inside.execute(insert, "a")
        with pytest.raises(RuntimeError):
            await insert_and_fail(inside, insert, "b")
        async with inside.transaction() as deeper:
            await deeper.execute(insert, "c")
    rows = await database.fetch(f"SELECT name FROM {table} ORDER BY name")
    assert [row["name"] for row in rows] == ["a", "c"]


async def test_transactions_that_touch_one_row_come_one_after_the_other(
    make: Make, database: Database, table: str
) -> None:
    await database.execute(f"INSERT INTO {table} VALUES ('n', 0, '')")
    others = [make(), make()]

    async def count(own: Database) -> None:
        for _ in range(10):
            async with own.transaction() as inside:
                await inside.execute(f"UPDATE {table} SET size = size WHERE name = 'n'")
                (row,) = await inside.fetch(f"SELECT size FROM {table} WHERE name = 'n'")
                await inside.execute(f"UPDATE {table} SET size = $1", row["size"] + 1)

    await asyncio.gather(*map(count, [*others, *others]))
    assert await database.fetch(f"SELECT size FROM {table}") == [{"size": 40}]


async def test_cancelled_transaction_leaves_nothing_and_blocks_nobody(
    database: Database, table: str
) -> None:
    inserted = asyncio.Event()

    async def stays() -> None:
        async with database.transaction() as inside:
            await inside.execute(f"INSERT INTO {table} VALUES ('a', 0, '')")
            inserted.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stays())
    await inserted.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        assert await database.fetch(f"SELECT * FROM {table}") == []


async def test_migrations_are_taken_once_whoever_asks(make: Make, table: str) -> None:
    name = f"test {table}"
    steps = [f"CREATE TABLE {table} (n BIGINT)", f"INSERT INTO {table} VALUES (1)"]
    await asyncio.gather(*(make().migrate(name, steps) for _ in range(4)))
    await make().migrate(name, [*steps, f"INSERT INTO {table} VALUES (2)"])
    rows = await make().fetch(f"SELECT n FROM {table} ORDER BY n")
    assert [row["n"] for row in rows] == [1, 2]


async def test_migration_that_fails_leaves_nothing(make: Make, table: str) -> None:
    database = make()
    with pytest.raises(Exception, match="gateway_no_such_table"):
        await database.migrate(
            f"test {table}",
            [f"CREATE TABLE {table} (n BIGINT)", "INSERT INTO gateway_no_such_table VALUES (1)"],
        )
    await database.migrate(f"test {table}", [f"CREATE TABLE {table} (n BIGINT)"])
    assert await database.fetch(f"SELECT n FROM {table}") == []


# --------------------------------------------------------------------------------------- lost


async def test_postgres_that_is_lost_is_told_and_serves_again(postgres_server: Server) -> None:
    heard = Heard()
    database = Postgres(postgres_server.url, heard)
    await database.ping()
    with postgres_server.down():
        with pytest.raises(StoreDown):
            await database.ping()
        with pytest.raises(StoreDown):
            await database.fetch("SELECT 1")
    assert await back(database) == [{"n": 1}]
    assert heard.calls[:2] == ["worked", "failed"]
    assert heard.calls[-1] == "worked"
    await database.close()


async def back(database: Database) -> list[Any]:
    """The answer of the first question after a loss that is answered."""
    async with asyncio.timeout(10):
        while True:
            try:
                return [dict(row) for row in await database.fetch("SELECT 1 AS n")]
            except StoreDown:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "url",
    ["postgresql://127.0.0.1:1/x", "postgresql://nobody:wrong@{host}/none"],
    ids=["no_server", "no_such_database"],
)
async def test_postgres_that_cannot_be_reached_is_down(url: str, postgres_url: str) -> None:
    database = Postgres(url.format(host=postgres_url.rpartition("@")[2].partition("/")[0]))
    with pytest.raises(StoreDown):
        await database.ping()
    await database.close()


async def test_postgres_that_does_not_answer_is_down_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    database = Postgres(f"postgresql://u:p@127.0.0.1:{port}/x")
    async with asyncio.timeout(8):
        with pytest.raises(StoreDown):
            await database.ping()
    await database.close()
    server.close()


async def test_sqlite_file_is_its_owners_alone(tmp_path: Path) -> None:
    database = Sqlite(tmp_path / "gateway.db")
    await database.ping()
    assert stat.S_IMODE((tmp_path / "gateway.db").stat().st_mode) == 0o600
    await database.close()


async def test_sqlite_file_that_cannot_be_opened_is_down(tmp_path: Path) -> None:
    heard = Heard()
    database = Sqlite(tmp_path / "no" / "gateway.db", heard)
    with pytest.raises(StoreDown):
        await database.ping()
    assert heard.calls == ["failed"]
    (tmp_path / "no").mkdir()
    await database.ping()
    await database.close()


async def test_sqlite_file_that_is_none_is_down(tmp_path: Path) -> None:
    (tmp_path / "gateway.db").write_bytes(b"no database" * 1000)
    database = Sqlite(tmp_path / "gateway.db")
    with pytest.raises(StoreDown):
        await database.ping()
    await database.close()


async def test_mistake_in_a_statement_is_no_loss(make: Make, table: str) -> None:
    database = make()
    await database.execute(f"CREATE TABLE {table} (n BIGINT NOT NULL)")
    with pytest.raises(Exception, match=r"(?i)null") as raised:
        await database.execute(f"INSERT INTO {table} VALUES (NULL)")
    assert not isinstance(raised.value, StoreDown)


# --------------------------------------------------------------------------------------- rules

RULED = (
    "CREATE TABLE {0}_above (id BIGINT PRIMARY KEY)",
    "CREATE TABLE {0} (id BIGINT PRIMARY KEY, name VARCHAR(5) NOT NULL UNIQUE,"
    " above BIGINT REFERENCES {0}_above (id) DEFERRABLE, size INTEGER CHECK (size > 0))",
)


async def both(database: Database, *statements: str) -> None:
    """All of them, or none."""
    async with database.transaction() as inside:
        for statement in statements:
            await inside.execute(statement)


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("INSERT INTO {0} VALUES (1, 'b', NULL, 1)", "unique"),
        ("INSERT INTO {0} VALUES (2, 'a', NULL, 1)", "unique"),
        ("INSERT INTO {0} VALUES (2, NULL, NULL, 1)", "null"),
        ("INSERT INTO {0} VALUES (2, 'b', 7, 1)", "foreign"),
        ("DELETE FROM {0}_above", "foreign"),
        ("UPDATE {0} SET size = 0", "check"),
        ("SELECT * FROM {0}_nowhere", "absent"),
        ("UPDATE {0} SET nowhere = 1", "absent"),
        ("INSERT INTO {0} (nowhere) VALUES (1)", "absent"),
    ],
)
async def test_rule_that_is_violated_is_told(make: Make, table: str, sql: str, rule: str) -> None:
    database = make()
    name = f"{table}_ruled"
    for statement in RULED:
        await database.execute(statement.format(name))
    await database.execute(f"INSERT INTO {name}_above VALUES (5)")
    await database.execute(f"INSERT INTO {name} VALUES (1, 'a', 5, 1)")
    with pytest.raises(Violated) as caught:
        await database.execute(sql.format(name))
    assert caught.value.rule == rule
    with pytest.raises(Violated):
        await both(database, f"UPDATE {name} SET size = 9", sql.format(name))
    assert await database.fetch(f"SELECT id, size FROM {name}") == [{"id": 1, "size": 1}]


async def test_rule_that_is_deferred_is_told_at_the_end(make: Make, table: str) -> None:
    database = make()
    name = f"{table}_late"
    for statement in RULED:
        await database.execute(
            statement.format(name).replace("DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED")
        )
    with pytest.raises(Violated) as caught:
        await both(database, f"INSERT INTO {name} VALUES (1, 'a', 7, 1)")
    assert caught.value.rule == "foreign"
    async with database.transaction() as inside:
        await inside.execute(f"INSERT INTO {name} VALUES (2, 'b', NULL, 1)")
    assert await database.fetch(f"SELECT id FROM {name}") == [{"id": 2}]


async def test_sqlite_file_whose_opener_was_cancelled_is_closed_with_the_others(
    tmp_path: Path,
) -> None:
    threads = threading.active_count()
    for again in (False, True):
        database = Sqlite(tmp_path / "gateway.db")
        asking = asyncio.create_task(database.fetch("SELECT 1 AS one"))
        await asyncio.sleep(0)  # it has begun
        assert database._opening is not None
        asking.cancel()
        await asyncio.wait((asking,))
        if again:
            assert await database.fetch("SELECT 1 AS one") == [{"one": 1}]
        await database.close()
        assert threading.active_count() == threads
