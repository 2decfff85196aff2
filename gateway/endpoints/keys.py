"""API keys over HTTP, for administrators: made, listed, rotated, revoked.

A key is told once, by the answer that makes it, which no cache keeps. Who may ask is the route's
business (`gateway.api`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import orjson
from aiohttp import web
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from gateway import units
from gateway.bodies import Asked, invalid, read
from gateway.errors import NotFound
from gateway.exchange import Exchange
from gateway.keyring import Keyring, NoSuchKeyError, NotActiveError, owner_name, scope_names
from gateway.stores.keys import ApiKey
from gateway.telemetry.events import EventLog

BODY_BYTES: Final = 16_384
GRACE: Final = 3600.0  # s

Lifetime = Annotated[
    float,
    BeforeValidator(units.duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": units.LONGEST_DURATION},
                {"type": "string", "pattern": "^[0-9]{1,4}(ms|s|m|h|d)$"},
            ]
        }
    ),
]


class Create(Asked):
    """A key to be made. Lengths of time are seconds, or `90d`, `12h`."""

    owner: Annotated[str, AfterValidator(owner_name)]
    tier: str
    scopes: Annotated[list[str], AfterValidator(scope_names)] = Field([])
    expires: Lifetime | None = Field(None, description="after this time; never if left out")


class Rotate(Asked):
    """A key to be replaced by another."""

    id: str
    grace: Lifetime = Field(GRACE, description="for which the old key lives on")
    expires: Lifetime | None = Field(None, description="of the new one; the old one's if left out")


class Revoke(Asked):
    """A key that is to open nothing any more."""

    id: str


class ManagedKeys:
    """Handlers for one worker."""

    def __init__(
        self,
        ring: Callable[[], Keyring],
        *,
        tiers: Callable[[], Collection[str]],
        exchange_of: Callable[[web.Request], Exchange],
        log: EventLog,
    ) -> None:
        """`ring` and `tiers` give what there is by the settings of now."""
        self._ring = ring
        self._tiers = tiers
        self._exchange_of = exchange_of
        self._log = log

    async def create(self, request: web.Request) -> web.Response:
        """201 with the key."""
        asked = await read(request, Create, BODY_BYTES)
        tiers = self._tiers()
        if asked.tier not in tiers:
            raise invalid(f"there is no such tier, only {', '.join(tiers)}", "tier")
        made, key = await self._ring().create(asked.owner, asked.tier, asked.scopes, asked.expires)
        self._tell(request, "key_created", made.id)
        return self._answer({**self._shown(made), "key": key}, 201)

    async def all(self, request: web.Request) -> web.Response:
        """Without the keys themselves, which nobody knows."""
        return self._answer({"keys": [self._shown(key) for key in await self._ring().all()]})

    async def rotate(self, request: web.Request) -> web.Response:
        """201 with the new key; 422 for an old one that is not good, or has a successor."""
        asked = await read(request, Rotate, BODY_BYTES)
        try:
            made, key = await self._ring().rotate(asked.id, asked.grace, asked.expires)
        except NoSuchKeyError:
            raise NotFound("there is no key of this id") from None
        except NotActiveError as error:
            raise invalid(f"the key {error}", "id") from None
        self._tell(request, "key_rotated", asked.id, successor=made.id)
        return self._answer({**self._shown(made), "key": key}, 201)

    async def revoke(self, request: web.Request) -> web.Response:
        """204, however often."""
        asked = await read(request, Revoke, BODY_BYTES)
        try:
            await self._ring().revoke(asked.id)
        except NoSuchKeyError:
            raise NotFound("there is no key of this id") from None
        self._tell(request, "key_revoked", asked.id)
        return web.Response(status=204)

    def _shown(self, key: ApiKey) -> dict[str, Any]:
        return {
            "id": key.id,
            "owner": key.owner,
            "tier": key.tier,
            "scopes": list(key.scopes),
            "state": key.state(self._ring().now),
            "created": _moment(key.created_at),
            "expires": _moment(key.expires_at),
            "revoked": _moment(key.revoked_at),
            "last_used": _moment(key.last_used_at),
            "successor": key.successor,
        }

    def _answer(self, body: dict[str, Any], status: int = 200) -> web.Response:
        return web.Response(
            status=status,
            body=orjson.dumps(body),
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    def _tell(self, request: web.Request, event: str, key: str, **more: str) -> None:
        """Who did what to which key."""
        exchange = self._exchange_of(request)
        who = exchange.principal
        self._log.info(
            event,
            request_id=exchange.request_id.decode(),
            client_ip=exchange.client_ip.decode(),
            by=None if who is None else f"{who.kind} {who.id}",
            key=key,
            **more,
        )


def _moment(milliseconds: int | None) -> str | None:
    """ISO 8601, UTC."""
    if milliseconds is None:
        return None
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
