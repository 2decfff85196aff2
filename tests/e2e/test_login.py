"""Signing in at a real gateway: both databases, real passwords, two gateways beside each other."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from argon2 import PasswordHasher

from gateway.stores.users import User, Users
from tests.databases import opened
from tests.e2e.life import Program, answering, request, route, running
from tests.e2e.stage import Connection, field, fields
from tests.identity.minting import compact, hmac_with
from tests.servers import Server

SECRET = "a secret key of the tests, of 32 bytes and more"
ANN = {"username": "ann", "password": "sesame-open"}
QUICK = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(ANN["password"])
SLOW = PasswordHasher(time_cost=1).hash(ANN["password"])
REAL = PasswordHasher().hash(ANN["password"])
RATES = {"per_account": "1000/minute", "per_address": "1000/minute"}

Start = Callable[..., Awaitable[Program]]


class Scene:
    """A gateway with a database in which Ann is a user."""

    def __init__(self, program: Program, users: Users) -> None:
        self.program = program
        self.users = users

    async def post(self, path: str, body: object, *lines: str) -> tuple[int, bytes, Any]:
        """Status, head and (if there is one) object of an answer to a POST."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        client: Connection = await self.program.send(request("POST", path, *lines, body=data))
        head, answer = await client.answer()
        await client.close()
        return int(head.split()[1]), head, json.loads(answer) if answer else None

    async def login(self, **changes: object) -> Any:
        status, _, answer = await self.post("/auth/login", {**ANN, **changes})
        assert status == 200, answer
        return answer

    async def refresh(self, token: str) -> tuple[int, Any]:
        status, _, answer = await self.post("/auth/refresh", {"refresh_token": token})
        return status, answer

    async def ask(self, access: str, path: str = "/api/x") -> int:
        return (await self.program.get(path, f"Authorization: Bearer {access}"))[0]


def settings(upstream: Any, stores: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "secret_key": SECRET,
        "auth": {"login": RATES, **more.pop("auth", {})},
        "stores": stores,
        "routes": [route(upstream, auth="jwt", claims={"sub": "X-User"})],
        **more,
    }


@asynccontextmanager
async def scene(
    folder: Path, stores: dict[str, Any], stored: str = QUICK, **more: Any
) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        made = opened(stores)
        stack.push_async_callback(made.close)
        users = Users(made)
        await users.add(User("ann", stored, ("read",), "pro", 1))
        upstream = await stack.enter_async_context(answering())
        program = await stack.enter_async_context(
            running(folder, **settings(upstream, stores, **more))
        )
        yield Scene(program, users)


async def test_login_gives_what_a_route_accepts(tmp_path: Path, stores: dict[str, Any]) -> None:
    async with scene(tmp_path, stores) as made:
        status, head, answer = await made.post("/auth/login", ANN)
        assert status == 200
        assert field(head, b"cache-control") == b"no-store"
        assert set(answer) == {"access_token", "refresh_token", "token_type", "expires_in"}
        assert (answer["token_type"], answer["expires_in"]) == ("bearer", 900)
        assert await made.ask(answer["access_token"]) == 200
        assert await made.ask(answer["refresh_token"]) == 401
        assert await made.ask(answer["access_token"][:-4] + "AAAA") == 401


async def test_refresh_rotates_and_reuse_ends_the_session(
    tmp_path: Path, stores: dict[str, Any]
) -> None:
    async with scene(tmp_path, stores) as made:
        first = await made.login()
        status, second = await made.refresh(first["refresh_token"])
        assert status == 200
        assert await made.ask(second["access_token"]) == 200
        assert (await made.refresh(first["refresh_token"]))[0] == 401
        assert (await made.refresh(second["refresh_token"]))[0] == 401


async def test_of_concurrent_refreshes_at_two_gateways_one_wins(
    tmp_path: Path, stores: dict[str, Any]
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with (
        scene(tmp_path / "one", stores) as one,
        answering() as upstream,
        running(tmp_path / "two", **settings(upstream, stores)) as other,
    ):
        two = Scene(other, one.users)
        for _ in range(5):
            token = (await one.login())["refresh_token"]
            asked = [made.refresh(token) for made in (one, two) * 4]
            found = await asyncio.gather(*asked)
            assert sorted(status for status, _ in found) == [200] + [401] * 7
            (winner,) = [answer for status, answer in found if status == 200]
            assert (await two.refresh(winner["refresh_token"]))[0] == 401


async def test_logout_ends_the_session(tmp_path: Path, stores: dict[str, Any]) -> None:
    async with scene(tmp_path, stores) as made:
        token = (await made.login())["refresh_token"]
        for _ in range(2):  # of a session that is over nothing is said
            status, _, answer = await made.post("/auth/logout", {"refresh_token": token})
            assert (status, answer) == (204, None)
        assert (await made.refresh(token))[0] == 401


async def test_user_who_is_disabled_is_out_within_seconds(
    tmp_path: Path, stores: dict[str, Any]
) -> None:
    async with scene(tmp_path, stores) as made:
        tokens = await made.login()
        assert await made.ask(tokens["access_token"]) == 200
        await made.users.disable("ann", int(time.time() * 1000))
        assert (await made.refresh(tokens["refresh_token"]))[0] == 401
        assert (await made.post("/auth/login", ANN))[0] == 401
        async with asyncio.timeout(10):
            while await made.ask(tokens["access_token"]) != 401:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


@pytest.fixture
def sqlite(tmp_path: Path) -> dict[str, Any]:
    return {"sqlite": str(tmp_path / "users.db")}


async def test_wrong_credentials_are_all_the_same(tmp_path: Path, sqlite: dict[str, Any]) -> None:
    wrong = [
        {**ANN, "password": "sesame"},
        {**ANN, "username": "ben"},
        {**ANN, "username": "ann' OR '1'='1"},
        {**ANN, "username": "ann\0"},
    ]
    async with scene(tmp_path, sqlite) as made:
        for body in wrong:
            status, head, answer = await made.post("/auth/login", body)
            assert (status, answer["error"]) == (401, "unauthorized")
            assert answer["message"] == "the name or the password is wrong"
            assert field(head, b"www-authenticate") == b'Bearer realm="gateway"'
        await made.program.event("login_failed", count=len(wrong), reason="credentials")
        counted = await made.program.metrics()
        failures = counted.value("gateway_auth_failures_total", reason="credentials")
        assert failures == len(wrong)
        log = b"".join(made.program.lines)
        assert b"sesame" not in log
        assert b"1'='1" not in log


BAD: list[tuple[str, object, int]] = [
    ("/auth/login", b"username=ann&password=x", 400),
    ("/auth/login", ["ann", "x"], 400),
    ("/auth/login", b"", 400),
    ("/auth/login", {"username": "ann"}, 422),
    ("/auth/login", {**ANN, "password": ""}, 422),
    ("/auth/login", {**ANN, "password": "x" * 1025}, 422),
    ("/auth/login", {**ANN, "password": 12345678}, 422),
    ("/auth/login", {**ANN, "more": "x" * 20_000}, 413),
    ("/auth/refresh", {}, 422),
    ("/auth/logout", {"refresh_token": None}, 422),
]


async def test_body_that_does_not_do_is_told_so(tmp_path: Path, sqlite: dict[str, Any]) -> None:
    async with scene(tmp_path, sqlite) as made:
        for path, body, expected in BAD:
            status, _, answer = await made.post(path, body)
            assert (status, answer["status_code"]) == (expected, expected), body
            if status == 422:
                (flaw,) = answer["details"]
                assert (flaw["in"], flaw["path"][0]) == ("body", "/")
            if isinstance(body, bytes) and body:
                assert body.decode() not in json.dumps(answer)


async def test_attempts_at_an_account_are_limited_from_wherever_they_come(
    tmp_path: Path, sqlite: dict[str, Any]
) -> None:
    rates = {"login": {"per_account": "2/hour", "per_address": "1000/hour"}}
    async with scene(tmp_path, sqlite, auth=rates, trusted_proxies=["127.0.0.1"]) as made:
        for name, address, expected in (
            ("ann", "192.0.2.1", 401),
            ("ANN", "192.0.2.2", 401),
            ("ann", "192.0.2.3", 429),
            ("ben", "192.0.2.3", 401),
            ("ben", "192.0.2.3", 401),
            ("ben", "192.0.2.3", 429),  # whether there is such a user is not told here either
        ):
            body = {"username": name, "password": "wrong-one"}
            lines = (f"X-Forwarded-For: {address}",)
            status, head, _ = await made.post("/auth/login", body, *lines)
            assert status == expected, (name, address)
        assert int(field(head, b"retry-after") or 0) > 60


async def test_attempts_from_an_address_are_limited_whoever_is_tried(
    tmp_path: Path, sqlite: dict[str, Any]
) -> None:
    rates = {"login": {"per_account": "1000/hour", "per_address": "3/hour"}}
    async with scene(tmp_path, sqlite, auth=rates, trusted_proxies=["127.0.0.1"]) as made:

        async def attempt(address: str) -> int:
            body = {"username": f"user{address[-1]}", "password": "wrong-one"}
            return (await made.post("/auth/login", body, f"X-Forwarded-For: {address}"))[0]

        same_network = [f"2001:db8:1:1::{n}" for n in range(4)]
        assert [await attempt(each) for each in same_network] == [401, 401, 401, 429]
        assert await attempt("2001:db8:1:2::1") == 401
        # Refreshing is limited by itself.
        lines = f"X-Forwarded-For: {same_network[0]}"
        found = [
            (await made.post("/auth/refresh", {"refresh_token": "x"}, lines))[0] for _ in range(4)
        ]
        assert found == [401, 401, 401, 429]


async def test_users_who_exist_and_who_do_not_take_the_same_time(
    tmp_path: Path, sqlite: dict[str, Any]
) -> None:
    async with scene(tmp_path, sqlite, REAL) as made:

        async def seconds(name: str) -> float:
            began = time.perf_counter()
            await made.post("/auth/login", {"username": name, "password": "wrong-one"})
            return time.perf_counter() - began

        await seconds("ann")
        both = [(await seconds("ann"), await seconds("nobody")) for _ in range(8)]
        known, unknown = (min(each) for each in zip(*both, strict=True))
        assert min(known, unknown) > 0.03  # a hash was made in either case
        assert 0.6 < known / unknown < 1.7


async def test_more_logins_than_can_wait_are_told_to_come_again_and_others_are_served(
    tmp_path: Path, sqlite: dict[str, Any]
) -> None:
    rates = {"login": {**RATES, "at_once": 1}}
    async with scene(tmp_path, sqlite, SLOW, auth=rates) as made:
        many = asyncio.gather(*(made.post("/auth/login", ANN) for _ in range(20)))
        assert (await made.program.get("/health/live"))[0] == 200
        found = await many
        statuses = sorted(status for status, _, _ in found)
        assert set(statuses) == {200, 503}
        assert statuses.count(200) >= 9
        refused = next(head for status, head, _ in found if status == 503)
        assert field(refused, b"retry-after") == b"1"


async def test_own_tokens_and_another_issuers_are_accepted_side_by_side(
    tmp_path: Path, sqlite: dict[str, Any]
) -> None:
    theirs = "the secret of another issuer, which is long"
    table = {"issuer": "them", "audience": "us", "algorithms": ["HS256"], "secret": theirs}
    auth = {"login": RATES, "jwt": table}
    async with scene(tmp_path, sqlite, auth=auth) as made:
        claims = {"sub": "ann", "aud": "us", "exp": int(time.time()) + 60}

        def minted(issuer: str, secret: str) -> str:
            whole = {**claims, "iss": issuer}
            return compact({"alg": "HS256"}, whole, hmac_with(secret.encode())).decode()

        assert await made.ask((await made.login())["access_token"]) == 200
        assert await made.ask(minted("them", theirs)) == 200
        assert await made.ask(minted("gateway", theirs)) == 401
        assert await made.ask(minted("them", SECRET)) == 401


async def test_without_login_in_the_settings_its_paths_are_nobodys(tmp_path: Path) -> None:
    async with answering() as upstream, running(tmp_path, routes=[route(upstream)]) as program:
        for path in ("/auth/login", "/auth/refresh", "/auth/logout"):
            client = await program.send(request("POST", path, body=b"{}"))
            head, _ = await client.answer()
            assert head.startswith(b"HTTP/1.1 404 ")


async def test_login_is_turned_on_and_off_by_a_reload(
    tmp_path: Path, sqlite: dict[str, Any]
) -> None:
    async with scene(tmp_path, sqlite) as made:
        tokens = await made.login()
        await made.program.reload(stores=sqlite, routes=[])
        assert (await made.post("/auth/login", ANN))[0] == 404
        async with answering() as upstream:
            await made.program.reload(**settings(upstream, sqlite))
            assert await made.ask(tokens["access_token"]) == 200
            await made.login()


async def test_database_that_is_lost_is_503_and_its_return_is_found(
    tmp_path: Path, postgres_server: Server
) -> None:
    connection = await asyncpg.connect(postgres_server.url)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await connection.close()
    async with scene(tmp_path, {"postgres": postgres_server.url}) as made:
        tokens = await made.login()
        with postgres_server.down():
            assert (await made.post("/auth/login", ANN))[0] == 503
            assert (await made.refresh(tokens["refresh_token"]))[0] == 503
            assert await made.ask(tokens["access_token"]) == 200  # nobody need be asked
        async with asyncio.timeout(20):
            while (await made.refresh(tokens["refresh_token"]))[0] == 503:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await made.login()


async def test_answer_of_login_is_not_for_the_wrong_method(
    tmp_path: Path, sqlite: dict[str, Any]
) -> None:
    async with scene(tmp_path, sqlite) as made:
        status, head, _ = await made.program.get("/auth/login")
        assert status == 405
        assert (b"allow", b"POST") in fields(head)


async def test_attempts_are_counted_together_by_gateways_that_share_a_redis(
    tmp_path: Path, sqlite: dict[str, Any], redis_url: str
) -> None:
    stores = {**sqlite, "redis": redis_url}
    rates = {"login": {"per_account": "2/hour", "per_address": "1000/hour"}}
    body = {"username": uuid4().hex, "password": "wrong-one"}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with (
        scene(tmp_path / "one", stores, auth=rates) as one,
        answering() as upstream,
        running(tmp_path / "two", **settings(upstream, stores, auth=rates)) as other,
    ):
        two = Scene(other, one.users)
        found = [(await made.post("/auth/login", body))[0] for made in (one, two, one, two)]
        assert found == [401, 401, 429, 429]
