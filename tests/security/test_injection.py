"""What clients write into statements, keys and heads: it stays what it is, a value."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from gateway.commands import keys as key_commands
from gateway.commands import users as user_commands
from gateway.config import Settings
from gateway.stores.users import User, Users
from tests.databases import opened
from tests.e2e.life import ROOT
from tests.e2e.stage import field, fields
from tests.identity.minting import compact, hmac_with
from tests.security.fortress import (
    HASH,
    PASSWORD,
    PUBLIC,
    SECRET_KEY,
    Fortress,
    bearer,
    fortress,
    key_line,
    minted,
)

SQL = (
    "' OR '1'='1", "' OR 1=1 --", "'; DROP TABLE gateway_users; --", '" OR ""="', "ann'--",
    "') OR ('a'='a", "'; DELETE FROM gateway_api_keys WHERE 'a'='a", "ann' UNION SELECT 1,2 --",
    "\\'; SELECT pg_sleep(9); --", "$1", "$$x$$", "%s", "{0}", "%(name)s", ":name", "?", "/**/",
    "ann; ATTACH DATABASE 'x' AS y", "x' || (SELECT password FROM gateway_users) || '",
)  # fmt: skip
REDIS = (
    "\r\nFLUSHALL\r\n", "*1\r\n$8\r\nFLUSHALL\r\n", "\nDEL gateway:limit:x", "*", "?", "[a-z]*",
    "gateway:cache-voided", "x\x00y", "redis.call('FLUSHALL')", '") redis.call("FLUSHALL") --',
)  # fmt: skip
ODD = (
    "\x00", "ann\x00", "a\x01b", "\x7f", "\x1b[31m", "a\tb", "\u2028", "\u202eann", "\ufeffann",
    "\u0130", "ann\u0301", "\U0001f511", "a" * 1024, "\ud7ff", "\ufffe", "%00", "%0d%0a", "${x:y}",
    "../../etc/passwd", "<script>", "NaN", "null", "undefined", " ", "ann ", " ann",
)  # fmt: skip
PAYLOADS = (*SQL, *REDIS, *ODD)


async def rows(made: Fortress) -> dict[str, list[str]]:
    """Everything in the database but times and numbers of changes."""
    database = made.stage.gateway._edge.database()
    found = {}
    for table in (
        "gateway_users",
        "gateway_sessions",
        "gateway_refresh_tokens",
        "gateway_api_keys",
    ):
        changing = ("last_used_at", "revision")
        found[table] = sorted(
            repr({name: value for name, value in dict(row).items() if name not in changing})
            for row in await database.fetch(f"SELECT * FROM {table}")
        )
    return found


async def test_what_is_said_to_sign_in_is_a_value(either: dict[str, str]) -> None:
    async with fortress(either) as made:
        await made.post("/auth/login", {"username": "ann", "password": PASSWORD})
        await made.key()
        before = await rows(made)
        passwords = made.identities._passwords
        assert passwords is not None
        passwords._nobody = HASH  # 5 ms in the place of 50
        passwords._most = 10_000
        asked = []
        for payload in PAYLOADS:
            asked += [
                made.post("/auth/login", {"username": name, "password": password})
                for name, password in (
                    (payload, PASSWORD),
                    ("ann", payload),
                    (payload, payload),
                    ("ann" + payload, PASSWORD),
                )
            ]
            asked += [
                made.post(path, {"refresh_token": token})
                for path in ("/auth/refresh", "/auth/logout")
                for token in (payload, "gwr_" + payload, "gwr_" + "a" * 43 + payload)
            ]
        found = [status for status, _, _ in await asyncio.gather(*asked)]
        assert set(found) <= {401, 204, 422}
        assert await rows(made) == before


def bodies() -> Iterator[bytes]:
    """What is no object with two texts, whatever a parser may make of it."""
    yield from (b"", b"{", b"[]", b'"x"', b"1", b"null", b'{"username":"ann","username":1}')
    yield b'{"username":"ann","password":{"$ne":null}}'
    yield b'{"username":["ann"],"password":["x"]}'
    yield b'{"username":true,"password":true}'
    yield b'{"username":"\\ud800","password":"x"}'
    yield b'{"username":"\xff\xfe","password":"x"}'
    yield b'{"username":"ann","password":"\\u0000"}' * 2
    yield b"[" * 10_000
    yield b'{"a":' * 2000 + b"1" + b"}" * 2000
    yield b"username=ann&password=x"


async def test_what_is_no_object_is_told_so(embedded: dict[str, str]) -> None:
    async with fortress(embedded) as made:
        admin = key_line(await made.key("pro", "admin"))
        paths = ("/auth/login", "/auth/refresh", "/auth/logout", "/api/gateway/keys",
                 "/api/gateway/keys/rotate", "/api/gateway/keys/revoke",
                 "/api/gateway/cache/purge")  # fmt: skip
        for path in paths:
            for body in bodies():
                status, _, told = await made.post(path, body, admin)
                assert status in (400, 422), (path, body[:40])
                assert told["status_code"] == status


async def test_what_administrators_say_of_keys_is_a_value(either: dict[str, str]) -> None:
    async with fortress(either) as made:
        admin = key_line(await made.key("pro", "admin"))
        base = "/api/gateway/keys"
        owners = []
        for payload in PAYLOADS:
            for body in (
                {"owner": payload, "tier": "pro"},
                {"owner": "ann", "tier": payload},
                {"owner": "ann", "tier": "pro", "scopes": [payload]},
                {"owner": "ann", "tier": "pro", "expires": payload},
            ):
                status, _, told = await made.post(base, body, admin)
                assert status in (201, 422), body
                if status == 201:
                    assert (told["owner"], told["tier"]) == (body["owner"], "pro")
                    assert told["scopes"] == body.get("scopes", [])
                    owners.append(told["owner"])
            before = await rows(made)
            for name in ("rotate", "revoke"):
                status, _, _ = await made.post(f"{base}/{name}", {"id": payload}, admin)
                assert status in (404, 422), payload
            assert await rows(made) == before
        _, _, listed = await made.get(admin, path=base.encode())
        kept = [each["owner"] for each in json.loads(listed)["keys"]]
        assert sorted(kept) == sorted(["ann", *owners])
        for payload in PAYLOADS:
            for kind in ("key", "path", "prefix"):
                for text in (payload, "/" + payload, "http://a/" + payload):
                    body = {kind: text, "host": payload}
                    status, _, _ = await made.post("/api/gateway/cache/purge", body, admin)
                    assert status in (200, 422)


async def test_glob_of_a_purge_is_a_value(either: dict[str, str]) -> None:
    async with fortress(either) as made:
        made.origin.says(PUBLIC)
        admin = key_line(await made.key("pro", "admin"))
        for path in (b"/open/a", b"/open/b", b"/open/*"):
            await made.get(path=path)
        for text in ("/open/?", "/open/[ab]", "/*", "/open/%2a", "/open/\\*"):
            for kind in ("path", "prefix"):
                _, _, told = await made.post("/api/gateway/cache/purge", {kind: text}, admin)
                assert told == {"purged": 0}, text
        _, _, told = await made.post("/api/gateway/cache/purge", {"path": "/open/*"}, admin)
        assert told == {"purged": 1}


async def test_commands_take_what_they_are_told_for_values(
    either: dict[str, str], tmp_path: Path
) -> None:
    made = Settings.model_validate({"stores": either, "secret_key": SECRET_KEY})
    database = opened(either)
    users = Users(database)
    await users.add(User("ann", HASH))
    for payload in PAYLOADS:
        for command in (
            partial(key_commands.create, made, payload, "pro", [payload], None),
            partial(key_commands.create, made, payload, "pro", [], None),
            partial(key_commands.rotate, made, payload, "1h", None),
            partial(key_commands.revoke, made, payload),
            partial(user_commands.disable, made, payload),
        ):
            with suppress(ValueError):
                await asyncio.to_thread(command)
    names = [user.name for user in await users.all()]
    assert names == ["ann"]
    assert (await users.all())[0].disabled_at is None
    listed = await asyncio.to_thread(key_commands.listed, made)
    assert {row[1] for row in listed[1:]} <= set(PAYLOADS)
    assert all(row[4] == "active" for row in listed[1:])
    assert all("\n" not in cell and "\x1b" not in cell for row in listed for cell in row)
    await database.close()


def test_argument_that_is_no_text_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("stores: {sqlite: keys.db}")
    kept = {k: v for k, v in os.environ.items() if k.startswith(("COV", "PATH", "PYTHON"))}
    for arguments in ((b"keys", b"revoke", b"\xff\xfe"), (b"keys", b"rotate", b"\xed\xa0\x80")):
        done = subprocess.run(
            [sys.executable, b"-m", b"gateway", *arguments],
            cwd=tmp_path,
            env=kept | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.returncode not in (0, -11)
        assert b"Traceback" not in done.stderr


async def test_tokens_say_nothing_but_values(either: dict[str, str]) -> None:
    """Subjects, tiers, scopes and key names: into limits, logs, headers and caches."""
    async with fortress(either) as made:
        await made.key()
        await made.post("/auth/login", {"username": "ann", "password": PASSWORD})
        before = await rows(made)
        for payload in PAYLOADS:
            claims = {"sub": payload[:256], "tier": payload, "scope": payload, "email": payload}
            assert await made.status(bearer(minted(**claims))) in (200, 401)
            for sent in made.went_up():
                names = [name for name, _ in fields(sent)]
                assert names.count(b"x-user-id") <= 1
                assert names.count(b"x-user-email") <= 1
                assert field(sent, b"x-user-id") in (None, payload[:256].encode())
                assert field(sent, b"x-user-email") in (None, payload.encode())
            whole = {"iss": "x", "sub": payload}
            forged = compact({"alg": "HS256", "kid": payload}, whole, hmac_with(b"x"))
            assert await made.status(bearer(forged)) == 401
        assert await rows(made) == before
        await names_in_redis(either)


async def names_in_redis(stores: dict[str, str]) -> None:
    """They are all ours, and none holds what a client wrote but for the cache's, which are URLs."""
    if "redis" not in stores:
        return
    server = Redis.from_url(stores["redis"])
    for name in await server.keys("*"):
        kind, _, rest = name.removeprefix(b"gateway:").partition(b":")
        assert kind in (b"limit", b"cache", b"cache-count", b"cache-voided"), name
        if kind == b"limit":
            assert len(bytes.fromhex(rest.decode())) == 16
        if kind == b"cache":
            assert rest.startswith((b"http://gateway.test/", b"http://a"))
    await server.aclose()


async def test_requests_say_nothing_but_values(either: dict[str, str]) -> None:
    """Paths, queries, names of requests, addresses and keys, as bytes on the wire."""
    async with fortress(either, trusted_proxies=["127.0.0.0/8"]) as made:
        made.origin.says(PUBLIC)
        await made.key()
        await made.users.all()
        before = await rows(made)
        for payload in PAYLOADS:
            data = payload.encode()[:900]
            quoted = b"".join(
                bytes((b,)) if 33 <= b < 127 and b not in b"#\\" else b"%%%02X" % b for b in data
            )
            for path in (b"/open/" + quoted, b"/open/x?" + quoted, b"/" + quoted):
                status, head, _ = await made.get(path=path)
                assert status in (200, 400, 404), path
            line = data.replace(b"\0", b"").replace(b"\r", b"").replace(b"\n", b"")
            line = bytes(b for b in line if b >= 32 and b != 127)
            for name in (b"X-Request-ID", b"X-API-Key", b"X-Forwarded-For", b"X-Forwarded-Host",
                         b"X-Forwarded-Proto", b"traceparent", b"Accept-Encoding", b"Origin",
                         b"If-None-Match", b"Cache-Control", b"Range"):  # fmt: skip
                status, head, _ = await made.get(name + b": " + line, path=b"/few/x")
                assert status in (200, 206, 304, 412, 416, 429), (name, line)
                told = field(head, b"x-request-id") or b""
                assert told.replace(b"-", b"").replace(b"_", b"").replace(b".", b"").isalnum()
        assert await rows(made) == before
        await names_in_redis(either)


CONTROLS = [bytes((number,)) for number in (*range(9), *range(10, 32), 127)]


async def test_control_characters_are_in_no_head(embedded: dict[str, str]) -> None:
    async with fortress(embedded) as made:
        for control in CONTROLS:
            for line in (
                b"X-Request-ID: a" + control + b"b",
                b"Origin: https://app.test" + control,
                b"X-User-Id: " + control + b"root",
                b"X-A" + control + b": b",
                control + b"X-A: b",
                b"X-API-Key: a" + control,
            ):
                status, head, _ = await made.get(line, path=b"/open/x")
                # A line feed alone ends no line, and so neither does it begin another.
                assert status == 400, line
                assert b"root" not in head
            path = b"/open/x" + control + b"y"
            assert await made.status(path=path) == 400
        assert made.went_up() == []


async def test_nothing_that_a_client_writes_begins_a_line_of_an_answer(
    embedded: dict[str, str],
) -> None:
    """Paths and names in errors, links, allowed methods and headers."""
    changes = {
        "routes": [
            {
                "prefix": "/old",
                "target_url": "http://127.0.0.1:9",
                "deprecated": {"since": "2020-01-01", "sunset": "2021-01-01", "successor": "/new"},
            }
        ]
    }
    split = b"%0d%0aSet-Cookie:%20a=b", b"%E5%98%8A%E5%98%8DSet-Cookie:a", b"%250d%250aSet-Cookie:a"
    async with fortress(embedded, **changes) as made:
        for tail in split:
            for path in (b"/old/" + tail, b"/nowhere" + tail, b"/health?" + tail):
                for method in (b"GET", b"POST", b"OPTIONS", b"SET" + b"X" * 20):
                    status, head, _ = await made.get(path=path, method=method)
                    assert b"\r\nset-cookie" not in head.lower()
                    for name, value in fields(head):
                        assert tail not in value, name
                    if path.startswith(b"/old"):
                        assert status == 410
                        assert (b"link", b'</new>; rel="successor-version"') in fields(head)


async def test_claims_stay_what_they_are_or_are_left_out(embedded: dict[str, str]) -> None:
    values: list[Any] = [
        "a\r\nX-Admin: 1", "a\nb", "a\rb", "a\0b", "a\x85b", "a\u2028b", " a", "a ", "\t", "",
        {"a": "b\r\nX-Admin: 1"}, ["a", "b\r\nX-Admin: 1"], ["a,b"], [["a", "b"]], [""], [], {},
        None, 1, True, 1.5, "x" * 5000, "\u00e4", ["a", "b"], {"a": [1]}, "a\x7fb",
    ]  # fmt: skip
    allowed = {b"1", b"true", b"1.5", "\u00e4".encode(), b"a,b", b'{"a":[1]}', b"{}",
               b'{"a":"b\\r\\nX-Admin: 1"}'}  # fmt: skip
    async with fortress(embedded) as made:
        for value in values:
            line = bearer(minted(email=value))
            assert await made.status(line, b"X-User-Email: root@a", b"x_user_email: root@a") == 200
            (head,) = made.went_up()
            assert b"\r\nX-Admin" not in head
            assert b"root@a" not in head
            found = field(head, b"x-user-email")
            assert found is None or found in allowed, value
