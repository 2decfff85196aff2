"""API keys, in either database. Of a key only its SHA-256 is kept.

Every change gives the rows that it touches the next `revision`. The number lies in a row of its
own, which a change locks first and until it is committed: so changes become visible in the order
of their numbers, and who has seen one number asks for those behind it and misses none.

Times are unix milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from gateway.stores import Database

MIGRATION: Final = "keys"
STEPS: Final = (
    """
    CREATE TABLE gateway_api_keys (
        id TEXT PRIMARY KEY,
        hash TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        tier TEXT NOT NULL,
        scopes TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        expires_at BIGINT,
        revoked_at BIGINT,
        last_used_at BIGINT,
        successor TEXT,
        revision BIGINT NOT NULL
    )
    """,
    "CREATE INDEX gateway_api_keys_revision ON gateway_api_keys (revision)",
    "CREATE TABLE gateway_api_key_changes (revision BIGINT NOT NULL)",
    "INSERT INTO gateway_api_key_changes VALUES (0)",
)
COLUMNS: Final = (
    "id, hash, owner, tier, scopes, created_at, expires_at, revoked_at, last_used_at, successor, "
    "revision"
)
AT_ONCE: Final = 64
"""Keys that one query looks up."""

SIZES: Final = (1, 8, AT_ONCE)  # of its list: each is a statement that a connection prepares
NOTED_AT_ONCE: Final = 200  # keys whose use is noted before whoever changes them gets a turn


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored."""

    id: str
    hash: str
    owner: str
    tier: str
    scopes: tuple[str, ...]
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None
    successor: str | None = None  # the id of the key that it was rotated to
    revision: int = 0

    def state(self, now: int) -> str:
        """What it is at that time: `active`, `revoked` or `expired`."""
        if self.revoked_at is not None:
            return "revoked"
        expired = self.expires_at is not None and self.expires_at <= now
        return "expired" if expired else "active"


class Keys:
    """Raises only `StoreDown`. The tables are made when they are first needed."""

    def __init__(self, database: Database) -> None:
        self._opened = database
        self._migrated = False

    async def _database(self) -> Database:
        """With its tables; a server that was down at the start may be there by now."""
        if not self._migrated:
            await self._opened.migrate(MIGRATION, STEPS)
            self._migrated = True
        return self._opened

    async def find(self, digests: Sequence[str]) -> Mapping[str, ApiKey]:
        """Of those SHA-256, `AT_ONCE` at most, the keys that there are, good or not."""
        size = next(size for size in SIZES if size >= len(digests))
        wanted = ", ".join(f"${number}" for number in range(1, size + 1))
        rows = await (await self._database()).fetch(
            f"SELECT {COLUMNS} FROM gateway_api_keys WHERE hash IN ({wanted})",
            *digests,
            *[digests[0]] * (size - len(digests)),
        )
        return {row["hash"]: _key(row) for row in rows}

    async def named(self, name: str) -> ApiKey | None:
        rows = await (await self._database()).fetch(
            f"SELECT {COLUMNS} FROM gateway_api_keys WHERE id = $1", name
        )
        return _key(rows[0]) if rows else None

    async def all(self) -> list[ApiKey]:
        """The newest last."""
        rows = await (await self._database()).fetch(
            f"SELECT {COLUMNS} FROM gateway_api_keys ORDER BY created_at, id"
        )
        return [_key(row) for row in rows]

    # -------------------------------------------------------------------------------- changes

    async def add(self, key: ApiKey) -> None:
        async with (await self._database()).transaction() as change:
            await _insert(change, key, await _next(change))

    async def replace(self, name: str, by: ApiKey, until: int) -> bool:
        """Put another key in the place of one that is good; that one is good `until` then at most.

        Says whether there was one. A key has one successor: who comes second changes nothing.
        """
        async with (await self._database()).transaction() as change:
            revision = await _next(change)
            touched = await change.execute(
                "UPDATE gateway_api_keys SET revision = $4, successor = $5, "
                "expires_at = CASE WHEN expires_at < $2 THEN expires_at ELSE $2 END "
                "WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3) "
                "AND successor IS NULL",
                name,
                until,
                by.created_at,
                revision,
                by.id,
            )
            if touched:
                await _insert(change, by, revision)
        return bool(touched)

    async def revoke(self, name: str, now: int) -> bool:
        """For good. Says whether there is such a key; one that was revoked stays so."""
        async with (await self._database()).transaction() as change:
            touched = await change.execute(
                "UPDATE gateway_api_keys SET revoked_at = COALESCE(revoked_at, $2), "
                "revision = $3 WHERE id = $1",
                name,
                now,
                await _next(change),
            )
        return bool(touched)

    async def changed(self, since: int) -> tuple[int, list[str]] | None:
        """The newest revision, and the SHA-256 of the keys that changed since that one.

        None where `since` was never reached: this is another database, such as an older copy.
        """
        rows = await (await self._database()).fetch(
            "SELECT hash, revision FROM gateway_api_keys WHERE revision >= $1", since
        )
        if not rows:  # whoever was the last to change is among them, unless nobody ever did
            return None if since else (0, [])
        newest = max(row["revision"] for row in rows)
        return newest, [row["hash"] for row in rows if row["revision"] > since]

    async def newest(self) -> int:
        """The newest revision."""
        (row,) = await (await self._database()).fetch(
            "SELECT COALESCE(MAX(revision), 0) AS revision FROM gateway_api_keys"
        )
        return int(row["revision"])

    async def used(self, times: Mapping[str, int]) -> None:
        """Note when these keys, by id, were last used."""
        database = await self._database()
        # In one order everywhere, so that two of these never wait for each other.
        left = iter(sorted(times.items()))
        while part := list(islice(left, NOTED_AT_ONCE)):
            async with database.transaction() as inside:
                for name, when in part:
                    await inside.execute(
                        "UPDATE gateway_api_keys SET last_used_at = $2 "
                        "WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
                        name,
                        when,
                    )


async def _next(change: Database) -> int:
    """The next revision: until the transaction ends, nobody else gets one."""
    (row,) = await change.fetch(
        "UPDATE gateway_api_key_changes SET revision = revision + 1 RETURNING revision"
    )
    return int(row["revision"])


async def _insert(change: Database, key: ApiKey, revision: int) -> None:
    await change.execute(
        f"INSERT INTO gateway_api_keys ({COLUMNS}) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, NULL, NULL, $8)",
        key.id,
        key.hash,
        key.owner,
        key.tier,
        joined(key.scopes),
        key.created_at,
        key.expires_at,
        revision,
    )


def joined(scopes: Iterable[str]) -> str:
    """Scopes as tokens write them, too (RFC 6749, 3.3): no scope holds a space."""
    return " ".join(scopes)


def _key(row: Mapping[str, Any]) -> ApiKey:
    return ApiKey(**{**row, "scopes": tuple(row["scopes"].split())})
