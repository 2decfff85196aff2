"""Signed tokens and users put together from the settings, for one worker.

Imported, with the libraries beneath it, when the settings ask for one of the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import time
from typing import Final

import aiohttp
from aiohttp import web
from pydantic import SecretStr

from gateway.config.tokens import OWN_ISSUER
from gateway.config.tokens import Jwt as JwtSettings
from gateway.config.tokens import Login as LoginSettings
from gateway.endpoints.auth import Attempts, Auth
from gateway.exchange import Exchange
from gateway.identity import jose
from gateway.identity.disabled import Disabled
from gateway.identity.jwks import KeySet
from gateway.identity.passwords import Passwords
from gateway.identity.sessions import Sessions
from gateway.identity.verify import FixedKeys, Issuer, Keys, Verifier
from gateway.limits import network_of
from gateway.policies.jwt import Jwt
from gateway.stores import Database, Limiter
from gateway.stores.users import Users
from gateway.telemetry.events import EventLog
from gateway.telemetry.metrics import Metrics

MadeFrom = tuple[JwtSettings | None, LoginSettings | None, SecretStr | None]
KEYS: Final = "jwks"
"""What an issuer's key set is called among the stores."""


class Identities:
    """`jwt` finds out who asks by a token; `auth` is there where users sign in."""

    def __init__(
        self,
        made_from: MadeFrom,
        *,
        session: aiohttp.ClientSession,
        database: Callable[[], Database],
        limiter: Limiter,
        exchange_of: Callable[[web.Request], Exchange],
        metrics: Metrics,
        log: EventLog,
    ) -> None:
        self.made_from = made_from  # settings: equal ones make equal identities
        jwt, login, secret_key = made_from
        self._metrics = metrics
        self._log = log
        self._sets: list[KeySet] = []
        self._passwords: Passwords | None = None
        self._disabled: Disabled | None = None
        self._watch: asyncio.Task[None] | None = None
        self.auth: Auth | None = None
        issuers: list[Issuer] = []
        if jwt is not None:
            issuers += self._issuers(jwt, session)
        if login is not None:
            assert secret_key is not None  # the settings saw to it
            users, key = Users(database()), jose.shared(secret_key.get_secret_value().encode())
            self._disabled = Disabled(
                users, lifetime=login.access, clock=time, changed=self._forget
            )
            ours = frozenset({OWN_ISSUER})
            issuers.append(
                Issuer(OWN_ISSUER, ("HS256",), FixedKeys((key,)), ours, barred=self._disabled)
            )
            self._passwords = Passwords(login.at_once)
            self.auth = Auth(
                Sessions(
                    users,
                    self._passwords,
                    key,
                    access=login.access,
                    refresh=login.refresh,
                    clock=time,
                ),
                limiter,
                Attempts(login.per_account, login.per_address),
                exchange_of=exchange_of,
                network_of=network_of,
                failed=self._failed,
                log=log,
            )
        self.jwt = Jwt(Verifier(issuers), failed=self._failed)

    def _issuers(self, jwt: JwtSettings, session: aiohttp.ClientSession) -> list[Issuer]:
        """The one issuer, once for each place where its keys are."""
        found: list[tuple[tuple[str, ...], Keys]] = []
        if jwt.secret is not None:
            key = jose.shared(jwt.secret.get_secret_value().encode())
            found.append((("HS256",), FixedKeys((key,))))
        if jwt.jwks_url is not None:
            keys = KeySet(
                jwt.jwks_url,
                session,
                refresh=jwt.refresh,
                cooldown=jwt.cooldown,
                lost=lambda why: self._log.warning("store_lost", store=KEYS, problem=why),
                back=lambda: self._log.info("store_back", store=KEYS),
                failed=self._metrics.store_errors.child(KEYS).inc,
                changed=self._forget,
            )
            self._sets.append(keys)
            public = tuple(name for name in jwt.algorithms if name != "HS256")
            found.append((public, keys))
        audiences = frozenset(jwt.audience)
        return [
            Issuer(jwt.issuer, algorithms, keys, audiences, jwt.leeway)
            for algorithms, keys in found
        ]

    def open(self) -> None:
        """Begin to look for keys, and for who was disabled."""
        for keys in self._sets:
            keys.open()
        if self._disabled is not None:
            watch = self._disabled.watch()
            self._watch = asyncio.get_running_loop().create_task(watch, name="disabled users")

    async def close(self) -> None:
        for keys in self._sets:
            await keys.close()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait((self._watch,))
        if self._passwords is not None:
            self._passwords.close()

    def _forget(self) -> None:
        self.jwt.forget()

    def _failed(self, reason: str) -> None:
        self._metrics.auth_failures.child(reason).inc()
