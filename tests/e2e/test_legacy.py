"""deploy/examples/legacy.yaml, as it stands there, at work: each sentence of its first lines."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.config import ConfigError, load
from tests.e2e.life import ROOT, Program, request
from tests.e2e.stage import field

EXAMPLES = ROOT / "deploy" / "examples"
TOKEN = "one-token-for-all-of-them"
AUTHORISED = f"Authorization: Bearer {TOKEN}"
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


class Service:
    """A service that says its name, and can be told to fail its health checks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.well = True
        self.asked: list[str] = []
        application = web.Application()
        application.router.add_get("/health", self._health)
        application.router.add_route("*", "/{rest:.*}", self._answer)
        self.server = TestServer(application, host="127.0.0.1")

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if self.well else 503)

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path_qs}")
        return web.json_response(
            {"served_by": self.name, "body": (await request.read()).decode()},
            headers={"Access-Control-Allow-Origin": "*", "Sunset": "never"},
        )

    @property
    def url(self) -> str:
        return str(self.server.make_url("")).rstrip("/")


class Example(Program):
    """The gateway with the example's own files, its variables in `.env`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "legacy.yaml")
        for file in EXAMPLES.glob("legacy*"):
            shutil.copy(file, folder)
        self.variables: dict[str, str] = {}

    def set(self, **variables: str) -> None:
        self.variables |= variables
        lines = (f"{name}='{value}'\n" for name, value in self.variables.items())
        (self.file.parent / ".env").write_text("".join(lines))

    async def reloaded(self, **variables: str) -> None:
        count = len(self.found("reloaded")) + 1
        self.set(**variables)
        self.signal(signal.SIGHUP)
        await self.event("reloaded", count=count)

    async def ask(
        self, method: str, path: str, *lines: str, body: bytes = b""
    ) -> tuple[int, bytes, Any]:
        """Status, head, and the body as JSON, if there is one."""
        client = await self.send(request(method, path, *lines, body=body))
        head, data = await client.answer()
        await client.close()
        return int(head.split()[1]), head, json.loads(data or b"null")


class Scene:
    def __init__(self, gateway: Example, new: Service, old: Service) -> None:
        self.gateway, self.new, self.old = gateway, new, old
        self.ask = gateway.ask


@asynccontextmanager
async def legacy(folder: Path, **variables: str) -> AsyncIterator[Scene]:
    """Both services, and the example in front of them."""
    new, old = Service("new"), Service("old")
    async with new.server, old.server:
        gateway = Example(folder)
        gateway.set(
            API_TOKEN=TOKEN,
            NEW_URL=new.url,
            OLD_URL=old.url,
            LEGACY_SINCE=f"{TODAY:%Y-%m-%d}",
            PORT="0",
            GATEWAY_HOST="127.0.0.1",
            GATEWAY_DRAIN_DELAY="0",
            **variables,
        )
        await gateway.start()
        try:
            yield Scene(gateway, new, old)
        finally:
            await gateway.kill()


async def test_new_service_is_at_the_root_and_the_old_one_below_v0(tmp_path: Path) -> None:
    async with legacy(tmp_path) as scene:
        status, head, body = await scene.ask("GET", "/orders?limit=5", AUTHORISED)
        assert (status, body["served_by"]) == (200, "new")
        assert field(head, b"deprecation") is None
        status, head, body = await scene.ask("GET", "/v0/orders?limit=5", AUTHORISED)
        assert (status, body["served_by"]) == (200, "old")
        assert scene.new.asked == scene.old.asked == ["GET /orders?limit=5"]


async def test_old_service_says_that_it_goes_in_30_days_and_is_gone_then(tmp_path: Path) -> None:
    async with legacy(tmp_path) as scene:
        _, head, _ = await scene.ask("GET", "/v0/orders", AUTHORISED)
        assert field(head, b"deprecation") == b"@%d" % TODAY.timestamp()
        end = parsedate_to_datetime((field(head, b"sunset") or b"").decode())
        assert end == TODAY + timedelta(days=30)
        assert field(head, b"link") == b'</>; rel="successor-version"'
        await scene.gateway.reloaded(LEGACY_SINCE=f"{TODAY - timedelta(days=30):%Y-%m-%d}")
        status, head, body = await scene.ask(
            "GET", "/v0/orders", AUTHORISED, "Origin: https://app.example.com"
        )
        assert (status, body["error"]) == (410, "gone")
        assert field(head, b"access-control-allow-origin") == b"https://app.example.com"
        assert field(head, b"link") == b'</>; rel="successor-version"'
        assert (await scene.ask("GET", "/orders", AUTHORISED))[0] == 200
        assert len(scene.old.asked) == 1


@pytest.mark.parametrize("path", ["/orders", "/v0/orders"])
async def test_both_want_the_token(tmp_path: Path, path: str) -> None:
    async with legacy(tmp_path) as scene:
        for line in ("X-Nothing: x", "Authorization: Bearer wrong", f"X-API-Key: {TOKEN}"):
            status, head, body = await scene.ask(
                "GET", path, line, "Origin: https://app.example.com"
            )
            assert (status, body["error"]) == (401, "unauthorized")
            assert (field(head, b"www-authenticate") or b"").startswith(b"Bearer")
            assert field(head, b"access-control-allow-origin") == b"https://app.example.com"
        assert (await scene.ask("GET", path, AUTHORISED))[0] == 200
        assert len(scene.new.asked) + len(scene.old.asked) == 1
        assert not [line for line in scene.gateway.lines if TOKEN.encode() in line]


def test_example_needs_a_token(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(EXAMPLES / "legacy.yaml", {}, {}, tmp_path)
    (problem,) = raised.value.problems
    assert "API_TOKEN" in str(problem)


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        ("https://app.example.com", True),
        ("https://admin.example.com", True),
        ("https://pr-7.preview.example.com", True),
        ("https://a.b.preview.example.com", True),
        ("https://preview.example.com", False),
        ("https://evil-preview.example.com", False),
        ("https://app.example.com.evil.org", False),
    ],
)
async def test_three_origins_may_one_of_them_a_pattern(
    tmp_path: Path, origin: str, may: bool
) -> None:
    async with legacy(tmp_path) as scene:
        for path in ("/orders", "/v0/orders", "/health", "/v0"):
            _, head, _ = await scene.ask("GET", path, AUTHORISED, f"Origin: {origin}")
            allowed = field(head, b"access-control-allow-origin")
            assert allowed == (origin.encode() if may else None)
        # A preflight has no token.
        status, head, _ = await scene.ask(
            "OPTIONS",
            "/orders",
            f"Origin: {origin}",
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: authorization",
        )
        assert status == (204 if may else 403)
        assert (b"Authorization" in (field(head, b"access-control-allow-headers") or b"")) is may


async def test_an_address_may_ask_60_times_a_minute(tmp_path: Path) -> None:
    async with legacy(tmp_path) as scene:
        client = await scene.gateway.client()
        statuses = []
        for number in range(61):
            spoofed = f"X-Forwarded-For: 192.0.2.{number}"
            origin = "Origin: https://app.example.com"
            path = "/v0/orders" if number % 2 else "/orders"  # counted together
            await client.send(request("GET", path, AUTHORISED, spoofed, origin))
            head, _ = await client.answer()
            statuses.append(int(head.split()[1]))
        assert statuses == [200] * 60 + [429]
        assert int(field(head, b"retry-after") or 0) >= 1
        assert field(head, b"x-ratelimit-limit") == b"60"
        assert field(head, b"x-ratelimit-remaining") == b"0"
        assert field(head, b"access-control-allow-origin") == b"https://app.example.com"
        assert len(scene.new.asked) + len(scene.old.asked) == 60
        assert (await scene.ask("GET", "/health"))[0] == 200


async def test_requests_are_what_the_new_service_takes(tmp_path: Path) -> None:
    async with legacy(tmp_path) as scene:
        json_line = "Content-Type: application/json"
        good, bad = b'{"item":"tea","quantity":2}', b'{"item":"tea","quantity":"two"}'
        status, _, body = await scene.ask("POST", "/orders", AUTHORISED, json_line, body=good)
        assert (status, body["body"]) == (200, good.decode())
        status, _, body = await scene.ask("POST", "/orders", AUTHORISED, json_line, body=bad)
        assert (status, body["error"]) == (422, "validation_error")
        assert "quantity" in json.dumps(body["details"])
        assert (await scene.ask("GET", "/orders?limit=x", AUTHORISED))[0] == 422
        assert (await scene.ask("GET", "/nothing", AUTHORISED))[0] == 404
        assert (await scene.ask("GET", "/orders/7", AUTHORISED))[0] == 200
        assert scene.new.asked == ["POST /orders", "GET /orders/7"]


async def test_service_that_fails_its_health_checks_gets_no_requests(tmp_path: Path) -> None:
    quick = {"HEALTH_INTERVAL": "50ms", "HEALTH_TIMEOUT": "50ms"}
    async with legacy(tmp_path, **quick) as scene:
        assert (await scene.ask("GET", "/orders", AUTHORISED))[0] == 200
        scene.new.well = False
        await scene.gateway.event("target_down", upstream="new")
        status, _, body = await scene.ask("GET", "/orders", AUTHORISED)
        assert (status, body["error"]) == (503, "service_unavailable")
        assert (await scene.ask("GET", "/v0/orders", AUTHORISED))[0] == 200
        scene.new.well = True
        await scene.gateway.event("target_up", upstream="new")
        assert (await scene.ask("GET", "/orders", AUTHORISED))[0] == 200


async def test_green_takes_over_from_blue_by_a_reload_and_gives_back(tmp_path: Path) -> None:
    green = Service("green")
    async with legacy(tmp_path) as scene, green.server:
        client = await scene.gateway.client()
        served = []
        for url in (scene.new.url, green.url, scene.new.url):
            await scene.gateway.reloaded(NEW_URL=url)
            await client.send(request("GET", "/orders", AUTHORISED))
            served.append(json.loads((await client.answer())[1])["served_by"])
        assert served == ["new", "green", "new"]  # on one connection
        scene.gateway.set(NEW_URL="nowhere")
        scene.gateway.signal(signal.SIGHUP)
        await scene.gateway.event("reload_refused")
        assert (await scene.ask("GET", "/orders", AUTHORISED))[2]["served_by"] == "new"


async def test_answers_are_replaced_where_the_gateway_knows_better(tmp_path: Path) -> None:
    async with legacy(tmp_path) as scene:
        _, head, _ = await scene.ask("GET", "/v0/orders", AUTHORISED, "Origin: https://evil.org")
        assert field(head, b"access-control-allow-origin") is None
        assert field(head, b"sunset") != b"never"
