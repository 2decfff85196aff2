"""Signing in over HTTP: `/auth/login`, `/auth/refresh`, `/auth/logout`.

Guessing is limited twice, by the account that is tried and by the address that tries, before a
password costs anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Final, NoReturn

import orjson
from aiohttp import web
from pydantic import Field

from gateway.bodies import Asked, read
from gateway.errors import RateLimited, Unauthorized
from gateway.exchange import Exchange
from gateway.identity.sessions import Sessions, Tokens, Wrong, account
from gateway.stores import Decision, Limiter
from gateway.telemetry.events import EventLog
from gateway.units import Rate

BODY_BYTES: Final = 16_384
LONGEST_FIELD: Final = 1024  # characters

Text = Annotated[str, Field(min_length=1, max_length=LONGEST_FIELD)]


class Login(Asked, extra="ignore"):
    """Who signs in."""

    username: Text
    password: Text


class Refresh(Asked, extra="ignore"):
    """What an earlier answer gave."""

    refresh_token: Text


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often somebody may try."""

    per_account: Rate
    per_address: Rate


class Auth:
    """Handlers for one worker."""

    def __init__(
        self,
        sessions: Sessions,
        limiter: Limiter,
        attempts: Attempts,
        *,
        exchange_of: Callable[[web.Request], Exchange],
        network_of: Callable[[bytes], bytes],
        failed: Callable[[str], None],
        log: EventLog,
    ) -> None:
        """`network_of` says who an address is for a limit.

        `failed` hears the reason, one of a fixed few, of each attempt that fails.
        """
        self._sessions = sessions
        self._limiter = limiter
        self._attempts = attempts
        self._exchange_of = exchange_of
        self._network_of = network_of
        self._failed = failed
        self._log = log

    async def login(self, request: web.Request) -> web.Response:
        exchange = self._exchange_of(request)
        await self._limit_address(exchange, b"login")
        asked = await read(request, Login, BODY_BYTES)
        name, password = asked.username, asked.password
        key = b"login account " + sha256(account(name).encode()).digest()
        await self._limit(exchange, key, self._attempts.per_account)
        try:
            tokens = await self._sessions.login(name, password)
        except Wrong as wrong:
            self._refuse(
                exchange, wrong, "the name or the password is wrong", b'Bearer realm="gateway"'
            )
        self._log.info("login", request_id=exchange.request_id, user=account(name))
        return _answer(tokens)

    async def refresh(self, request: web.Request) -> web.Response:
        exchange = self._exchange_of(request)
        await self._limit_address(exchange, b"refresh")
        asked = await read(request, Refresh, BODY_BYTES)
        try:
            return _answer(await self._sessions.refresh(asked.refresh_token))
        except Wrong as wrong:
            why = b'Bearer error="invalid_token"'
            self._refuse(exchange, wrong, "the refresh token is not valid", why)

    async def logout(self, request: web.Request) -> web.Response:
        exchange = self._exchange_of(request)
        await self._limit_address(exchange, b"refresh")
        asked = await read(request, Refresh, BODY_BYTES)
        await self._sessions.logout(asked.refresh_token)
        return web.Response(status=204)

    async def _limit_address(self, exchange: Exchange, what: bytes) -> None:
        who = self._network_of(exchange.client_ip)
        await self._limit(exchange, what + b" address " + who, self._attempts.per_address)

    async def _limit(self, exchange: Exchange, key: bytes, rate: Rate) -> None:
        decision = self._limiter.take(b"%b %b" % (key, str(rate).encode()), rate)
        if not isinstance(decision, Decision):
            decision = await decision
        if not decision.allowed:
            self._tell(exchange, "limited")
            raise RateLimited(fields=(b"Retry-After: %d" % decision.retry_after,))

    def _refuse(self, exchange: Exchange, wrong: Wrong, why: str, challenge: bytes) -> NoReturn:
        self._tell(exchange, wrong.reason)
        raise Unauthorized(why, fields=(b"WWW-Authenticate: " + challenge,)) from None

    def _tell(self, exchange: Exchange, reason: str) -> None:
        """Not whose account: people type passwords into the wrong field."""
        self._failed(reason)
        self._log.info(
            "login_failed",
            request_id=exchange.request_id,
            client_ip=exchange.client_ip,
            reason=reason,
        )


def _answer(tokens: Tokens) -> web.Response:
    body = {
        "access_token": tokens.access,
        "refresh_token": tokens.refresh,
        "token_type": "bearer",
        "expires_in": tokens.expires_in,
    }
    return web.Response(
        body=orjson.dumps(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},  # RFC 6749, 5.1
    )
