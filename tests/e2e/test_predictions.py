"""Predictions as clients get them: from the stores that are built in, and from real servers."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
import pytest_asyncio

from gateway.predictions import models
from gateway.stores import Database
from gateway.stores.redis import Redis
from tests import servers
from tests.databases import new_database, opened
from tests.e2e.life import Program, request, running
from tests.e2e.stage import Stage, field, stage
from tests.servers import Server

NOW = datetime.now(UTC)
PREDICTED = (NOW - timedelta(seconds=30)).isoformat()
EXAMPLE = Path(__file__).parents[2] / "deploy/examples/predictions.yaml"
LASTING = {"stale_after": "1h"}
CREATE = "CREATE TABLE {name} (ticker TEXT, predicted_at {time}, predicted_price REAL, note TEXT)"


async def create(database: Database, name: str = "predictions") -> None:
    time = "timestamptz" if database.name == "postgres" else "TEXT"
    await database.execute(CREATE.format(name=name, time=time))


async def insert(database: Database, symbol: str, price: float, at: str = PREDICTED) -> None:
    await database.execute(f"INSERT INTO predictions VALUES ('{symbol}', '{at}', {price}, 'it''s')")


class Scene:
    """A gateway over stores of a kind, and these stores."""

    def __init__(self, stage: Stage, database: Database, redis: Redis | None) -> None:
        self.stage = stage
        self.database = database
        self.redis = redis

    async def get(self, path: str, *lines: str, method: str = "GET") -> tuple[int, bytes, bytes]:
        """Status, head and body."""
        client = await self.stage.client()
        await client.send(request(method, path, *lines))
        head = await client.head()
        status = int(head.split()[1])
        length = int(field(head, b"content-length") or 0)
        bodiless = method == "HEAD" or status == 304
        return status, head, b"" if bodiless else await client.exactly(length)

    async def told(self, path: str, *lines: str) -> Any:
        """The body of a 200."""
        status, _, body = await self.get(path, *lines)
        assert status == 200, body
        return orjson.loads(body)

    async def status(self, symbol: str) -> int:
        return (await self.get(f"/api/prediction/{symbol}"))[0]

    async def source(self, symbol: str) -> str:
        return str((await self.told(f"/api/prediction/{symbol}"))["freshness"]["source"])

    async def count(self, name: str) -> float:
        _, _, body = await self.get("/metrics")
        lines = (line for line in body.decode().splitlines() if line.startswith(f"{name} "))
        return float(next(lines).rpartition(" ")[2])


@asynccontextmanager
async def serving(
    stores: dict[str, str], predictions: Any = LASTING, **more: Any
) -> AsyncIterator[Scene]:
    database = opened(stores)
    redis = Redis(stores["redis"]) if "redis" in stores else None
    async with stage(stores=stores, apis={"predictions": predictions}, **more) as scene:
        yield Scene(scene, database, redis)
    await database.close()
    if redis is not None:
        await redis.close()


@pytest_asyncio.fixture
async def kind(
    stores: dict[str, str], request: pytest.FixtureRequest
) -> AsyncIterator[dict[str, str]]:
    """SQLite and this host's memory, or PostgreSQL and an empty Redis."""
    if "sqlite" in stores:
        yield stores
        return
    url = request.getfixturevalue("redis_url").removesuffix("/0") + "/7"
    redis = Redis(url)
    await redis._client.flushdb()
    await redis.close()
    yield {**stores, "redis": url}


async def prepared(stores: dict[str, str]) -> None:
    """With a table: the gateway looks when it starts."""
    database = opened(stores)
    await create(database)
    await database.close()


@pytest_asyncio.fixture
async def scene(kind: dict[str, str]) -> AsyncIterator[Scene]:
    await prepared(kind)
    async with serving(kind) as made:
        await insert(made.database, "AAPL", 185.5)
        yield made


# ---------------------------------------------------------------------------------------- one


async def test_prediction_comes_from_the_database_and_then_from_the_cache(scene: Scene) -> None:
    status, head, body = await scene.get("/api/prediction/AAPL")
    assert status == 200
    assert field(head, b"content-type") == b"application/json"
    assert field(head, b"cache-control") == b"max-age=60"
    assert field(head, b"x-request-id")
    models.Prediction.model_validate_json(body)
    first = orjson.loads(body)
    fresh = first.pop("freshness")
    assert first == {
        "symbol": "AAPL",
        "predicted_price": 185.5,
        "note": "it's",
        "predicted_at": PREDICTED.replace("+00:00", "Z"),
    }
    assert 29 < fresh["age_seconds"] < 3600
    assert (fresh["source"], fresh["stale"]) == ("database", False)
    again = await scene.told("/api/prediction/AAPL")
    assert again.pop("freshness")["source"] == "cache"
    assert again == first


@pytest.mark.parametrize("spelling", ["aapl", "AaPl", "%41apl"])
async def test_case_of_a_symbol_does_not_matter(scene: Scene, spelling: str) -> None:
    assert (await scene.told(f"/api/prediction/{spelling}"))["symbol"] == "AAPL"


async def test_what_is_nowhere_is_not_found(scene: Scene) -> None:
    status, head, body = await scene.get("/api/prediction/MSFT")
    assert status == 404
    error = orjson.loads(body)
    assert (error["error"], error["path"]) == ("not_found", "/api/prediction/MSFT")
    assert error["request_id"].encode() == field(head, b"x-request-id")


@pytest.mark.parametrize(
    "path", ["/api/prediction/TOOLONG", "/api/prediction/A1", "/api/prediction/%ff%fe"]
)
async def test_what_is_no_symbol_is_refused(scene: Scene, path: str) -> None:
    client = await scene.stage.client()
    for _ in range(2):  # on the same connection
        await client.send(request("GET", path))
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b'"error":"bad_request"' in body


async def test_other_methods_are_not_allowed(scene: Scene) -> None:
    status, head, _ = await scene.get("/api/prediction/AAPL", method="DELETE")
    assert status == 405
    assert field(head, b"allow") == b"GET, HEAD"


async def test_head_is_the_answer_without_its_body(scene: Scene) -> None:
    await scene.get("/api/prediction/AAPL")
    status, head, _ = await scene.get("/api/prediction/AAPL", method="HEAD")
    _, other, body = await scene.get("/api/prediction/AAPL")
    assert status == 200
    assert abs(int(field(head, b"content-length") or 0) - len(body)) <= 1
    assert field(head, b"etag") == field(other, b"etag")


async def test_body_of_a_question_is_passed_over(scene: Scene) -> None:
    client = await scene.stage.client()
    for _ in range(2):
        await client.send(request("GET", "/api/prediction/AAPL", body=b"x" * 1000))
        head, _ = await client.answer()
        assert head.startswith(b"HTTP/1.1 200 ")


async def test_pipelined_questions_are_answered_in_order(scene: Scene) -> None:
    client = await scene.stage.client()
    await client.send(
        b"".join(request("GET", f"/api/prediction/{s}") for s in ("AAPL", "X", "aapl"))
    )
    answers = [await client.answer() for _ in range(3)]
    assert [int(head.split()[1]) for head, _ in answers] == [200, 404, 200]


# ------------------------------------------------------------------------------ conditional


async def test_who_has_it_already_gets_304(scene: Scene) -> None:
    _, head, _ = await scene.get("/api/prediction/AAPL")
    etag = (field(head, b"etag") or b"").decode()
    client = await scene.stage.client()
    for given in (etag, etag.removeprefix("W/"), f'"x", {etag}', "*"):
        await client.send(request("GET", "/api/prediction/AAPL", f"If-None-Match: {given}"))
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 304 ")
        assert field(head, b"etag") == etag.encode()
        assert field(head, b"cache-control") == b"max-age=60"
        assert field(head, b"content-length") is None
    status, _, _ = await scene.get("/api/prediction/AAPL", 'If-None-Match: "x"')
    assert status == 200


async def test_newer_prediction_has_another_tag(scene: Scene) -> None:
    _, head, _ = await scene.get("/api/prediction/AAPL")
    before = field(head, b"etag") or b""
    await insert(scene.database, "MSFT", 1)
    await insert(scene.database, "MSFT", 2, NOW.isoformat())
    status, head, body = await scene.get(
        "/api/prediction/MSFT", f"If-None-Match: {before.decode()}"
    )
    assert status == 200
    assert orjson.loads(body)["predicted_price"] == 2
    assert field(head, b"etag") != before


# ----------------------------------------------------------------------------------- several


async def test_several_come_at_once_and_the_others_are_named(scene: Scene) -> None:
    await insert(scene.database, "TSLA", 2)
    await scene.get("/api/prediction/AAPL")
    found = await scene.told("/api/predictions?symbols=tsla,MSFT,aapl,TSLA")
    models.Predictions.model_validate(found)
    assert list(found["predictions"]) == ["TSLA", "AAPL"]
    assert found["missing"] == ["MSFT"]
    assert "unavailable" not in found
    sources = [one["freshness"]["source"] for one in found["predictions"].values()]
    assert sources == ["database", "cache"]


async def test_several_have_a_tag_too(scene: Scene) -> None:
    path = "/api/predictions?symbols=AAPL,MSFT"
    _, head, _ = await scene.get(path)
    etag = (field(head, b"etag") or b"").decode()
    status, head, _ = await scene.get(path, f"If-None-Match: {etag}")
    assert status == 304
    await insert(scene.database, "MSFT", 1)
    status, head, _ = await scene.get(path, f"If-None-Match: {etag}")
    assert status == 200


async def test_hundred_of_them_are_one_query_and_no_more_are_taken(scene: Scene) -> None:
    names = [f"{a}{b}" for a in "ABCDEFGHIJ" for b in "ABCDEFGHIJ"]
    found = await scene.told(f"/api/predictions?symbols={','.join(names)}")
    assert found == {"predictions": {}, "missing": names}
    assert await scene.count("gateway_prediction_queries_total") == 1
    status, _, _ = await scene.get(f"/api/predictions?symbols={','.join([*names, 'X'])}")
    assert status == 400


@pytest.mark.parametrize(
    "path",
    [
        "/api/predictions",
        "/api/predictions?symbols=",
        "/api/predictions?symbols=A;B",
        "/api/predictions?symbols=A&include_features=perhaps",
        "/api/prediction/AAPL?include_features=perhaps",
    ],
)
async def test_malformed_questions_are_refused(scene: Scene, path: str) -> None:
    status, _, body = await scene.get(path)
    assert status == 400
    assert orjson.loads(body)["error"] == "bad_request"


# ----------------------------------------------------------------------------------- counted


async def test_crowd_that_asks_for_one_symbol_makes_one_query(scene: Scene) -> None:
    clients = await asyncio.gather(*(scene.stage.client() for _ in range(200)))
    await asyncio.gather(*(c.send(request("GET", "/api/prediction/AAPL")) for c in clients))
    answers = await asyncio.gather(*(c.answer() for c in clients))
    assert {head[:12] for head, _ in answers} == {b"HTTP/1.1 200"}
    assert await scene.count("gateway_prediction_queries_total") == 1


async def test_hits_are_counted(scene: Scene) -> None:
    for _ in range(3):
        await scene.get("/api/prediction/AAPL")
    await scene.get("/api/prediction/MSFT")
    counted = [
        await scene.count(f'gateway_predictions_total{{result="{result}"}}')
        for result in ("cache", "database", "missing", "unavailable")
    ]
    assert counted == [2, 1, 1, 0]


async def test_mistake_of_ours_is_told_to_the_log_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object) -> bytes:
        raise RuntimeError("inner secret")

    monkeypatch.setattr("gateway.endpoints.predictions.shown", broken)
    status, head, body = await scene.get("/api/prediction/AAPL")
    assert status == 500
    assert orjson.loads(body)["error"] == "internal_error"
    assert b"inner" not in body
    assert field(head, b"connection") == b"close"
    assert "a prediction was not answered" in caplog.text
    assert "inner secret" in caplog.text


async def test_client_that_leaves_harms_nobody(scene: Scene) -> None:
    for _ in range(20):
        client = await scene.stage.client()
        await client.send(request("GET", "/api/prediction/MSFT"))
        client.reset()
    assert await scene.source("AAPL") == "database"


# ------------------------------------------------------------------------------ what is said


async def test_it_is_for_those_who_may_and_for_their_own_caches(kind: dict[str, str]) -> None:
    settings = {"auth": "token", "rate_limit": "2/hour", "ttl": "5m", "stale_after": "10s"}
    more = {"auth": {"token": "t" * 40}, "cors": {"origins": ["https://a.example"]}}
    await prepared(kind)
    async with serving(kind, settings, **more) as scene:
        await insert(scene.database, "AAPL", 1)
        assert (await scene.get("/api/prediction/AAPL"))[0] == 401
        mine = f"Authorization: Bearer {'t' * 40}", "Origin: https://a.example"
        status, head, body = await scene.get("/api/prediction/AAPL", *mine)
        assert status == 200
        assert field(head, b"cache-control") == b"private, max-age=300"
        assert field(head, b"access-control-allow-origin") == b"https://a.example"
        assert orjson.loads(body)["freshness"]["stale"] is True


async def test_stale_is_what_is_older_than_the_ttl_if_nothing_else_is_said(
    kind: dict[str, str],
) -> None:
    await prepared(kind)
    async with serving(kind, {"ttl": "1h"}) as scene:
        await insert(scene.database, "OLD", 1, (NOW - timedelta(hours=2)).isoformat())
        await insert(scene.database, "NEW", 1)
        found = (await scene.told("/api/predictions?symbols=OLD,NEW"))["predictions"]
        stale = {symbol: one["freshness"]["stale"] for symbol, one in found.items()}
        assert stale == {"OLD": True, "NEW": False}


async def test_limit_is_kept(kind: dict[str, str]) -> None:
    async with serving(kind, {"rate_limit": "2/hour"}) as scene:
        statuses = [(await scene.get("/api/prediction/A"))[0] for _ in range(3)]
        assert statuses == [404, 404, 429]


async def test_what_is_off_is_left_to_the_routes(kind: dict[str, str]) -> None:
    async with stage(stores=kind) as scene:
        client = await scene.client()
        await client.send(request("GET", "/api/prediction/A"))
        upstream = await scene.upstream.accept()
        assert b"/api/prediction/A " in await upstream.head()


async def test_without_any_setting_a_file_and_memory_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with stage(apis={"predictions": True}) as scene:
        head, _ = await scene.ask(request("GET", "/api/prediction/A"))
        assert head.startswith(b"HTTP/1.1 404")
    assert (tmp_path / "gateway.db").exists()


# -------------------------------------------------------------------------------- real servers


@pytest.fixture
def redis() -> Iterator[Server]:
    with servers.valkey() as server:
        yield server


async def until_it_is(wanted: object, asked: Callable[[], Awaitable[object]]) -> None:
    """For what a server's return changes, some time after it."""
    async with asyncio.timeout(15):
        while await asked() != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def command(scene: Scene, *words: str) -> None:
    assert scene.redis is not None
    await scene.redis._client.execute_command(*words)  # type: ignore[no-untyped-call]


@pytest_asyncio.fixture
async def servers_of(redis: Server, postgres_url: str) -> AsyncIterator[dict[str, str]]:
    """A Redis and an empty database: the settings of a gateway that uses them."""
    async with new_database(postgres_url) as url:
        yield {"redis": redis.url, "postgres": url}


@pytest_asyncio.fixture
async def real(servers_of: dict[str, str]) -> AsyncIterator[Scene]:
    await prepared(servers_of)
    async with serving(servers_of) as scene:
        yield scene


async def test_string_and_hash_of_redis_go_before_the_database(real: Scene) -> None:
    await insert(real.database, "A", 1)
    await command(real, "SET", "pred:A", '{"predicted_price": 2, "timestamp": 1767225600}')
    await command(real, "HSET", "pred:B", "predicted_price", "3.5", "predicted_at", PREDICTED)
    found = (await real.told("/api/predictions?symbols=A,B"))["predictions"]
    assert found["A"]["predicted_price"] == 2
    assert found["A"]["predicted_at"] == "2026-01-01T00:00:00Z"
    assert found["A"]["freshness"]["stale"] is True
    assert found["B"]["predicted_price"] == 3.5
    assert found["B"]["freshness"]["stale"] is False
    await command(real, "SET", "pred:A", '{"predicted_price": 4}')
    assert (await real.told("/api/prediction/A"))["predicted_price"] == 4


async def test_what_was_in_the_database_is_written_back_for_a_minute(real: Scene) -> None:
    await insert(real.database, "A", 1)
    assert await real.source("A") == "database"
    assert await real.source("A") == "cache"
    assert real.redis is not None
    (kept,) = await real.redis.values([b"pred:A"])
    assert isinstance(kept, bytes)
    assert orjson.loads(kept)["predicted_price"] == 1
    left = await real.redis._client.pttl("pred:A")
    assert 50_000 < left <= 60_000


async def test_features_come_from_redis(real: Scene) -> None:
    await insert(real.database, "A", 1)
    await insert(real.database, "B", 1)
    await command(real, "HSET", "features:A", "rsi", "61.5", "sector", "tech")
    path = "/api/prediction/A?include_features=true"
    assert (await real.told(path))["features"] == {"rsi": 61.5, "sector": "tech"}
    assert "features" not in await real.told("/api/prediction/A")
    found = await real.told("/api/predictions?symbols=A,B&include_features=true")
    assert found["predictions"]["A"]["features"] == {"rsi": 61.5, "sector": "tech"}
    assert found["predictions"]["B"]["features"] is None
    _, head, _ = await real.get(path)
    before = field(head, b"etag")
    await command(real, "HSET", "features:A", "rsi", "62")
    status, _, _ = await real.get(path, f"If-None-Match: {(before or b'').decode()}")
    assert status == 200


async def test_without_redis_the_database_answers(real: Scene, redis: Server) -> None:
    await insert(real.database, "A", 1)
    await insert(real.database, "B", 2)
    assert await real.source("A") == "database"
    assert await real.source("A") == "cache"
    with redis.down():
        assert await real.source("A") == "database"
        found = await real.told("/api/predictions?symbols=A,B,C&include_features=true")
        assert list(found["predictions"]) == ["A", "B"]
        assert found["missing"] == ["C"]
    await until_it_is("cache", lambda: real.source("A"))


async def test_without_the_database_what_is_cached_is_told(
    real: Scene, postgres_server: Server
) -> None:
    await insert(real.database, "A", 1)
    await real.source("A")
    with postgres_server.down():
        assert await real.source("A") == "cache"
        status, _, body = await real.get("/api/prediction/B")
        assert status == 503
        assert orjson.loads(body)["error"] == "service_unavailable"
        status, head, body = await real.get("/api/predictions?symbols=A,B")
        assert status == 200
        assert field(head, b"cache-control") == b"no-store"
        found = orjson.loads(body)
        assert list(found["predictions"]) == ["A"]
        assert (found["missing"], found["unavailable"]) == ([], ["B"])
        assert (await real.get("/api/predictions?symbols=B,C"))[0] == 503
    await until_it_is(404, lambda: real.status("B"))


async def test_gateway_starts_without_its_servers(
    servers_of: dict[str, str], redis: Server, postgres_server: Server
) -> None:
    async with AsyncExitStack() as up:
        with redis.down(), postgres_server.down():
            scene = await up.enter_async_context(serving(servers_of))
            assert await scene.status("A") == 503
        await create(scene.database)
        await insert(scene.database, "A", 1)
        await until_it_is(200, lambda: scene.status("A"))
        await until_it_is("cache", lambda: scene.source("A"))


async def test_mistake_of_the_database_is_told_to_the_log_alone(real: Scene) -> None:
    await real.status("A")  # it has looked
    await real.database.execute("ALTER TABLE predictions RENAME TO sources")
    await real.database.execute("CREATE VIEW predictions AS SELECT *, 1 / 0 AS bad FROM sources")
    await real.database.execute(f"INSERT INTO sources VALUES ('A', '{PREDICTED}', 1, '')")
    status, _, body = await real.get("/api/prediction/A")
    assert status == 500
    assert b"zero" not in body
    assert orjson.loads(body)["error"] == "internal_error"


# ---------------------------------------------------------------------------------- a process


async def test_loss_of_redis_is_logged_once(
    tmp_path: Path, redis: Server, servers_of: dict[str, str]
) -> None:
    stores = servers_of
    async with running(tmp_path, stores=stores, apis={"predictions": {"migrate": True}}) as program:
        assert await status(program) == 404
        with redis.down():
            assert [await status(program) for _ in range(5)] == [404] * 5
            await program.event("store_lost", store="redis")
        await program.event("store_back", store="redis")
        assert len(program.found("store_lost", store="redis")) == 1
        assert not program.found("internal_error")


async def test_workers_of_a_host_share_what_was_found(tmp_path: Path) -> None:
    stores = {"sqlite": str(tmp_path / "gateway.db")}
    await prepared(stores)
    async with running(tmp_path, workers=2, stores=stores, apis={"predictions": True}) as program:
        database = opened(stores)
        await insert(database, "A", 1)
        assert await status(program) == 200
        await database.execute("DELETE FROM predictions")
        await database.close()
        assert [await status(program) for _ in range(30)] == [200] * 30
        metrics = await program.metrics()
    assert metrics.value("gateway_predictions_total", result="cache") == 30
    assert metrics.value("gateway_prediction_queries_total") == 1


async def test_example_runs_without_any_server(tmp_path: Path) -> None:
    file = tmp_path / "predictions.yaml"
    shutil.copy(EXAMPLE, file)
    program = Program(file)
    try:
        await program.start(PORT="0")
        assert await status(program) == 404
        database = opened({"sqlite": str(tmp_path / "predictions.db")})
        await database.execute(
            "INSERT INTO predictions (symbol, predicted_at, predicted_price) "
            f"VALUES ('A', '{PREDICTED}', 185.42)"
        )
        await database.close()
        assert (await program.json("/api/prediction/a"))["predicted_price"] == 185.42
    finally:
        await program.kill()


async def test_table_that_could_not_be_made_is_told(
    tmp_path: Path, servers_of: dict[str, str]
) -> None:
    database = opened(servers_of)
    await database.execute("DROP ROLE IF EXISTS reading")
    await database.execute("CREATE ROLE reading LOGIN")
    await database.close()
    stores = servers_of | {"postgres": servers_of["postgres"].replace("postgres@", "reading@")}
    async with running(tmp_path, stores=stores, apis={"predictions": {"migrate": True}}) as program:
        line = await program.event("predictions_not_migrated", level="ERROR")
        assert "permission denied" in line["exception"]
        assert await status(program) == 404


async def test_reload_changes_them(tmp_path: Path) -> None:
    stores = {"sqlite": str(tmp_path / f"{uuid4().hex}.db")}
    async with running(tmp_path, stores=stores, apis={"predictions": True}) as program:
        assert await status(program) == 404
        await program.reload(stores=stores, apis={"predictions": {"rate_limit": "1/hour"}})
        assert [await status(program) for _ in range(2)] == [404, 429]
        await program.reload(stores=stores)
        _, _, body = await program.get("/api/prediction/A")
        assert b"no route matches" in body


async def status(program: Program) -> int:
    return (await program.get("/api/prediction/A"))[0]
