"""Signing in, staying signed in, signing out.

An access token is short and is checked without asking anybody; a refresh token is long, is good
once, and is asked about in the database. To whoever tries, a user who does not exist, one who is
disabled and a wrong password are the same, and take the same time.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from gateway.config.tokens import OWN_ISSUER
from gateway.identity import jose
from gateway.identity.jose import Key
from gateway.identity.passwords import Passwords
from gateway.stores.users import User, Users

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}")
REFRESH_TOKEN: Final = re.compile(r"gwr_[A-Za-z0-9_-]{43}")
SWEEP: Final = 3600.0  # s between two looks for what has expired


class Wrong(Exception):
    """Not let in. `reason` is one of a fixed few, a label for metrics."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a client gets; `expires_in` is the access token's time in seconds."""

    access: str
    refresh: str
    expires_in: int


class Clock(Protocol):
    def __call__(self) -> float:
        """Unix seconds."""


class Sessions:
    """For one worker. `access` and `refresh` are seconds for which tokens are good."""

    def __init__(
        self,
        users: Users,
        passwords: Passwords,
        key: Key,
        *,
        access: float,
        refresh: float,
        clock: Clock,
        draw: Callable[[int], str] = secrets.token_urlsafe,
    ) -> None:
        self._users = users
        self._passwords = passwords
        self._key = key
        self._access = access
        self._refresh = refresh
        self._clock = clock
        self._draw = draw
        self._swept = 0.0

    async def login(self, name: str, password: str) -> Tokens:
        """Begin a session. Raises `Wrong`, `Busy`, `StoreDown`."""
        name = account(name)
        user = await self._users.find(name) if NAME.fullmatch(name) else None
        good = await self._passwords.matches(user.password if user else None, password)
        if user is None or not good or user.disabled_at is not None:
            raise Wrong("credentials")
        now = self._clock()
        if now - self._swept >= SWEEP:
            self._swept = now
            await self._users.sweep(int(now * 1000))
        token = self._token()
        session = self._draw(16)
        await self._users.begin(session, user.name, _hash(token), *self._span(now))
        return self._tokens(user, token, now)

    async def refresh(self, token: str) -> Tokens:
        """Go on with a session. Raises `Wrong`, `StoreDown`."""
        if REFRESH_TOKEN.fullmatch(token) is None:
            raise Wrong("refresh")
        now, successor = self._clock(), self._token()
        user = await self._users.rotate(_hash(token), _hash(successor), *self._span(now))
        if user is None:
            raise Wrong("refresh")
        return self._tokens(user, successor, now)

    async def logout(self, token: str) -> None:
        """End a session; nothing is said of tokens that have none. Raises `StoreDown`."""
        if REFRESH_TOKEN.fullmatch(token) is not None:
            await self._users.end(_hash(token), int(self._clock() * 1000))

    def _token(self) -> str:
        return "gwr_" + self._draw(32)

    def _span(self, now: float) -> tuple[int, int]:
        """From when until when a refresh token is good, in milliseconds."""
        return int(now * 1000), int((now + self._refresh) * 1000)

    def _tokens(self, user: User, refresh: str, now: float) -> Tokens:
        claims = {
            "iss": OWN_ISSUER,
            "aud": OWN_ISSUER,
            "sub": user.name,
            "iat": int(now),
            "exp": int(now + self._access),
            "jti": self._draw(16),
            "scope": " ".join(user.scopes),
            "tier": user.tier,
        }
        return Tokens(jose.sign(claims, self._key), refresh, int(self._access))


def account(name: str) -> str:
    """The one spelling of a user's name."""
    return name.lower()


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()
