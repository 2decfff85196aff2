"""An upstream: its targets, how one of them is chosen, and how often a request may be tried."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Generic

from gateway.upstreams.balance import (
    Balancer,
    Consistent,
    LeastConnections,
    PowerOfTwo,
    RoundRobin,
)
from gateway.upstreams.breaker import Breaker
from gateway.upstreams.pool import C, Pool
from gateway.upstreams.retry import Retries, RetryBudget
from gateway.upstreams.target import Target

if TYPE_CHECKING:
    from gateway.config.upstreams import Upstream as UpstreamSettings


class Upstream(Generic[C]):
    """`balance` names the way of choosing; `hash` is the one that looks at the key."""

    __slots__ = ("_balancer", "_only", "balance", "name", "retries", "targets")

    def __init__(
        self,
        name: str,
        targets: Sequence[Target[C]],
        balance: str,
        retries: Retries,
        random: Callable[[], float],
    ) -> None:
        """Raises ValueError when there is no target or no such way of choosing."""
        if not targets:
            raise ValueError("an upstream needs at least one target")
        self.name = name
        self.targets = tuple(targets)
        self.balance = balance
        self.retries = retries
        self._only = self.targets[0] if len(targets) == 1 else None
        self._balancer = _balancer(balance, self.targets, random)

    def choose(
        self, key: bytes, now: float, exclude: Collection[Target[C]] = ()
    ) -> Target[C] | None:
        """The target of the next attempt, or None when none is available.

        One among `exclude`, which were tried before, is chosen only when no other is available.
        """
        only = self._only
        if only is not None:
            if only.healthy and (only.breaker is None or only.breaker.allows(now)):
                return only
            return None
        target = self._balancer.choose(key, now, exclude)
        if target is None and exclude:
            return self._balancer.choose(key, now)
        return target

    def describe(self, now: float) -> dict[str, Any]:
        """What a status page shows, in JSON's types; lengths of time in seconds."""
        return {
            "name": self.name,
            "balance": self.balance,
            "attempts": self.retries.attempts,
            "targets": [_described(target, now) for target in self.targets],
        }


def build(
    name: str, settings: UpstreamSettings, random: Callable[[], float], now: float
) -> Upstream[Any]:
    """An upstream as its table of settings says. `random` returns numbers in [0, 1)."""
    pool, breaker, retries = settings.pool, settings.circuit_breaker, settings.retries
    targets: list[Target[Any]] = [
        Target(
            target.url,
            target.weight,
            Pool(pool.connections, pool.waiting, pool.wait_timeout, pool.idle_timeout),
            None
            if breaker is None
            else Breaker(breaker.failures, breaker.window, breaker.open_for, now),
        )
        for target in settings.targets
    ]
    policy = Retries(retries.attempts, RetryBudget(retries.budget)) if retries else Retries()
    return Upstream(name, targets, settings.balance, policy, random)


def _balancer(
    balance: str, targets: Sequence[Target[C]], random: Callable[[], float]
) -> Balancer[C]:
    if balance == "p2c":
        return PowerOfTwo(targets, random)
    if balance == "round_robin":
        return RoundRobin(targets)
    if balance == "least_connections":
        return LeastConnections(targets)
    if balance == "hash":
        return Consistent(targets)
    raise ValueError("expected p2c, round_robin, least_connections or hash")


def _described(target: Target[C], now: float) -> dict[str, Any]:
    pool, breaker = target.pool, target.breaker
    return {
        "url": target.name,
        "weight": target.weight,
        "available": target.available(now),
        "healthy": target.healthy,
        "in_flight": target.in_flight,
        "connections": {"idle": pool.idle, "active": pool.active, "waiting": pool.waiting},
        "breaker": breaker
        and {
            "state": breaker.state.value,
            "reason": breaker.reason,
            "for": now - breaker.changed_at,
        },
    }
