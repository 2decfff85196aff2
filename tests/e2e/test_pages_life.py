"""Tables that are missing, that change, that are lost; who may, and where."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Settings
from gateway.stores import Database
from gateway.stores.postgres import Postgres
from tests import servers
from tests.e2e.life import running
from tests.rows import Client, migrate, pages
from tests.servers import Server

PAGES = "/api/v1/pages/"
HEALTH = "/api/v1/utils/health-check"
PRIVATE = "/api/v1/private/diagnostics/"
KEY = "0123456789abcdef0123456789abcdef"


async def test_missing_table_is_told_once_and_is_there_after_sighup(
    tmp_path: Path, stores: dict[str, str], database: Database
) -> None:
    table: dict[str, Any] = {"stores": stores, "apis": {"pages": {"tables": {"authors": {}}}}}
    async with running(tmp_path, **table) as program:
        for _ in range(2):
            status, _, body = await program.get(PAGES)
            assert (status, json.loads(body)["error"]) == (404, "not_found")
            assert "no such table" in json.loads(body)["message"]
        assert len(program.found("table_missing", table="pages")) == 1
        assert (await program.get(HEALTH))[0] == 200
        await program.reload(**table)
        assert len(program.found("table_missing")) == 2  # pages, authors: not told again
        await migrate(database)
        assert (await program.get(PAGES))[0] == 404
        await program.reload(**table)
        status, _, body = await program.get(PAGES)
        assert (status, json.loads(body)["total"]) == (200, 0)
        assert len(program.found("table_missing")) == 2


async def test_column_that_was_added_is_there_after_sighup(
    tmp_path: Path, stores: dict[str, str], database: Database
) -> None:
    await migrate(database)
    table: dict[str, Any] = {"stores": stores, "apis": {"pages": True}}
    async with running(tmp_path, **table) as program:
        await database.execute("INSERT INTO pages (id, slug, title) VALUES (1, 'a', 'A')")
        await database.execute("ALTER TABLE pages ADD COLUMN more TEXT")
        assert "more" not in json.loads((await program.get(PAGES + "1"))[2])
        await program.reload(**table)
        assert json.loads((await program.get(PAGES + "1"))[2])["more"] is None


async def test_column_that_went_away_is_told_once(
    stores: dict[str, str], database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    await migrate(database)
    async with pages(stores) as client:
        await client.made()
        await database.execute("ALTER TABLE pages DROP COLUMN title")
        for _ in range(2):
            answer = await client.get(PAGES)
            assert (answer.status, answer.json["error"]) == (503, "service_unavailable")
        await client.scene.gateway.apply(client.scene.gateway.settings)
        (row,) = (await client.get(PAGES)).json["items"]
        assert "title" not in row
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["table"] for line in lines if line["event"] == "table_changed"] == ["pages"]


async def test_table_that_changes_under_a_prepared_statement_is_no_fault_of_ours(
    stores: dict[str, str], database: Database
) -> None:
    await migrate(database)
    async with pages(stores) as client:
        await client.made()
        body = {"slug": "b", "title": "B"}
        assert (await client.ask("PUT", PAGES + "1", body)).status == 200
        if "postgres" in stores:
            await database.execute("ALTER TABLE pages ALTER COLUMN title TYPE VARCHAR(50)")
        found = [(await client.ask("PUT", PAGES + "1", body)).status for _ in range(3)]
        assert set(found) <= {200, 503}
        assert found[-1] == 200


@pytest.fixture
def down() -> Iterator[Server]:
    """A PostgreSQL of our own, to be stopped."""
    with servers.postgres() as server:
        yield server


async def test_database_that_is_lost_is_unavailable_until_it_is_back(down: Server) -> None:
    database = Postgres(down.url)
    await migrate(database)
    await database.close()
    async with pages({"postgres": down.url}) as client:
        await client.made()
        with down.down():
            for method, path in (("GET", PAGES), ("GET", PAGES + "1"), ("DELETE", PAGES + "1")):
                answer = await client.ask(method, path)
                assert (answer.status, answer.json["error"]) == (503, "service_unavailable")
            assert (await client.get(HEALTH)).status == 200
            # What does not fit is known without the database.
            assert (await client.post(PAGES, {"slug": 1})).status == 422
            await client.scene.gateway.apply(client.scene.gateway.settings)
            assert (await client.get(PAGES)).status == 503
        assert (await back(client))["total"] == 1


async def test_database_that_is_down_at_the_start_is_looked_at_later(down: Server) -> None:
    database = Postgres(down.url)
    await migrate(database)
    await database.close()
    with down.down():
        started = pages({"postgres": down.url})
        client = await started.__aenter__()
        try:
            assert (await client.get(PAGES)).status == 503
            assert (await client.post(PAGES, {"slug": "a", "title": "A"})).status == 503
        except BaseException:
            await started.__aexit__(None, None, None)
            raise
    assert (await back(client))["total"] == 0
    assert (await client.made())["title"] == "A"
    await started.__aexit__(None, None, None)


async def back(client: Client) -> Any:
    """The first list that comes again."""
    async with asyncio.timeout(10):
        while True:
            answer = await client.get(PAGES)
            if answer.status == 200:
                return answer.json
            assert answer.status == 503
            await asyncio.sleep(0.05)


# ---------------------------------------------------------------------------- who, and where


async def test_each_table_has_scopes_of_its_own(stores: dict[str, str], database: Database) -> None:
    await migrate(database)
    tables = {
        "pages": {"read": ["pages:read"], "write": ["pages:write"]},
        "authors": {"read_only": True},
    }
    settings = {"auth": "api_key", "scopes": ["data"], "tables": tables}
    async with pages(stores, apis={"pages": settings}) as client:
        ring = client.scene.gateway._edge.keyring()
        keys = {}
        for scopes in ("data", "data pages:read", "data pages:read pages:write", "pages:read"):
            _, keys[scopes] = await ring.create("ann", "pro", scopes.split(), None)

        async def status(method: str, path: str, scopes: str) -> int:
            line = f"X-API-Key: {keys[scopes]}"
            body = {"slug": "a", "title": "A"} if method == "POST" else None
            return (await client.ask(method, path, body, line)).status

        assert (await client.get(PAGES)).status == 401
        assert await status("GET", PAGES, "data") == 403
        assert await status("GET", PAGES, "pages:read") == 403
        assert await status("GET", PAGES, "data pages:read") == 200
        assert await status("POST", PAGES, "data pages:read") == 403
        assert await status("POST", PAGES, "data pages:read pages:write") == 201
        assert await status("DELETE", PAGES + "1", "data pages:read") == 403
        assert await status("GET", "/api/v1/authors/", "data") == 200
        assert await status("POST", "/api/v1/authors/", "data") == 405
        assert (await client.get(HEALTH)).json == {"status": True}


async def test_diagnostics_tell_how_things_are_and_no_secret(
    stores: dict[str, str], database: Database
) -> None:
    await migrate(database)
    async with pages(stores, secret_key=KEY, auth={"token": "a-token-of-many-letters"}) as client:
        server = await client.get(PRIVATE + "server")
        told = server.json
        assert {"gateway", "python", "aiohttp"} <= told["versions"].keys()
        assert told["event_loop_lag_ms"] >= 0
        if "postgres" in stores:
            assert told["pools"]["postgres"] == {"idle": 1, "active": 0}
        assert 1 << 20 < told["memory"]["resident"] <= told["memory"]["peak"] * 2
        found = await client.get(PRIVATE + "database")
        state = found.json
        assert state["server"].startswith(("PostgreSQL ", "SQLite "))
        assert state["latency_ms"] > 0
        assert state["tables"]["pages"]["key"] == "id"
        assert {"authors", "sad_pages"} <= set(state["others"])
        text = (server.body + found.body).decode()
        for secret in (KEY, "a-token-of-many-letters", *stores.values(), "://"):
            assert secret not in text


async def test_diagnostics_are_only_there_locally(
    stores: dict[str, str], database: Database
) -> None:
    await migrate(database)
    for environment in ("staging", "production"):
        apis = {"pages": {"auth": "none"}}
        async with pages(stores, environment=environment, apis=apis) as client:
            for name in ("server", "database"):
                assert (await client.get(PRIVATE + name)).status == 404
            assert (await client.get(HEALTH)).json == {"status": True}
            assert (await client.get(PAGES)).status == 200


async def test_diagnostics_go_when_the_environment_changes(stores: dict[str, str]) -> None:
    apis = {"pages": {"auth": "none"}}
    async with pages(stores, apis=apis) as client:
        gateway = client.scene.gateway
        assert (await client.get(PRIVATE + "server")).status == 200
        changed = {"environment": "production", "apis": apis, "stores": stores}
        await gateway.apply(Settings.model_validate(changed))
        assert (await client.get(PRIVATE + "server")).status == 404


async def test_what_is_off_does_not_exist(stores: dict[str, str]) -> None:
    async with pages(stores, apis={}) as client:
        for path in (PAGES, PAGES + "1", HEALTH, PRIVATE + "server"):
            assert (await client.get(path)).status == 404


@pytest.mark.parametrize(
    ("table", "wrong"),
    [
        ({"tables": {"utils": {}}}, "/api/v1/utils/ is taken"),
        ({"table": "page", "tables": {"pages": {}}}, "/api/v1/pages/ is taken"),
        ({"tables": {"a": {"read": ["x"]}}}, "tables.a: has scopes"),
        ({"tables": {"a;b": {}}}, "a name is"),
        ({"table": "a b"}, "a name is"),
        ({"page_size": 0}, "page_size"),
    ],
)
def test_settings_that_make_no_sense_are_refused(table: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        Settings.model_validate({"apis": {"pages": table}})
