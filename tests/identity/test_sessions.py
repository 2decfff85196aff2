from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest
from argon2 import PasswordHasher

from gateway.identity import jose
from gateway.identity.disabled import Disabled
from gateway.identity.passwords import Passwords
from gateway.identity.sessions import SWEEP, Sessions, Wrong
from gateway.identity.verify import FixedKeys, Issuer, Refused, Verifier
from gateway.stores import Database
from gateway.stores.users import User, Users
from tests.identity.minting import NOW, SECRET

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Scene:
    """Sessions in a database, with a clock and a generator of the test's own."""

    def __init__(self, database: Database) -> None:
        self.now = NOW
        self.database = database
        self.users = Users(database)
        self.passwords = Passwords(1, CHEAP)
        numbers = count()
        key = jose.shared(SECRET)
        self.sessions = Sessions(
            self.users,
            self.passwords,
            key,
            access=900,
            refresh=3600,
            clock=lambda: self.now,
            draw=lambda size: f"{next(numbers):0{(size * 4 + 2) // 3}d}",
        )
        self.disabled = Disabled(
            self.users, lifetime=900, clock=lambda: self.now, changed=lambda: self.told.append(1)
        )
        self.told: list[int] = []
        ours = frozenset({"gateway"})
        self.verifier = Verifier(
            [Issuer("gateway", ("HS256",), FixedKeys((key,)), ours, barred=self.disabled)]
        )

    async def refused(self, awaited: Any) -> str:
        with pytest.raises(Wrong) as caught:
            await awaited
        return caught.value.reason


@pytest.fixture
async def scene(database: Database) -> AsyncIterator[Scene]:
    made = Scene(database)
    await made.users.add(
        User("ann@example.com", CHEAP.hash("sesame"), ("read", "write"), "pro", int(NOW * 1000))
    )
    yield made
    made.passwords.close()


async def test_login_gives_a_token_that_is_accepted_for_its_time(scene: Scene) -> None:
    tokens = await scene.sessions.login("Ann@Example.com", "sesame")
    assert tokens.expires_in == 900
    verified = scene.verifier.verify(tokens.access.encode(), NOW)
    who = verified.principal
    assert (who.id, who.tier, who.scopes) == ("ann@example.com", "pro", {"read", "write"})
    assert verified.until == NOW + 900
    payload = tokens.access.split(".")[1]
    claims = json.loads(urlsafe_b64decode(payload + "=="))
    assert set(claims) == {"iss", "aud", "sub", "iat", "exp", "jti", "scope", "tier"}


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ann@example.com", "Sesame"),
        ("ann@example.com", ""),
        ("ben", "sesame"),
        ("", "sesame"),
        ("ann@example.com\0", "sesame"),
        ("' OR '1'='1", "sesame"),
        ("a" * 1000, "sesame"),
    ],
)
async def test_wrong_name_and_wrong_password_are_the_same(
    scene: Scene, name: str, password: str
) -> None:
    assert await scene.refused(scene.sessions.login(name, password)) == "credentials"


async def test_disabled_user_is_the_same_too(scene: Scene) -> None:
    await scene.users.disable("ann@example.com", int(NOW * 1000))
    assert await scene.refused(scene.sessions.login("ann@example.com", "sesame")) == "credentials"


async def test_refresh_token_gives_new_tokens_once(scene: Scene) -> None:
    first = await scene.sessions.login("ann@example.com", "sesame")
    second = await scene.sessions.refresh(first.refresh)
    assert second.refresh != first.refresh
    scene.verifier.verify(second.access.encode(), NOW)
    third = await scene.sessions.refresh(second.refresh)
    assert await scene.refused(scene.sessions.refresh(second.refresh)) == "refresh"
    assert await scene.refused(scene.sessions.refresh(third.refresh)) == "refresh"


async def test_scopes_and_tier_are_those_of_now_in_a_refreshed_token(scene: Scene) -> None:
    first = await scene.sessions.login("ann@example.com", "sesame")
    await scene.database.execute("UPDATE gateway_users SET scopes = $1, tier = $2", "read", "free")
    second = await scene.sessions.refresh(first.refresh)
    who = scene.verifier.verify(second.access.encode(), NOW).principal
    assert (who.scopes, who.tier) == ({"read"}, "free")


async def test_refresh_token_lasts_from_its_own_beginning(scene: Scene) -> None:
    first = await scene.sessions.login("ann@example.com", "sesame")
    scene.now += 3599
    second = await scene.sessions.refresh(first.refresh)
    scene.now += 3600
    assert await scene.refused(scene.sessions.refresh(second.refresh)) == "refresh"


@pytest.mark.parametrize("token", ["", "gwr_", "x", "gwr_" + "a" * 43, "gwr_" + "é" * 43, "a\0b"])
async def test_token_that_was_never_given_is_refused(scene: Scene, token: str) -> None:
    assert await scene.refused(scene.sessions.refresh(token)) == "refresh"
    await scene.sessions.logout(token)


async def test_logout_ends_the_session(scene: Scene) -> None:
    tokens = await scene.sessions.login("ann@example.com", "sesame")
    await scene.sessions.logout(tokens.refresh)
    assert await scene.refused(scene.sessions.refresh(tokens.refresh)) == "refresh"


async def test_neither_tokens_nor_passwords_are_kept(scene: Scene) -> None:
    tokens = await scene.sessions.login("ann@example.com", "sesame")
    await scene.sessions.refresh(tokens.refresh)
    kept = ""
    for table in ("gateway_users", "gateway_sessions", "gateway_refresh_tokens"):
        kept += str([dict(row) for row in await scene.database.fetch(f"SELECT * FROM {table}")])
    assert tokens.refresh not in kept
    assert tokens.refresh.removeprefix("gwr_") not in kept
    assert "sesame" not in kept


async def test_what_has_expired_is_swept_out_by_the_hour(scene: Scene) -> None:
    async def sessions() -> int:
        return len(await scene.database.fetch("SELECT id FROM gateway_sessions"))

    await scene.sessions.login("ann@example.com", "sesame")
    scene.now += SWEEP - 1
    await scene.sessions.login("ann@example.com", "sesame")
    assert await sessions() == 2
    scene.now += 2
    await scene.sessions.login("ann@example.com", "sesame")
    assert await sessions() == 2


async def test_access_token_of_a_user_who_was_disabled_is_refused_when_that_is_seen(
    scene: Scene,
) -> None:
    tokens = await scene.sessions.login("ann@example.com", "sesame")
    await scene.disabled.look()
    assert scene.told == []
    await scene.users.disable("ann@example.com", int(NOW * 1000))
    for _ in range(2):
        await scene.disabled.look()
    assert scene.told == [1]
    with pytest.raises(Refused, match="disabled"):
        scene.verifier.verify(tokens.access.encode(), NOW)
    # By then the token has expired: the name need not be kept.
    scene.now += 961
    await scene.disabled.look()
    assert "ann@example.com" not in scene.disabled
