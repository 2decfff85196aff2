"""One address of an upstream and what is known about it now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from gateway.config.checks import target_place
from gateway.upstreams.breaker import Breaker
from gateway.upstreams.pool import C, Pool

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a target listens, read once from its URL.

    `scheme` is `http`, `https` or `unix`; `host` has no brackets; `socket` is a Unix socket's
    path. `authority` is what goes into Host when it is the target's, without a default port
    (RFC 9110 section 7.2).
    """

    scheme: str
    host: str
    port: int
    socket: str | None
    authority: bytes

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read `http://host[:port]`, `https://...` or `unix:///path`.

        Raises ValueError that says what is wrong and repeats nothing of the URL.
        """
        place = target_place(url)
        authority = f"[{place.host}]" if ":" in place.host else place.host
        if place.port != _DEFAULT_PORTS.get(place.scheme, 0):
            authority += f":{place.port}"
        return cls(
            place.scheme,
            place.host,
            place.port,
            place.socket,
            authority.encode(),
        )


class Target(Generic[C]):
    """One address of an upstream; belongs to one upstream only.

    `name` is the URL as operators wrote it. Whoever sends a request here calls `started` before
    and `ended` after it, and tells `breaker`, if there is one, how it went.
    """

    __slots__ = (
        "address",
        "breaker",
        "healthy",
        "in_flight",
        "label",
        "name",
        "pool",
        "turn",
        "weight",
    )

    def __init__(
        self, name: str, weight: int, pool: Pool[C], breaker: Breaker | None = None
    ) -> None:
        """Raises ValueError when `name` is not the URL of a service or `weight` not positive."""
        if weight < 1:
            raise ValueError("a target's weight has to be at least 1")
        self.name = name
        self.address = Address.parse(name)
        self.weight = weight
        self.pool = pool
        self.breaker = breaker
        self.healthy = True
        self.in_flight = 0
        self.label = b""  # what log lines say of it
        self.turn = 0  # its credit in smooth round robin

    def __repr__(self) -> str:
        return f"<Target {self.name}>"

    def available(self, now: float) -> bool:
        breaker = self.breaker
        return self.healthy and (breaker is None or breaker.allows(now))

    def started(self, now: float) -> None:
        """A request goes to this target; with a breaker that is half open, as its probe."""
        self.in_flight += 1
        if self.breaker is not None:
            self.breaker.started(now)

    def ended(self) -> None:
        self.in_flight -= 1
