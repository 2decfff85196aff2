"""Who asks: found out in the ways that a route takes, and let in when they may.

A request says who asks in one way or another; the first way that finds something decides. What a
client is told of a refusal is a challenge (RFC 9110, 11.6.1); why, in detail, is for the log.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from gateway.errors import Forbidden, GatewayError, Unauthorized
from gateway.exchange import Exchange, Policy, Principal, Response, Verdict

AUTHORIZATION: Final = b"authorization"


class Way(Protocol):
    """Finds out who asks by one kind of credential."""

    challenge: bytes
    """What `WWW-Authenticate` says of it."""

    def authenticate(self, exchange: Exchange) -> Principal | Coroutine[Any, Any, Principal] | None:
        """Who asks; None for a request without such a credential.

        Raises `Unauthorized` for one that is not good, and counts that.
        """


class Auth:
    """Lets in who is known and has every scope that is asked for."""

    def __init__(
        self,
        ways: Sequence[Way],
        scopes: frozenset[str],
        *,
        failed: Callable[[str], None],
        refused: Callable[[Exchange, str], None],
        accepted: Callable[[str], None] = lambda kind: None,
        strangers: Policy | None = None,
    ) -> None:
        """`failed` counts a reason, `accepted` a kind; `refused` logs who was not let in, and why.

        `strangers` is asked about who is refused for not being known: a limit on guesses.
        """
        self._strangers = strangers
        self._ways = tuple(ways)
        self._scopes = scopes
        self._failed = failed
        self._refused = refused
        self._accepted = accepted
        self._challenges = tuple(
            b"WWW-Authenticate: " + challenge
            for challenge in dict.fromkeys(way.challenge for way in ways)
        )
        wanted = " ".join(sorted(scopes)).encode()
        self._insufficient = (
            b'WWW-Authenticate: Bearer error="insufficient_scope", scope="%b"' % wanted,
        )

    def enter(self, exchange: Exchange) -> Verdict:
        try:
            for way in self._ways:
                found = way.authenticate(exchange)
                if isinstance(found, Principal):
                    self._let_in(exchange, found)
                    return None
                if found is not None:
                    return self._wait(exchange, found)
        except Unauthorized as error:
            return self._turn_away(exchange, error)
        self._failed("missing")
        return self._turn_away(exchange, Unauthorized())

    def still(self, exchange: Exchange) -> bool | Coroutine[Any, Any, bool]:
        """Whether one that was let in, and is connected for long, would be let in again."""
        try:
            for way in self._ways:
                found = way.authenticate(exchange)
                if isinstance(found, Principal):
                    return self._scopes <= found.scopes
                if found is not None:
                    return self._still(found)
        except Unauthorized:
            pass
        return False

    async def _still(self, coroutine: Coroutine[Any, Any, Principal]) -> bool:
        try:
            return self._scopes <= (await coroutine).scopes
        except Unauthorized:
            return False

    async def _wait(self, exchange: Exchange, coroutine: Coroutine[Any, Any, Principal]) -> None:
        try:
            found = await coroutine
        except Unauthorized as error:
            verdict = self._turn_away(exchange, error)
            if isinstance(verdict, Coroutine):
                await verdict
            return
        self._let_in(exchange, found)

    def _let_in(self, exchange: Exchange, principal: Principal) -> None:
        exchange.principal = principal
        if principal.kind == "api_key" and len(self._ways) > 1:
            given = exchange.head.once.get(AUTHORIZATION, b"")
            if given[:6].lower() == b"bearer":  # not looked at: nobody is to take it for good
                exchange.withheld |= {AUTHORIZATION}
        if not self._scopes <= principal.scopes:
            self._failed("scope")
            self._refused(exchange, "a scope is missing")
            raise Forbidden("a scope is missing", fields=self._insufficient)
        self._accepted(principal.kind)

    def _turn_away(self, exchange: Exchange, error: Unauthorized) -> Verdict:
        told = self._told(exchange, error)
        verdict = None if self._strangers is None else self._strangers.enter(exchange)
        if isinstance(verdict, Coroutine):
            return self._turn_away_later(verdict, told)
        raise told

    async def _turn_away_later(
        self, verdict: Coroutine[Any, Any, Response | None], told: GatewayError
    ) -> None:
        await verdict
        raise told

    def _told(self, exchange: Exchange, error: Unauthorized) -> GatewayError:
        """The refusal, with a challenge where it has none."""
        self._refused(exchange, error.message)
        if not error.fields:
            error.fields = self._challenges
        return error
