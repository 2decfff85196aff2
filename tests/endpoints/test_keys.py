"""What administrators send about API keys, and what they get."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway import apikeys
from gateway.endpoints.keys import BODY_BYTES, ManagedKeys
from gateway.errors import GatewayError
from gateway.exchange import Principal
from gateway.keyring import Keyring
from gateway.stores import Database
from gateway.stores.keys import Keys
from gateway.telemetry.events import EventLog
from tests.http1.reading import exchange

NOW = 1_800_000_000.0
MADE = {"owner": "ann", "tier": "pro"}
SQL = "x'; DROP TABLE gateway_api_keys; --"


class Scene:
    """The handlers behind a real server, and what they logged."""

    def __init__(self, database: Database) -> None:
        self.lines: list[bytes] = []
        self.now = NOW
        self.asked = exchange()
        self.asked.principal = Principal("api_key", "key_root")
        ring = Keyring(Keys(database), clock=lambda: self.now)
        managed = ManagedKeys(
            lambda: ring,
            tiers=lambda: ("free", "pro"),
            exchange_of=lambda request: self.asked,
            log=EventLog(self.lines.append),
        )
        application = web.Application(middlewares=[self._errors])
        application.router.add_post("/create", managed.create)
        application.router.add_get("/all", managed.all)
        application.router.add_post("/rotate", managed.rotate)
        application.router.add_post("/revoke", managed.revoke)
        self.client = TestClient(TestServer(application))

    @web.middleware
    async def _errors(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            answer: web.StreamResponse = await handler(request)
        except GatewayError as error:
            return web.json_response(
                {"error": error.code, "message": error.message, "details": list(error.details)},
                status=error.status,
            )
        return answer

    async def post(self, path: str, body: object) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.client.post(path, data=data) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    async def all(self) -> list[dict[str, Any]]:
        async with self.client.get("/all") as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "no-store"
            return list((await answer.json())["keys"])

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture
async def scene(database: Database) -> AsyncIterator[Scene]:
    scene = Scene(database)
    async with scene.client:
        yield scene


async def test_key_is_made_and_told_once(scene: Scene) -> None:
    async with scene.client.post("/create", json={**MADE, "scopes": ["a"]}) as answer:
        assert answer.status == 201
        assert answer.headers["Cache-Control"] == "no-store"
        made = await answer.json()
    key = made.pop("key")
    assert apikeys.is_sound(key.encode())
    assert made == {
        "id": made["id"],
        "owner": "ann",
        "tier": "pro",
        "scopes": ["a"],
        "state": "active",
        "created": "2027-01-15T08:00:00.000Z",
        "expires": None,
        "revoked": None,
        "last_used": None,
        "successor": None,
    }
    assert await scene.all() == [made]
    (event,) = scene.events
    assert (event["event"], event["by"]) == ("key_created", "api_key key_root")
    assert event["key"] == made["id"]
    assert key.encode() not in b"".join(scene.lines)


@pytest.mark.parametrize("expires", ["90d", 90 * 86400, 90 * 86400.0])
async def test_length_of_time_is_written_as_in_the_settings(scene: Scene, expires: object) -> None:
    _, made = await scene.post("/create", {**MADE, "expires": expires})
    assert made["expires"] == "2027-04-15T08:00:00.000Z"


async def test_key_is_rotated_with_an_hour_to_spare(scene: Scene) -> None:
    _, old = await scene.post("/create", MADE)
    scene.now += 60
    status, new = await scene.post("/rotate", {"id": old["id"]})
    assert status == 201
    assert new["key"] != old["key"]
    first, second = await scene.all()
    assert (first["successor"], first["expires"]) == (new["id"], "2027-01-15T09:01:00.000Z")
    assert second["id"] == new["id"]
    assert scene.events[-1]["successor"] == new["id"]


async def test_key_is_rotated_once(scene: Scene) -> None:
    _, old = await scene.post("/create", MADE)
    await scene.post("/rotate", {"id": old["id"], "grace": "1m", "expires": "1d"})
    status, refused = await scene.post("/rotate", {"id": old["id"]})
    assert status == 422
    assert refused["details"] == [
        {"in": "body", "name": "", "path": "/id", "message": "the key was rotated already"}
    ]


async def test_key_is_revoked_however_often(scene: Scene) -> None:
    _, made = await scene.post("/create", MADE)
    for _ in range(2):
        assert await scene.post("/revoke", {"id": made["id"]}) == (204, None)
    (listed,) = await scene.all()
    assert (listed["state"], listed["revoked"]) == ("revoked", "2027-01-15T08:00:00.000Z")


@pytest.mark.parametrize("path", ["/rotate", "/revoke"])
@pytest.mark.parametrize("name", ["key_none", "", SQL])
async def test_id_that_names_no_key_is_not_found(scene: Scene, path: str, name: str) -> None:
    await scene.post("/create", MADE)
    assert (await scene.post(path, {"id": name}))[0] == 404
    assert [key["state"] for key in await scene.all()] == ["active"]


@pytest.mark.parametrize(
    ("path", "body", "flaws"),
    [
        ("/create", {}, ["owner", "tier"]),
        ("/create", {**MADE, "owner": ""}, ["owner"]),
        ("/create", {**MADE, "owner": 7}, ["owner"]),
        ("/create", {**MADE, "tier": "gold"}, ["tier"]),
        ("/create", {**MADE, "scopes": "a b"}, ["scopes"]),
        ("/create", {**MADE, "scopes": ["a b"]}, ["scopes"]),
        ("/create", {**MADE, "expires": "soon"}, ["expires"]),
        ("/create", {**MADE, "expires": -1}, ["expires"]),
        ("/create", {**MADE, "admin": True}, ["admin"]),
        ("/rotate", {"id": "x", "grace": "long"}, ["grace"]),
        ("/rotate", {"id": ["x"]}, ["id"]),
        ("/revoke", {"id": None}, ["id"]),
    ],
)
async def test_body_that_does_not_fit_is_told_where(
    scene: Scene, path: str, body: object, flaws: list[str]
) -> None:
    status, refused = await scene.post(path, body)
    assert status == 422
    assert [flaw["path"] for flaw in refused["details"]] == [f"/{name}" for name in flaws]
    assert all(flaw["in"] == "body" and flaw["message"] for flaw in refused["details"])
    assert await scene.all() == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"\xff"])
async def test_body_that_is_no_object_is_a_bad_request(scene: Scene, body: bytes) -> None:
    assert (await scene.post("/create", body))[0] == 400


async def test_body_that_is_too_long_is_refused(scene: Scene) -> None:
    body = {**MADE, "owner": "a" * BODY_BYTES}
    assert (await scene.post("/create", body))[0] == 413


async def test_nobody_in_particular_is_told_of_as_such(scene: Scene) -> None:
    scene.asked.principal = None
    await scene.post("/create", MADE)
    assert scene.events[0]["by"] is None
