"""How often somebody may ask: by address, by key, or by the tier that the key is in.

What every answer says: `X-RateLimit-Limit`, `-Remaining` and `-Reset` (seconds until all of it is
there again), and the draft's `RateLimit-Policy` and `RateLimit`
(draft-ietf-httpapi-ratelimit-headers-11), whose `t` is the time for which no more than `r` should
be asked: until all is there again; in a refusal, until the next may come, as `Retry-After` says.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Literal, Protocol

from gateway.errors import RateLimited
from gateway.exchange import Exchange, Verdict
from gateway.limits import network_of
from gateway.stores import Decision, Limiter
from gateway.units import Rate

REPLACED: Final = frozenset(
    (
        b"x-ratelimit-limit",
        b"x-ratelimit-remaining",
        b"x-ratelimit-reset",
        b"ratelimit-limit",  # of the draft's older versions
        b"ratelimit-remaining",
        b"ratelimit-reset",
        b"ratelimit-policy",
        b"ratelimit",
    )
)

ANONYMOUS: Final = "anonymous"
OTHER: Final = "other"

By = Literal["ip", "key", "tier"]


class Counter(Protocol):
    """Counts those who came too often."""

    def inc(self) -> None: ...


class Allowance:
    """A rate, and everything about it that is the same for all who have it."""

    __slots__ = ("_block", "_last", "_said", "prefix", "rate")

    def __init__(self, scope: str, name: str, rate: Rate) -> None:
        """`scope` names what is counted together: a route, or a tier. `name` is for clients."""
        self.rate = rate
        # Another rate counts anew: what is kept for a key is in units of its rate.
        counted = f"{scope} {rate.count}/{rate.nanoseconds}/{rate.burst} "
        self.prefix = counted.encode()
        # As many as `burst` in the time in which the rate gives so many.
        window = -(-rate.burst * rate.nanoseconds // (rate.count * 10**9))
        self._block = (
            b"X-RateLimit-Limit: %d\r\n"
            b"X-RateLimit-Remaining: %%d\r\n"
            b"X-RateLimit-Reset: %%d\r\n"
            b'RateLimit-Policy: "%b";q=%d;w=%d\r\n'
            b'RateLimit: "%b";r=%%d;t=%%d'
        ) % (rate.burst, name.encode(), rate.burst, window, name.encode())
        self._last: Decision | None = None
        self._said: tuple[bytes, ...] = ()

    def lines(self, decision: Decision) -> tuple[bytes, ...]:
        """What an answer says of it: several lines in one, for they are never told apart."""
        if decision != self._last:
            allowed, _, remaining, reset, retry_after = self._last = decision
            until = reset if allowed else retry_after
            self._said = (self._block % (remaining, reset, remaining, until),)
        return self._said


class RateLimit:
    """Refuses who asks too often, or only counts them.

    A key's or user's requests are counted together wherever they come from; those of nobody known
    by address. A tier's rate counts over all routes that are limited by tier, a route's own rate
    on that route.
    """

    __slots__ = ("_enforce", "_limited", "_limiter", "_own", "_tiers", "by")

    def __init__(
        self,
        limiter: Limiter,
        *,
        scope: str,
        by: By,
        rate: Rate | None,
        tiers: Mapping[str, Rate | None],
        enforce: bool,
        counter: Callable[[str], Counter],
    ) -> None:
        """`scope` is what a rate of its own counts over: a route, or a group of them.

        `tiers` hold one named "anonymous"; None is no limit. `counter` gives a tier's.

        With `by="tier"`, `rate` is for tiers that `tiers` does not name; without it, they have
        the rate of "anonymous", by key. Raises ValueError where a rate is missing.
        """
        if rate is None and by != "tier":
            raise ValueError("needs a rate")
        self._limiter = limiter
        self.by = by
        self._enforce = enforce
        self._limited = {tier: counter(tier) for tier in (*tiers, OTHER)}
        self._own = None if rate is None else Allowance(scope, "default", rate)
        self._tiers: dict[str, Allowance | None] = {}
        if by == "tier":
            self._tiers = {
                tier: None if each is None else Allowance(f"tier {tier}", tier, each)
                for tier, each in tiers.items()
            }
            self._own = self._own or self._tiers[ANONYMOUS]

    def enter(self, exchange: Exchange) -> Verdict:
        allowance, whom = self._who(exchange)
        if allowance is None:
            return None
        decision = self._limiter.take(allowance.prefix + whom, allowance.rate)
        if isinstance(decision, Decision):
            self._judge(exchange, allowance, decision)
            return None
        return self._wait(exchange, allowance, decision)

    def _who(self, exchange: Exchange) -> tuple[Allowance | None, bytes]:
        """Which rate holds for the request, and whom it counts for."""
        principal = exchange.principal
        if principal is None or self.by == "ip":
            allowance = self._tiers[ANONYMOUS] if self.by == "tier" else self._own
            return allowance, b"ip " + network_of(exchange.client_ip)
        return self._tiers.get(principal.tier, self._own), principal.counted

    async def _wait(
        self,
        exchange: Exchange,
        allowance: Allowance,
        decision: Coroutine[Any, Any, Decision],
    ) -> None:
        self._judge(exchange, allowance, await decision)

    def _judge(self, exchange: Exchange, allowance: Allowance, decision: Decision) -> None:
        exchange.lines += allowance.lines(decision)
        if decision.allowed:
            return
        principal = exchange.principal
        tier = ANONYMOUS if principal is None else principal.tier
        self._limited.get(tier, self._limited[OTHER]).inc()
        if self._enforce:
            raise RateLimited(fields=(b"Retry-After: %d" % decision.retry_after,))
