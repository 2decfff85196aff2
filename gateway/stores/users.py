"""Users and their sessions, in either database.

A session is a family of refresh tokens: each one is good once and gives the next. All that
changes a family first touches its row, so that whoever else would change it waits: of two who
bring the same token one wins, on every database, and the other ends the family.

Times are unix milliseconds. Of a token only its SHA-256 is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.stores import Database

MIGRATION: Final = "users"
STEPS: Final = (
    """
    CREATE TABLE gateway_users (
        name TEXT PRIMARY KEY,
        password TEXT NOT NULL,
        scopes TEXT NOT NULL,
        tier TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        disabled_at BIGINT
    )
    """,
    """
    CREATE TABLE gateway_sessions (
        id TEXT PRIMARY KEY,
        username TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        revoked_at BIGINT
    )
    """,
    """
    CREATE TABLE gateway_refresh_tokens (
        hash TEXT PRIMARY KEY,
        session TEXT NOT NULL,
        expires_at BIGINT NOT NULL,
        used_at BIGINT
    )
    """,
    "CREATE INDEX gateway_sessions_username ON gateway_sessions (username)",
    "CREATE INDEX gateway_sessions_expires_at ON gateway_sessions (expires_at)",
    "CREATE INDEX gateway_refresh_tokens_expires_at ON gateway_refresh_tokens (expires_at)",
)
COLUMNS: Final = "name, password, scopes, tier, created_at, disabled_at"


@dataclass(frozen=True, slots=True)
class User:
    """`password` is its hash; `disabled_at` says since when a user is not let in."""

    name: str
    password: str
    scopes: tuple[str, ...] = ()
    tier: str = "free"
    created_at: int = 0
    disabled_at: int | None = None


class Users:
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

    # ---------------------------------------------------------------------------------- users

    async def add(self, user: User) -> bool:
        """Whether the name was free."""
        added = await (await self._database()).execute(
            f"INSERT INTO gateway_users ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6) "
            "ON CONFLICT (name) DO NOTHING",
            user.name,
            user.password,
            " ".join(user.scopes),
            user.tier,
            user.created_at,
            user.disabled_at,
        )
        return added == 1

    async def find(self, name: str) -> User | None:
        return await _user(await self._database(), name)

    async def all(self) -> list[User]:
        """By name."""
        rows = await (await self._database()).fetch(
            f"SELECT {COLUMNS} FROM gateway_users ORDER BY name"
        )
        return [_read(row) for row in rows]

    async def disable(self, name: str, now: int) -> bool:
        """Let a user in no more, and end all sessions; whether there is such a user."""
        async with (await self._database()).transaction() as change:
            found = await change.execute(
                "UPDATE gateway_users SET disabled_at = COALESCE(disabled_at, $1) WHERE name = $2",
                now,
                name,
            )
            await change.execute(
                "UPDATE gateway_sessions SET revoked_at = $1 "
                "WHERE username = $2 AND revoked_at IS NULL",
                now,
                name,
            )
        return found == 1

    async def disabled_since(self, when: int) -> Mapping[str, int]:
        """Who was disabled at that time or later, and when."""
        rows = await (await self._database()).fetch(
            "SELECT name, disabled_at FROM gateway_users WHERE disabled_at >= $1", when
        )
        return {row["name"]: row["disabled_at"] for row in rows}

    # ------------------------------------------------------------------------------- sessions

    async def begin(self, session: str, username: str, token: str, now: int, until: int) -> None:
        """A session and its first token, by its hash."""
        async with (await self._database()).transaction() as change:
            await change.execute(
                "INSERT INTO gateway_sessions (id, username, created_at, expires_at) "
                "VALUES ($1, $2, $3, $4)",
                session,
                username,
                now,
                until,
            )
            await _keep(change, token, session, until)

    async def rotate(self, token: str, successor: str, now: int, until: int) -> User | None:
        """Put `successor` in the place of a token, both by their hashes; whose it is.

        None for a token that is not good. One that was used before ends its session.
        """
        async with (await self._database()).transaction() as change:
            # The row is the family's lock: from here on nobody else changes it.
            rows = await change.fetch(
                "UPDATE gateway_sessions SET expires_at = expires_at "
                "WHERE id IN (SELECT session FROM gateway_refresh_tokens WHERE hash = $1) "
                "AND revoked_at IS NULL RETURNING id, username",
                token,
            )
            if not rows:
                return None
            session = rows[0]["id"]
            used = await change.fetch(
                "UPDATE gateway_refresh_tokens SET used_at = $1 "
                "WHERE hash = $2 AND used_at IS NULL RETURNING expires_at",
                now,
                token,
            )
            if not used:  # it was copied, and nobody knows who has the copy (RFC 9700, 4.14.2)
                await _end(change, session, now)
                return None
            user = await _user(change, rows[0]["username"])
            if used[0]["expires_at"] <= now or user is None or user.disabled_at is not None:
                return None
            await _keep(change, successor, session, until)
            await change.execute(
                "UPDATE gateway_sessions SET expires_at = $1 WHERE id = $2", until, session
            )
            return user

    async def end(self, token: str, now: int) -> None:
        """End the session that a token is of, used or not."""
        await (await self._database()).execute(
            "UPDATE gateway_sessions SET revoked_at = $1 WHERE revoked_at IS NULL "
            "AND id IN (SELECT session FROM gateway_refresh_tokens WHERE hash = $2)",
            now,
            token,
        )

    async def sweep(self, now: int) -> None:
        """Forget what has expired."""
        for table in ("gateway_refresh_tokens", "gateway_sessions"):
            await (await self._database()).execute(
                f"DELETE FROM {table} WHERE expires_at < $1", now
            )


async def _user(database: Database, name: str) -> User | None:
    rows = await database.fetch(f"SELECT {COLUMNS} FROM gateway_users WHERE name = $1", name)
    return _read(rows[0]) if rows else None


def _read(row: Mapping[str, Any]) -> User:
    return User(
        row["name"],
        row["password"],
        tuple(row["scopes"].split()),
        row["tier"],
        row["created_at"],
        row["disabled_at"],
    )


async def _keep(change: Database, token: str, session: str, until: int) -> None:
    await change.execute(
        "INSERT INTO gateway_refresh_tokens (hash, session, expires_at) VALUES ($1, $2, $3)",
        token,
        session,
        until,
    )


async def _end(change: Database, session: str, now: int) -> None:
    await change.execute("UPDATE gateway_sessions SET revoked_at = $1 WHERE id = $2", now, session)
