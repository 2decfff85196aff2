"""Predictions in SQLite and in PostgreSQL, in whatever tables there are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.errors import StoreDown
from gateway.predictions.prediction import TIMES, Prediction, read
from gateway.stores import Database
from gateway.stores.postgres import Postgres
from gateway.stores.predictions import AGE, COOL_DOWN, StoredPredictions
from gateway.stores.sqlite import Sqlite
from tests import servers

BASE = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    """s that a test moves on."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Told:
    """What the log would say."""

    def __init__(self) -> None:
        self.events: list[tuple[str, bool]] = []

    def __call__(self, event: str, error: BaseException | None) -> None:
        self.events.append((event, error is not None))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> Told:
    return Told()


Make = Callable[..., StoredPredictions]


@pytest.fixture
def make(database: Database, clock: Clock, told: Told) -> Make:
    def one(migrate: bool | None = False) -> StoredPredictions:
        return StoredPredictions(database, times=TIMES, migrate=migrate, told=told, clock=clock)

    return one


def moment(minutes: int) -> str:
    return (BASE + timedelta(minutes=minutes)).isoformat()


async def create(
    database: Database,
    table: str = "predictions",
    symbol: str = "symbol",
    time: str = "predicted_at",
    more: str = "",
) -> None:
    kind = "timestamptz" if database.name == "postgres" else "TEXT"
    await database.execute(
        f'CREATE TABLE {table} ("{symbol}" VARCHAR(10), "{time}" {kind}, '
        f"predicted_price DOUBLE PRECISION{more})"
    )


async def insert(
    database: Database, symbol: str, price: float, minutes: int, table: str = "predictions"
) -> None:
    await database.execute(f"INSERT INTO {table} VALUES ('{symbol}', '{moment(minutes)}', {price})")


MADE = "predictions (symbol, predicted_at, predicted_price)"
"""The columns that a table has which was made here, among others."""


async def asked(stored: StoredPredictions, *symbols: str) -> dict[str, Prediction]:
    found = await stored.newest(symbols)
    return {symbol: read(symbol, data) for symbol, data in found.items()}


async def prices(stored: StoredPredictions, *symbols: str) -> dict[str, float]:
    found = await asked(stored, *symbols)
    return {symbol: one.fields["predicted_price"] for symbol, one in found.items()}


# ------------------------------------------------------------------------------ which table


async def test_newest_row_of_each_symbol_is_found(database: Database, make: Make) -> None:
    await create(database)
    for symbol, price, minutes in (("A", 1, 1), ("A", 3, 3), ("A", 2, 2), ("B", 9, 1)):
        await insert(database, symbol, price, minutes)
    assert await prices(make(), "A", "B", "C") == {"A": 3, "B": 9}


@pytest.mark.parametrize("symbol", ["symbol", "ticker", "Ticker", "SYMBOL"])
@pytest.mark.parametrize("time", ["predicted_at", "timestamp", "created_at"])
async def test_columns_are_known_by_their_names(
    database: Database, make: Make, symbol: str, time: str
) -> None:
    await create(database, symbol=symbol, time=time)
    await insert(database, "A", 1, 1)
    await insert(database, "A", 2, 2)
    found = (await asked(make(), "A"))["A"]
    assert found.fields["predicted_price"] == 2
    assert found.at == (BASE + timedelta(minutes=2)).timestamp()


async def test_latest_predictions_go_first_and_the_others_stand_in(
    database: Database, make: Make
) -> None:
    await create(database)
    await create(database, table="latest_predictions", symbol="ticker")
    await insert(database, "A", 1, 9)
    await insert(database, "B", 2, 1)
    await insert(database, "A", 3, 1, table="latest_predictions")
    assert await prices(make(), "A", "B") == {"A": 3, "B": 2}


async def test_latest_predictions_alone_will_do(database: Database, make: Make) -> None:
    await database.execute("CREATE TABLE latest_predictions (ticker TEXT, predicted_price INTEGER)")
    await database.execute("INSERT INTO latest_predictions VALUES ('A', 7)")
    assert await prices(make(), "A", "B") == {"A": 7}


async def test_newest_of_several_latest_ones_counts(database: Database, make: Make) -> None:
    await create(database, table="latest_predictions")
    for price, minutes in ((1, 1), (3, 3), (2, 2)):
        await insert(database, "A", price, minutes, table="latest_predictions")
    await database.execute("INSERT INTO latest_predictions VALUES ('A', NULL, 9)")
    assert await prices(make(), "A") == {"A": 3}


async def test_view_is_as_good_as_a_table(database: Database, make: Make) -> None:
    await create(database, table="sources")
    await insert(database, "A", 1, 1, table="sources")
    kind = "MATERIALIZED VIEW" if database.name == "postgres" else "VIEW"
    await database.execute(f"CREATE {kind} latest_predictions AS SELECT * FROM sources")
    await database.execute("CREATE VIEW predictions AS SELECT * FROM sources")
    assert await prices(make(), "A") == {"A": 1}


@pytest.mark.parametrize(
    "columns",
    [
        "name TEXT, predicted_price INTEGER, predicted_at TEXT",
        "symbol TEXT, price INTEGER, predicted_at TEXT",
        "symbol TEXT, predicted_price INTEGER, remark TEXT",
    ],
    ids=["no_symbol", "no_price", "no_time"],
)
async def test_table_that_lacks_something_is_not_asked(
    database: Database, make: Make, told: Told, columns: str
) -> None:
    await database.execute(f"CREATE TABLE predictions ({columns})")
    assert await prices(make(), "A") == {}
    assert told.events == [("predictions_no_table", False)]


# ----------------------------------------------------------------------------------- a row


async def test_row_has_all_of_its_columns(database: Database, make: Make) -> None:
    kind = "jsonb" if database.name == "postgres" else "JSON"
    await create(database, more=f', "it\'s ""so""" TEXT, details {kind}, empty TEXT')
    await database.execute(
        f"INSERT INTO predictions VALUES ('A', '{moment(1)}', 1.5, 'x', '{{\"a\": [1]}}', NULL)"
    )
    (found,) = (await make().newest(["A"])).values()
    row = orjson.loads(found)
    assert row.pop("predicted_at")
    assert row == {
        "symbol": "A",
        "predicted_price": 1.5,
        'it\'s "so"': "x",
        "details": {"a": [1]},
        "empty": None,
    }


@pytest.mark.parametrize("stores", ["postgres"], indirect=True)
async def test_every_type_of_postgres_comes_as_json(database: Database, make: Make) -> None:
    await create(
        database, more=", exact NUMERIC(20, 8), at DATE, tags TEXT[], raw BYTEA, id UUID, ok BOOL"
    )
    await database.execute(
        f"INSERT INTO predictions VALUES ('A', '{moment(1)}', 1.5, 0.12345678, '2026-03-01', "
        "'{a,b}', '\\x00ff', '00000000-0000-0000-0000-000000000001', true)"
    )
    row = orjson.loads((await make().newest(["A"]))["A"])
    assert row["exact"] == 0.12345678
    assert (row["at"], row["tags"], row["raw"]) == ("2026-03-01", ["a", "b"], "\\x00ff")
    assert (row["id"], row["ok"]) == ("00000000-0000-0000-0000-000000000001", True)


@pytest.mark.parametrize("stores", ["sqlite"], indirect=True)
async def test_bytes_and_broken_json_of_sqlite_do_no_harm(database: Database, make: Make) -> None:
    await create(database, more=", raw BLOB, details JSON")
    await database.execute(
        f"INSERT INTO predictions VALUES ('A', '{moment(1)}', 1.5, x'00ff', '{{broken')"
    )
    row = orjson.loads((await make().newest(["A"]))["A"])
    assert (row["raw"], row["details"]) == ("00FF", "{broken")


async def test_table_may_be_wide(database: Database, make: Make) -> None:
    await create(database, more="".join(f", feature{n} INTEGER" for n in range(300)))
    await insert(database, "A", 1, 1, MADE)
    row = orjson.loads((await make().newest(["A"]))["A"])
    assert (len(row), row["feature299"]) == (303, None)


async def test_rows_without_a_time_are_not_the_newest(database: Database, make: Make) -> None:
    await create(database)
    await insert(database, "A", 1, 1)
    await database.execute("INSERT INTO predictions VALUES ('A', NULL, 2), ('B', NULL, 3)")
    assert await prices(make(), "A", "B") == {"A": 1}


# ------------------------------------------------------------------------------ other shapes


async def test_table_that_comes_later_is_seen_after_a_while(
    database: Database, make: Make, clock: Clock, told: Told
) -> None:
    stored = make()
    assert await prices(stored, "A") == {}
    await create(database)
    await insert(database, "A", 1, 1)
    clock.now += COOL_DOWN
    assert await prices(stored, "A") == {}
    clock.now += 0.1
    assert await prices(stored, "A") == {"A": 1}
    assert told.events == [("predictions_no_table", False)]


async def test_table_that_changes_is_looked_at_again(database: Database, make: Make) -> None:
    stored = make()
    await create(database)
    await insert(database, "A", 1, 1)
    assert await prices(stored, "A") == {"A": 1}
    await database.execute("ALTER TABLE predictions RENAME COLUMN symbol TO ticker")
    assert await prices(stored, "A") == {"A": 1}
    await database.execute("ALTER TABLE predictions RENAME TO other")
    assert await prices(stored, "A") == {}


async def test_new_column_is_told_after_a_while(
    database: Database, make: Make, clock: Clock
) -> None:
    stored = make()
    await create(database)
    await insert(database, "A", 1, 1)
    await prices(stored, "A")
    await database.execute("ALTER TABLE predictions ADD COLUMN confidence INTEGER DEFAULT 3")
    clock.now += AGE + 1
    assert (await asked(stored, "A"))["A"].fields["confidence"] == 3


async def test_those_who_look_at_the_same_time_look_once(
    database: Database, make: Make, told: Told
) -> None:
    stored = make()
    found = await asyncio.gather(*(prices(stored, "A") for _ in range(10)))
    assert found == [{}] * 10
    assert told.events == [("predictions_no_table", False)]


@pytest.mark.parametrize("stores", ["postgres"], indirect=True)
async def test_mistake_that_stays_is_raised(database: Database, make: Make) -> None:
    await create(database, table="sources")
    await insert(database, "A", 1, 1, table="sources")
    await database.execute("CREATE VIEW predictions AS SELECT *, 1 / 0 AS bad FROM sources")
    with pytest.raises(Exception, match="zero") as raised:
        await make().newest(["A"])
    assert not isinstance(raised.value, StoreDown)


# ---------------------------------------------------------------------------------- migration


async def test_table_is_made_where_it_is_wanted(database: Database, make: Make, told: Told) -> None:
    stored = make(migrate=True)
    await stored.look()
    await insert(database, "A", 1, 1, MADE)
    await insert(database, "A", 2, 2, MADE)
    assert await prices(stored, "A") == {"A": 2}
    await asyncio.gather(make(migrate=True).look(), make(migrate=True).look())
    assert told.events == []


async def test_left_out_it_is_made_in_sqlite_alone(
    database: Database, make: Make, told: Told
) -> None:
    await make(migrate=None).look()
    made = database.name == "sqlite"
    assert told.events == ([] if made else [("predictions_no_table", False)])


async def test_table_of_somebody_else_is_left_as_it_is(
    database: Database, make: Make, told: Told
) -> None:
    await database.execute("CREATE TABLE predictions (other TEXT)")
    await make(migrate=True).look()
    assert told.events == [("predictions_no_table", False)]
    await database.execute("INSERT INTO predictions VALUES ('x')")
    rows = await database.fetch("SELECT * FROM predictions")
    assert rows == [{"other": "x"}]


@pytest.mark.parametrize("stores", ["postgres"], indirect=True)
async def test_without_the_right_to_it_nothing_is_made_and_the_log_says_so(
    stores: dict[str, str], database: Database, clock: Clock, told: Told
) -> None:
    await database.execute("DROP ROLE IF EXISTS reader")
    await database.execute("CREATE ROLE reader LOGIN")
    reader = Postgres(stores["postgres"].replace("postgres@", "reader@"))
    stored = StoredPredictions(reader, times=TIMES, migrate=True, told=told, clock=clock)
    assert await prices(stored, "A") == {}
    assert told.events == [("predictions_not_migrated", True), ("predictions_no_table", False)]
    await reader.close()


@pytest.mark.parametrize("stores", ["postgres"], indirect=True)
async def test_newest_row_is_found_by_the_index(database: Database, make: Make) -> None:
    stored = make(migrate=True)
    await stored.look()
    await database.execute(
        f"INSERT INTO {MADE} SELECT chr(65 + n % 26), now() - n * interval '1 second', n "
        "FROM generate_series(1, 50000) n"
    )
    await database.execute("ANALYZE predictions")
    sql = (stored.sql or "").replace("$1", "'A,B,C'")
    plan = "\n".join(
        row["QUERY PLAN"] for row in await database.fetch(f"EXPLAIN (ANALYZE, COSTS off) {sql}")
    )
    assert "predictions_newest" in plan
    assert "Seq Scan" not in plan
    assert "Sort" not in plan


@pytest.mark.parametrize("stores", ["sqlite"], indirect=True)
async def test_newest_row_is_found_by_the_index_of_sqlite(database: Database, make: Make) -> None:
    stored = make(migrate=True)
    await stored.look()
    rows = await database.fetch(f"EXPLAIN QUERY PLAN {stored.sql}", "A,B")
    plan = "\n".join(row["detail"] for row in rows)
    assert "SEARCH t USING INDEX predictions_newest (symbol=?" in plan
    assert "TEMP B-TREE" not in plan


HYPERTABLE = """
    CREATE FUNCTION create_hypertable(relation regclass, time_column_name name) RETURNS void
    LANGUAGE sql AS $$ CREATE TABLE made AS SELECT relation::text, time_column_name::text $$
"""


@pytest.mark.parametrize("stores", ["postgres"], indirect=True)
async def test_with_timescaledb_it_becomes_a_hypertable(database: Database, make: Make) -> None:
    """The extension is not to be had here: its entry and its function stand in for it."""
    async with database.transaction() as inside:
        await inside.execute("SET LOCAL allow_system_table_mods = on")
        await inside.execute(
            "INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, "
            "extversion) VALUES (99999, 'timescaledb', 10, 2200, false, '2')"
        )
    await database.execute(HYPERTABLE)
    await make(migrate=True).look()
    rows: list[Any] = await database.fetch("SELECT * FROM made")
    assert rows == [{"relation": "predictions", "time_column_name": "predicted_at"}]


# --------------------------------------------------------------------------------------- lost


class LostThen(Sqlite):
    """A file that is lost when it is to be changed."""

    async def migrate(self, name: str, steps: Sequence[str]) -> None:
        raise StoreDown


async def test_loss_while_the_table_is_made_is_no_refusal(
    tmp_path: Path, clock: Clock, told: Told
) -> None:
    database = LostThen(tmp_path / "gateway.db")
    stored = StoredPredictions(database, times=TIMES, migrate=True, told=told, clock=clock)
    for _ in range(2):
        with pytest.raises(StoreDown):
            await stored.look()
    assert told.events == []
    await database.close()


async def test_server_that_is_lost_is_asked_again_and_seen_then(clock: Clock, told: Told) -> None:
    with servers.postgres() as server:
        database = Postgres(server.url)
        stored = StoredPredictions(database, times=TIMES, migrate=True, told=told, clock=clock)
        with server.down():
            with pytest.raises(StoreDown):
                await stored.look()
            with pytest.raises(StoreDown):
                await stored.newest(["A"])
        assert await prices(stored, "A") == {}
        await insert(database, "A", 1, 1, MADE)
        with server.down(), pytest.raises(StoreDown):
            await stored.newest(["A"])
        assert await prices(stored, "A") == {"A": 1}
        assert told.events == []
        await database.close()
