"""What the time of an answer could tell, shown by what is done and how often: never by a clock."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import pytest
from argon2 import PasswordHasher

from gateway import apikeys
from gateway.policies import token as token_policy
from gateway.stores.users import User
from tests.identity.minting import AUDIENCE, ISSUER, compact, hmac_with
from tests.security.fortress import (
    PASSWORD,
    SHARED,
    STATIC,
    Fortress,
    bearer,
    fortress,
    key_line,
)

OTHERS = ("another-token-of-the-tests", "x" * 16, STATIC[:-1] + "T", STATIC + STATIC)
TOKENS = ",".join((OTHERS[0], STATIC, *OTHERS[1:]))


@contextmanager
def recorded(
    patch: pytest.MonkeyPatch, owner: object, name: str
) -> Iterator[list[tuple[Any, ...]]]:
    """The arguments of every call of a function, which goes on doing what it does."""
    calls: list[tuple[Any, ...]] = []
    real: Callable[..., Any] = getattr(owner, name)

    def record(*arguments: Any) -> Any:
        calls.append(arguments)
        return real(*arguments)

    with patch.context() as inside:
        inside.setattr(owner, name, record)
        yield calls


async def test_token_is_compared_as_a_digest_with_every_one_that_there_is(
    embedded: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much of it is right, and whichever of them it is: the same work."""
    right = TOKENS.split(",")
    wrong = ["a", STATIC[:1], STATIC[:-1], STATIC + "x", STATIC.upper(), "z" * 5000, TOKENS]
    known = {sha256(each.encode()).digest() for each in right}
    route = {"prefix": "/closed", "target_url": "http://127.0.0.1:9", "auth": "token"}
    async with fortress(embedded, auth={"token": TOKENS}, routes=[route]) as made:
        with recorded(monkeypatch, token_policy, "compare_digest") as calls:
            for guess in (*right, *wrong):
                calls.clear()
                status = await made.status(bearer(guess), path=b"/closed/x")
                assert status == (503 if guess in right else 401)
                digest = sha256(guess.encode()).digest()
                assert {given for given, _ in calls} == {digest}
                assert [stored for _, stored in calls] == [
                    sha256(each.encode()).digest() for each in right
                ]
    assert len(known) == len(right) == 5
    assert token_policy.compare_digest is hmac.compare_digest


async def test_key_is_looked_for_by_its_digest_alone(
    either: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two keys that begin alike have digests that do not: a look-up's time tells nothing."""
    async with fortress(either) as made:
        key = await made.key()
        near = key[:35] + ("A" if key[35] != "A" else "B")
        guess = near + apikeys.checksum(near.encode())
        broken = key[:-1] + ("A" if key[-1] != "A" else "B")
        await made.status(key_line(await made.key()), path=b"/plain/x")
        await made.known_keys.refresh()  # from here on, what is found is remembered
        with statements(made, monkeypatch) as told:
            assert await made.status(key_line(key), path=b"/plain/x") == 200
            assert await made.status(key_line(guess), path=b"/plain/x") == 401
            looked_for = [value for value in told if isinstance(value, str)]
            digests = {sha256(each.encode()).hexdigest() for each in (key, guess)}
            assert set(looked_for) == digests
            told.clear()
            # What is remembered, or cannot be a key, is not asked about again.
            for each in (key, guess, broken, key[:20], ""):
                await made.status(key_line(each), path=b"/plain/x")
            assert not [value for value in told if isinstance(value, str)]


@contextmanager
def statements(made: Fortress, patch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Every value that reaches the database."""
    database = made.stage.gateway._edge.database()
    told: list[Any] = []
    real = database.fetch

    async def fetch(sql: str, *values: Any) -> Any:
        told.extend(values)
        return await real(sql, *values)

    with patch.context() as inside:
        inside.setattr(database, "fetch", fetch)
        yield told


async def test_signature_is_compared_in_constant_time(
    embedded: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": 4_000_000_000}
    good = compact({"alg": "HS256"}, claims, hmac_with(SHARED.encode()))
    message, _, _ = good.rpartition(b".")
    signature = hmac_with(SHARED.encode())(message)
    async with fortress(embedded) as made:
        wrong = [signature[:n] + bytes(32 - n) for n in (0, 1, 16, 31)] + [b"", signature[:16]]
        for number, given in enumerate((*wrong, signature)):
            forged = compact({"alg": "HS256"}, claims, lambda _, given=given: given)  # type: ignore[misc]
            with recorded(monkeypatch, hmac, "compare_digest") as calls:
                status = await made.status(bearer(forged), path=b"/plain/x")
            assert status == (200 if number == len(wrong) else 401)
            compared = [call for call in calls if signature in call]
            assert bool(compared) == bool(given)  # without a signature it is no token at all


async def test_each_attempt_to_sign_in_costs_one_hash(
    embedded: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same cost: of a user who is there, who is not, who was, and who cannot be."""
    stored = PasswordHasher().hash(PASSWORD)
    async with fortress(embedded) as made:
        await made.users.add(User("ben", stored))
        await made.users.add(User("eve", stored, disabled_at=1))
        with recorded(monkeypatch, PasswordHasher, "verify") as calls:
            for name, password, expected in (
                ("ben", PASSWORD, 200),
                ("ben", "wrong", 401),
                ("BEN", "x" * 1024, 401),
                ("nobody", PASSWORD, 401),
                ("eve", PASSWORD, 401),
                ("eve", "wrong", 401),
                ("no such name!", PASSWORD, 401),
                ("x" * 1024, "wrong", 401),
            ):
                calls.clear()
                given = {"username": name, "password": password}
                status, _, body = await made.post("/auth/login", given)
                assert status == expected
                (call,) = calls
                assert cost(call[1]) == cost(stored)
                if expected == 401:
                    assert body["message"] == "the name or the password is wrong"
                    assert "details" not in body
        # Those who are told to come again later cost none.
        rates = {"login": {"per_account": "1/hour", "per_address": "1000/hour"}}
    async with fortress(embedded, auth=rates, routes=[]) as made:
        with recorded(monkeypatch, PasswordHasher, "verify") as calls:
            for _ in range(3):
                await made.post("/auth/login", {"username": "ben", "password": "wrong"})
            assert len(calls) == 1


def cost(hashed: str) -> str:
    """What a hash says of its making: kind, memory, rounds, lanes, and the lengths of the rest."""
    found = re.fullmatch(r"(\$argon2id\$v=19\$m=\d+,t=\d+,p=\d+)\$([^$]+)\$([^$]+)", hashed)
    assert found is not None
    return f"{found[1]} {len(found[2])} {len(found[3])}"


async def test_refresh_token_is_looked_for_by_its_digest_alone(either: dict[str, str]) -> None:
    async with fortress(either) as made:
        _, _, tokens = await made.post("/auth/login", {"username": "ann", "password": PASSWORD})
        token = tokens["refresh_token"]
        database = made.stage.gateway._edge.database()
        for table in ("gateway_refresh_tokens", "gateway_sessions", "gateway_users"):
            for row in await database.fetch(f"SELECT * FROM {table}"):
                assert token not in repr(dict(row))
                assert PASSWORD not in repr(dict(row))
        rows = await database.fetch("SELECT hash FROM gateway_refresh_tokens")
        assert [row["hash"] for row in rows] == [sha256(token.encode()).hexdigest()]
