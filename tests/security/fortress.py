"""A gateway with everything on together, in front of an origin that remembers what it was asked.

One route has it all: any credential, tiered limits, CORS, cache, validation, compression, claims.
Others have what an attacker would like them to: a cache that asks nobody who he is, a limit by
address, a closed endpoint that may be managed.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from argon2 import PasswordHasher

from gateway.identities import Identities
from gateway.keyring import Keyring
from gateway.policies.api_key import ApiKeys
from gateway.stores.users import User, Users
from tests.e2e.caching import Origin, answer, asking, received
from tests.e2e.life import ROOT
from tests.e2e.stage import Stage, stage
from tests.identity.keys_server import KeysServer, keys_server
from tests.identity.minting import AUDIENCE, ISSUER, jwk, jwks, token

DOCUMENT = str(ROOT / "deploy" / "examples" / "orders.yaml")
APP = "https://app.test"
STATIC = "a-static-token-of-the-tests"
SECRET_KEY = "the key that signs our own tokens, of the tests"
SHARED = "the secret that the issuer and we share, of the tests"
PASSWORD = "sesame-open-of-the-tests"
HASH = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
CLAIMS = {"sub": "X-User-Id", "email": "X-User-Email"}
KEY_SET = jwks(jwk("RS256", kid="1"), jwk("EdDSA", kid="2"), jwk("ES256", kid="3"))
KIDS = {"RS256": "1", "EdDSA": "2", "ES256": "3"}
LONG = b"Cache-Control: max-age=60"
PUBLIC = answer(b"Cache-Control: public, max-age=60")


def minted(algorithm: str = "EdDSA", **claims: object) -> str:
    """A token of the issuer's, good for ten minutes but for what is said."""
    return token(algorithm, KIDS[algorithm], **{"exp": time.time() + 600, **claims}).decode()


def bearer(value: str | bytes) -> bytes:
    return b"Authorization: Bearer " + (value if isinstance(value, bytes) else value.encode())


def key_line(value: str) -> bytes:
    return b"X-API-Key: " + value.encode()


def auth(server: KeysServer) -> dict[str, Any]:
    return {
        "token": STATIC,
        "jwt": {
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "algorithms": ["HS256", "RS256", "EdDSA", "ES256"],
            "secret": SHARED,
            "jwks_url": server.url,
        },
        "login": {"per_account": "1000/minute", "per_address": "1000/minute"},
    }


def routes(url: str) -> list[dict[str, Any]]:
    return [
        {
            "name": "all",
            "prefix": "/api",
            "target_url": url,
            "websocket": True,
            "auth": "any",
            "claims": CLAIMS,
            "rate_limit": {"by": "tier"},
            "validate": {"spec": DOCUMENT, "base": "/api", "unlisted": "pass"},
            "compress": {"min_size": 1},
            "cache": True,
        },
        {"name": "open", "prefix": "/open", "target_url": url, "cache": {"ttl": 60}},
        {"name": "plain", "prefix": "/plain", "target_url": url, "auth": "any"},
        {"name": "few", "prefix": "/few", "target_url": url, "rate_limit": "3/hour", "cache": True},
        {
            "name": "guess",
            "prefix": "/guess",
            "target_url": url,
            "auth": "any",
            "rate_limit": {"by": "key", "rate": "3/hour"},
            "cache": True,
        },
    ]


def settings(url: str, server: KeysServer, stores: Mapping[str, str]) -> dict[str, Any]:
    return {
        "secret_key": SECRET_KEY,
        "auth": auth(server),
        "stores": dict(stores),
        "cors": {"origins": [APP, "https://*.wild.test"], "credentials": True},
        "tiers": {"anonymous": "1000/hour"},
        "routes": routes(url),
    }


class Fortress:
    """The gateway, and those who manage it."""

    def __init__(self, scene: Stage, origin: Origin) -> None:
        self.stage = scene
        self.origin = origin
        edge = scene.gateway._edge
        self.ring: Keyring = edge.keyring()
        self.users = Users(edge.database())

    @property
    def known_keys(self) -> ApiKeys:
        """What the worker remembers of keys."""
        return self.stage.gateway._edge._known_keys()

    @property
    def identities(self) -> Identities:
        found = self.stage.gateway._edge.identities
        assert found is not None
        return found

    async def key(self, tier: str = "pro", *scopes: str, lifetime: float | None = None) -> str:
        return (await self.ring.create("ann", tier, scopes, lifetime))[1]

    async def ask(self, data: bytes, method: bytes = b"GET") -> tuple[int, bytes, bytes]:
        """Status, head and body of the answer to these bytes, on a connection of its own."""
        client = await self.stage.client()
        await client.send(data)
        found = await received(client, method)
        await client.close()
        return found

    async def get(
        self, *lines: bytes, path: bytes = b"/api/x", **how: Any
    ) -> tuple[int, bytes, bytes]:
        return await self.ask(asking(*lines, path=path, **how), how.get("method", b"GET"))

    async def status(self, *lines: bytes, **how: Any) -> int:
        return (await self.get(*lines, **how))[0]

    async def post(self, path: str, body: object, *lines: bytes) -> tuple[int, bytes, Any]:
        """Status, head and object of the answer to an object (or to bytes)."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, head, told = await self.get(*lines, path=path.encode(), method=b"POST", body=data)
        return status, head, json.loads(told) if told else None

    def went_up(self) -> list[bytes]:
        """The heads that reached the origin since this was asked last."""
        heads, self.origin.heads = self.origin.heads, []
        return heads


@asynccontextmanager
async def fortress(stores: Mapping[str, str], **changes: Any) -> AsyncIterator[Fortress]:
    """`changes` are settings; Ann is a user."""
    origin = Origin()
    await origin.start()
    origin.says(answer(b"Content-Type: text/plain"))
    try:
        async with keys_server(KEY_SET) as server:
            table = {
                **settings(origin.url, server, stores),
                "access_log": False,
                "log_level": "ERROR",
                **changes,
            }
            async with stage(origin, **table) as scene:
                made = Fortress(scene, origin)
                await made.users.add(User("ann", HASH, ("read",), "pro", 1))
                yield made
    finally:
        await origin.stop()


def numbered(*lines: bytes, status: bytes = b"200 OK") -> Any:
    """An origin's answers, each another one."""
    count = 0

    def say(head: bytes) -> bytes:
        nonlocal count
        count += 1
        return answer(*lines, body=b"answer %d" % count, status=status)

    return say


async def bodies(
    made: Fortress, *asked: tuple[bytes, ...], path: bytes = b"/open/x"
) -> list[bytes]:
    """What each of these requests, one after the other, gets."""
    return [(await made.get(*lines, path=path))[2] for lines in asked]
