"""Of all that the gateway is told in confidence, nothing is logged; each request has its line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from gateway import apikeys
from gateway.commands import keys as key_commands
from gateway.config import Settings
from gateway.stores.users import User, Users
from tests.databases import opened
from tests.e2e.caching import asking, received
from tests.e2e.life import Program, running
from tests.e2e.tunnels import HANDSHAKE
from tests.identity.keys_server import keys_server
from tests.security.fortress import (
    HASH,
    KEY_SET,
    PASSWORD,
    SECRET_KEY,
    SHARED,
    STATIC,
    Origin,
    answer,
    bearer,
    key_line,
    minted,
    settings,
)


async def test_log_has_a_line_for_each_request_and_no_secret(
    either: dict[str, str], tmp_path: Path
) -> None:
    """Everything is used, well and badly, and then all that was logged is searched."""
    database = opened(either)
    await Users(database).add(User("ann", HASH, ("read",), "pro", 1))
    await database.close()
    origin = Origin()
    await origin.start()
    origin.says(answer(b"Set-Cookie: session=cookie-of-the-origin"))
    folder = tmp_path / "program"
    folder.mkdir()
    try:
        async with keys_server(KEY_SET) as server:
            table = settings(origin.url, server, either)
            async with running(folder, log_level="DEBUG", **table) as program:
                _, admin = await asyncio.to_thread(
                    key_commands.create,
                    Settings.model_validate({"stores": either}),
                    "ann",
                    "pro",
                    ["admin"],
                    None,
                )
                secrets, count = await use(program, admin)
                program.process.terminate()
                assert await program.ended() == 0
    finally:
        await origin.stop()
    secrets |= {admin, STATIC, SHARED, SECRET_KEY, PASSWORD, HASH, "cookie-of-the-origin"}
    log = b"".join(program.lines)
    for secret in secrets:
        assert len(secret) > 7
        assert secret.encode("utf-8", "surrogatepass") not in log, secret
        assert json.dumps(secret)[1:-1].encode() not in log, secret
    assert len(program.found("request")) == count
    for line in program.lines:
        assert line.endswith(b"}\n")
        assert all(byte >= 32 for byte in line[:-1])
        assert isinstance(json.loads(line), dict)
    assert not program.found("forged")
    assert not program.found("internal_error")
    for event in ("auth_failed", "login", "login_failed", "key_created", "key_revoked"):
        assert program.found(event), event


async def use(program: Program, admin: str) -> tuple[set[str], int]:
    """Ask for all sorts of things; gives the secrets that were in it, and how many requests."""
    count = 0
    secrets: set[str] = set()

    async def ask(*lines: bytes, **how: Any) -> tuple[int, Any]:
        nonlocal count
        count += 1
        client = await program.client()
        await client.send(asking(*lines, **how))
        status, _, body = await received(client, how.get("method", b"GET"))
        await client.close()
        return status, json.loads(body) if body[:1] == b"{" else body

    async def post(path: bytes, table: object, *lines: bytes) -> tuple[int, Any]:
        return await ask(*lines, path=path, method=b"POST", body=json.dumps(table).encode())

    def secret(text: str) -> str:
        secrets.add(text)
        secrets.update(part for part in text.split(".") if len(part) > 40)
        return text

    line = key_line(admin)
    _, made = await post(b"/api/gateway/keys", {"owner": "ben", "tier": "free"}, line)
    _, rotated = await post(b"/api/gateway/keys/rotate", {"id": made["id"]}, line)
    for each in (made, rotated):
        assert (await ask(key_line(secret(each["key"])), path=b"/plain/x"))[0] == 200
        await post(b"/api/gateway/keys/revoke", {"id": each["id"]}, line)
        await post(b"/api/gateway/keys/revoke", {"id": secret("no-such-key " + each["key"])}, line)
    status, tokens = await post(b"/auth/login", {"username": "ann", "password": PASSWORD})
    assert status == 200
    for name in ("access_token", "refresh_token"):
        await ask(bearer(secret(tokens[name])), path=b"/plain/x")
    _, more = await post(b"/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    for token in (secret(more["refresh_token"]), tokens["refresh_token"], secret("gwr_guess-1")):
        await post(b"/auth/refresh", {"refresh_token": token})
        await post(b"/auth/logout", {"refresh_token": token})
    swapped = {"username": secret("typed-the-password-here"), "password": "ann"}
    await post(b"/auth/login", swapped)
    await post(b"/auth/login", {"username": "ann", "password": secret("wrong-password-1")})
    torn = b'{"password": "' + secret("torn-password").encode()
    await ask(path=b"/auth/login", method=b"POST", body=torn)
    good, bad = secret(minted()), secret(minted(exp=1))
    unknown = secret(apikeys.make(lambda letters: letters[7]))
    for value in (good, bad, bad[:-9] + "AAAAAAAAA", secret("guess-of-a-token-1")):
        await ask(bearer(value), path=b"/plain/x")
        await ask(path=b"/plain/x?token=" + value.encode() + b"&api_key=" + unknown.encode())
        upgrade = (*HANDSHAKE.split(b"\r\n")[:-1], b"Connection: Upgrade", b"Upgrade: websocket")
        await ask(*upgrade, path=b"/api/y?token=" + value.encode())
    await ask(key_line(unknown), path=b"/plain/x")
    await ask(key_line(unknown[:-1] + "x"), path=b"/plain/x")
    await ask(b"Authorization: Basic " + secret("dXNlcjpwYXNzd29yZA==").encode(), path=b"/open/x")
    await ask(b"Cookie: session=" + secret("cookie-of-a-client").encode(), path=b"/open/x")
    note = secret("note-of-an-order")
    order = {"item": "tea", "quantity": note, "note": note}
    kind = b"Content-Type: application/json"
    assert (await post(b"/api/orders", order, kind, bearer(good)))[0] == 422
    forged = b'","event":"forged"}%0a{"event":"forged'
    await ask(path=b"/open/" + forged.replace(b'"', b"%22"))
    await ask(path=b"/nowhere/" + forged)
    await ask(b'X-Request-ID: a","event":"forged', path=b"/open/x")
    await ask(b'traceparent: 00-","event":"forged"', path=b"/open/x")
    await ask(b'X-A: \n{"event":"forged"}', path=b"/open/x")
    password = secret("password-in-a-target").encode()
    await ask(path=b"http://user:" + password + b"@gateway.test/open/x")
    await ask(path=b"/x y http://user:" + password + b"@z")
    return secrets, count
