"""`gateway keys`: who may use routes with `auth: api_key`.

Each function works on the configured database. Raises ValueError with what is wrong, and
`StoreDown`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from gateway import units
from gateway.config import Settings
from gateway.keyring import Keyring, NoSuchKeyError, NotActiveError
from gateway.storage import open_database
from gateway.stores.keys import ApiKey, Keys

T = TypeVar("T")
COLUMNS = (
    "ID",
    "OWNER",
    "TIER",
    "SCOPES",
    "STATE",
    "CREATED",
    "EXPIRES",
    "LAST USED",
    "ROTATED TO",
)


def create(
    settings: Settings, owner: str, tier: str, scopes: Sequence[str], expires: str | None
) -> tuple[str, str]:
    """A new key: its id, and the key."""
    if tier not in settings.tiers:
        raise ValueError(f"--tier: there is no such tier, only {', '.join(settings.tiers)}")
    lifetime = _seconds("--expires", expires)

    async def work(ring: Keyring) -> tuple[ApiKey, str]:
        return await ring.create(owner, tier, scopes, lifetime)

    made, key = _run(settings, work)
    return made.id, key


def listed(settings: Settings) -> list[tuple[str, ...]]:
    """All keys, below the names of the columns."""

    async def work(ring: Keyring) -> list[tuple[str, ...]]:
        return [_row(key, ring.now) for key in await ring.all()]

    return [COLUMNS, *_run(settings, work)]


def rotate(settings: Settings, name: str, grace: str, expires: str | None) -> tuple[str, str]:
    """The key that takes the place of another: its id, and the key."""
    seconds = _seconds("--grace", grace) or 0.0
    lifetime = _seconds("--expires", expires)

    async def work(ring: Keyring) -> tuple[ApiKey, str]:
        return await ring.rotate(name, seconds, lifetime)

    made, key = _run(settings, work)
    return made.id, key


def revoke(settings: Settings, name: str) -> str:
    """Let a key open nothing any more, on every worker within seconds; its id."""

    async def work(ring: Keyring) -> str:
        await ring.revoke(name)
        return name

    return _run(settings, work)


def _run(settings: Settings, work: Callable[[Keyring], Awaitable[T]]) -> T:
    async def run() -> T:
        database = open_database(settings.stores)
        try:
            return await work(Keyring(Keys(database)))
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except NoSuchKeyError:
        raise ValueError("there is no key of this id") from None
    except NotActiveError as error:
        raise ValueError(f"the key {error}") from None


def _seconds(flag: str, value: str | None) -> float | None:
    try:
        return None if value is None else units.duration(value)
    except ValueError as error:
        raise ValueError(f"{flag}: {error}") from None


def _row(key: ApiKey, now: int) -> tuple[str, ...]:
    return (
        key.id,
        key.owner,
        key.tier,
        " ".join(key.scopes) or "-",
        key.state(now),
        _moment(key.created_at),
        _moment(key.expires_at),
        _moment(key.last_used_at),
        key.successor or "-",
    )


def _moment(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
